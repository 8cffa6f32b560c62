"""Numbers that the tests and the documentation of peers publish: they hold without the peer being installed.

Of DINO none are published: its peers' tests compare with the original code, as test_dino.py does.
"""

from __future__ import annotations

import math

import pytest
import torch

from sslfast.losses import IBOTPatchLoss, KoLeoLoss, MaskedCodeLoss, MaskedLMLoss

# ---- iBOT: lightly's tests/loss/test_ibot_loss.py, made with dinov2's iBOTPatchLoss

TEACHER = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
STUDENT = torch.tensor([[0.7, 0.8], [0.9, 1.0], [1.1, 1.2]])
MASK = torch.tensor([[[True, False], [True, False]], [[False, False], [False, True]], [[False, False], [False, False]]])


@pytest.mark.parametrize(("images", "published"), [(2, 0.6085), (3, 0.4057)])
def test_ibot(images: int, published: float, device: torch.device) -> None:
    criterion = IBOTPatchLoss(output_dim=2, teacher_temp=0.1, student_temp=0.2).to(device)
    loss = criterion(TEACHER.to(device), STUDENT.to(device), MASK[:images].to(device))
    assert loss.item() == pytest.approx(published, rel=1e-4)
    criterion.finish_center_update()
    torch.testing.assert_close(criterion.center.value.cpu().flatten(), 0.1 * TEACHER.mean(0))


# ---- KoLeo: lightly's tests/loss/test_koleo_loss.py, made with dinov2's KoLeoLoss


@pytest.mark.parametrize(
    ("rows", "published"),
    [
        ([[0.0, 1.0], [0.0, -1.0]], -math.log(2)),
        ([[0.0, 1.0], [1.0, 0.0]], -math.log(2**0.5)),
        ([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]], 0.2674),
    ],
)
def test_koleo(rows: list[list[float]], published: float, device: torch.device) -> None:
    assert KoLeoLoss()(torch.tensor(rows, device=device)).item() == pytest.approx(published, rel=2e-4)


# ---- perplexity: the examples of torcheval's and torchmetrics' documentation

FOUR = [[[0.3659, 0.7025, 0.3104]], [[0.0097, 0.6577, 0.1947]], [[0.5659, 0.0025, 0.0104]], [[0.9097, 0.0577, 0.7947]]]


def drawn() -> tuple[list, list]:
    """The draws of torchmetrics' example after the seed of its doctests."""
    generator = torch.Generator().manual_seed(42)
    logits = torch.rand(2, 8, 5, generator=generator)
    target = torch.randint(5, (2, 8), generator=generator)
    target[0, 6:] = -100
    return logits.tolist(), target.tolist()


@pytest.mark.parametrize(
    ("logits", "target", "ignored", "published"),
    [
        ([[[0.3659, 0.7025, 0.3104], [0.0097, 0.6577, 0.1947]]], [[2, 1]], -100, 2.7593),
        (
            [
                [[0.3, 0.7, 0.3, 0.1], [0.5, 0.4, 0.1, 0.4], [0.1, 0.1, 0.2, 0.5]],
                [[0.1, 0.6, 0.1, 0.5], [0.3, 0.7, 0.3, 0.4], [0.3, 0.7, 0.3, 0.4]],
            ],
            [[2, 1, 3], [1, 0, 1]],
            -100,
            3.6216,
        ),
        (FOUR, [[2], [1], [2], [1]], -100, 3.5257),
        (FOUR, [[2], [1], [2], [1]], 1, 3.6347),
        (FOUR[2:], [[2], [1]], -100, 4.5051),
        (*drawn(), -100, 5.8540),
    ],
)
def test_perplexity(logits: list, target: list, ignored: int, published: float, device: torch.device) -> None:
    """A decoder that is the identity makes logits of the hidden states that equal them."""
    hidden, labels = torch.tensor(logits, device=device), torch.tensor(target, device=device)
    identity = torch.eye(hidden.shape[-1], device=device)
    out = MaskedLMLoss(ignore_index=ignored, return_metrics=True)(hidden, identity, labels)
    assert out.perplexity.item() == pytest.approx(published, abs=6e-5)
    assert out.loss.item() == pytest.approx(math.log(published), abs=3e-5)
    code = MaskedCodeLoss(return_metrics=True)(hidden, identity, labels.clamp_min(0), labels != ignored)
    torch.testing.assert_close(code.perplexity, out.perplexity)
