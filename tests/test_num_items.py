"""num_items: micro-batches of unlike numbers of items add up to the mean of the whole batch, gradients too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sslfast.losses import (
    HubertLoss,
    ReplacedTokenLoss,
    Wav2Vec2ContrastiveLoss,
    hubert_loss,
    replaced_token_loss,
    wav2vec2_contrastive_loss,
)
from sslfast.masking import sample_negatives
from sslfast.reference.replaced_token import replaced_token_loss as replaced_by_definition

CUT = (slice(0, 1), slice(1, 4))  # of four rows
COUNTS = torch.tensor([[5], [1], [0], [9]])  # items of each row


def replaced_token(made: Callable, device: torch.device) -> tuple[Callable, Tensor, int]:
    replaced, tokens = torch.rand(4, 9) < 0.3, torch.arange(9) < COUNTS
    replaced, tokens = replaced.to(device), tokens.to(device)
    call = lambda x, s, **items: made(x[s], replaced[s], tokens[s], **items)  # noqa: E731
    return call, torch.randn(4, 9, dtype=torch.float64).float().to(device), int(tokens.sum())


def wav2vec2(made: Callable, device: torch.device) -> tuple[Callable, Tensor, int]:
    mask, targets = torch.arange(9) < COUNTS, torch.randn(4, 9, 5)

    def call(x: Tensor, s: slice, **items: object) -> Tensor:
        negatives = sample_negatives(mask[s], 3, generator=1, row_offset=s.start).to(device)
        return made(x[s], targets[s].to(device), mask[s].to(device), negatives, **items)

    return call, torch.randn(4, 9, 5, device=device), int(mask.sum())


def hubert(made: Callable, device: torch.device) -> tuple[Callable, Tensor, int]:
    mask, targets, embs = torch.arange(9) < COUNTS, torch.randint(0, 7, (4, 9)), torch.randn(7, 5)
    mask, targets, embs = mask.to(device), targets.to(device), embs.to(device)
    penalty = torch.tensor(0.3, device=device)
    call = lambda x, s, **items: made(x[s], embs, targets[s], mask[s], features_pen=penalty, **items)  # noqa: E731
    return call, torch.randn(4, 9, 5, device=device), int(mask.sum())


CASES = {
    "replaced_token_loss": (replaced_token, replaced_token_loss, ReplacedTokenLoss()),
    "wav2vec2_contrastive_loss": (wav2vec2, wav2vec2_contrastive_loss, Wav2Vec2ContrastiveLoss(reduction="mean")),
    "hubert_loss": (hubert, hubert_loss, HubertLoss(reduction="mean")),
}


@pytest.mark.parametrize("name", CASES)
def test_micro_batches_add_up(name: str, device) -> None:
    problem, _, module = CASES[name]
    call, x, count = problem(module, device)
    x.requires_grad_()
    whole = call(x, slice(0, 4))
    (expected,) = torch.autograd.grad(whole, x)
    for items in (count, torch.tensor(count, device=device), torch.tensor([float(count)], device=device)):
        found = sum(call(x, s, num_items=items) for s in CUT)
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(torch.autograd.grad(found, x)[0], expected)


def test_a_tensor_is_not_read_in_a_graph() -> None:
    call, x, _ = replaced_token(replaced_token_loss, torch.device("cpu"))
    compiled = torch.compile(lambda x, n: call(x, CUT[1], num_items=n), fullgraph=True, backend="eager")
    for items in (torch.tensor(7.0), torch.tensor(9.0)):
        torch.testing.assert_close(compiled(x, items), call(x, CUT[1], num_items=items))


def test_the_definition_of_the_sum() -> None:
    logits, replaced, every = torch.randn(3, 5), torch.rand(3, 5) < 0.4, torch.ones(3, 5, dtype=torch.bool)
    expected = replaced_by_definition(logits, replaced, every) * 15 / 40
    torch.testing.assert_close(replaced_token_loss(logits, replaced, num_items=40), expected)
    torch.testing.assert_close(ReplacedTokenLoss()(logits, replaced, every, num_items=40.0), expected)


@pytest.mark.parametrize("name", CASES)
def test_bad_num_items(name: str) -> None:
    problem, function, _ = CASES[name]
    call, x, _ = problem(function, torch.device("cpu"))
    for items, error, text in (
        (0, ValueError, "num_items must be positive, got 0"),
        (torch.tensor(-2.0), ValueError, r"num_items must be positive, got -2\.0"),
        ("5", TypeError, "num_items must be a number, got str"),
        (torch.ones(2), ValueError, r"num_items must have one element, got shape \(2,\)"),
    ):
        with pytest.raises(error, match=f"^{name}: {text}$"):
            call(x, slice(0, 4), num_items=items, reduction="mean")
    with pytest.raises(ValueError, match=f"^{name}: num_items goes with reduction='mean', got 'sum'$"):
        call(x, slice(0, 4), num_items=3, reduction="sum")
