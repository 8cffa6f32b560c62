"""supcon_loss against references: the definition, pytorch-metric-learning, and both ways to compute it."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from loss_oracle import (
    assert_compiles,
    assert_half_is_like_reference,
    assert_has_values_of,
    assert_like_reference,
    assert_steady,
    assert_takes_strides_and_mixed_dtypes,
    largest_tensor,
)
from peer_oracle import peer

from sslfast.losses import SupConLoss, _supcon_references, supcon_loss
from sslfast.reference.supcon import supcon_loss as reference


def on_references(y, ry, temperature):
    def ours(z: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return supcon_loss(z, y.to(z.device), temperature, ref_emb=r, ref_labels=ry.to(z.device))

    return ours, lambda z, r: reference(z, y, temperature, r, ry)


# N, M, D, labels, temperature: some without a positive; one anchor; several tiles; one label; none.
@pytest.mark.parametrize(
    ("n", "m", "d", "labels", "temperature"),
    [
        (10, 13, 5, 8, 0.5),
        (1, 1, 3, 1, 0.1),
        (1, 2, 3, 1, 0.1),
        (300, 600, 20, 70, 0.1),
        (9, 8, 4, 1, -0.5),
        (9, 8, 4, 10**6, 0.1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_references_against_the_reference(n, m, d, labels, temperature, dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    y, ry = (7 * torch.randint(0, labels, (k,)) - 3 for k in (n, m))
    inputs = [torch.randn(n, d, dtype=dtype), torch.randn(m, d, dtype=dtype)]
    factor = 32 / min(1.0, abs(temperature))
    assert_like_reference(*on_references(y, ry, temperature), inputs, device, factor=factor)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_references(dtype: torch.dtype) -> None:
    y, ry = torch.randint(0, 5, (20,)), torch.randint(0, 5, (30,))
    inputs = [torch.randn(n, 8).to(dtype) for n in (20, 30)]
    assert_half_is_like_reference(*on_references(y, ry, 0.2), inputs, slack=1 / 2)


def test_references_are_pytorch_metric_learnings() -> None:
    theirs = peer("pytorch_metric_learning.losses").SupConLoss(0.2)
    y, ry = torch.randint(0, 8, (30,)), torch.randint(0, 8, (20,))
    z, r = torch.randn(30, 6, dtype=torch.float64), torch.randn(20, 6, dtype=torch.float64)
    assert_has_values_of(
        lambda x, c: theirs(x, y, None, c, ry), lambda x, c: SupConLoss(0.2)(x, y, None, c, ry), [z, r]
    )


def test_references_compose() -> None:
    y, ry = torch.randint(0, 4, (12,)), torch.randint(0, 4, (9,))
    z, r = torch.randn(12, 8), torch.randn(9, 8)
    function, _ = on_references(y, ry, 0.3)
    assert_steady(function, z, r)
    assert_takes_strides_and_mixed_dtypes(function, z, r)
    assert_compiles(function, z, r)
    wide = [x.double().requires_grad_() for x in (z, r)]
    assert torch.autograd.gradcheck(function, wide)
    assert torch.autograd.gradcheck(lambda x: function(x, r.double()), wide[:1])
    z.requires_grad_()
    (grad,) = torch.autograd.grad(function(z, r), z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^supcon_loss: second derivatives are not supported$"):
        grad.sum().backward()
    r[3, 1] = math.nan
    assert function(z, r).isnan()


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_references_in_two_passes(copied: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU where there are many of them."""
    y, ry = torch.randint(0, 12, (40,)), torch.randint(0, 12, (30,))
    z, r = torch.randn(40, 8).to(dtype), torch.randn(30, 8).to(dtype)
    copies = torch.arange(40).where(torch.arange(40) < 20, -1) if copied else None
    function = functools.partial(supcon_loss, labels=y, temperature=0.2, ref_labels=ry, copies=copies)
    for needs in ((True, True), (True, False), (False, True)):
        results = []
        for one_pass in (True, False):
            monkeypatch.setattr(_supcon_references, "in_one_pass", lambda *_, way=one_pass: way)
            leaves = [x.clone().requires_grad_(need) for x, need in zip((z, r), needs, strict=True)]
            loss = function(leaves[0], ref_emb=leaves[1])
            results.append([loss, *torch.autograd.grad(3 * loss, [x for x in leaves if x.requires_grad])])
        tolerance = 2e-6 if dtype == torch.float32 else 1e-2
        for one, two in zip(*results, strict=True):
            torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance * float(two.detach().abs().max()))


def test_no_matrix_of_references_is_kept() -> None:
    function, _ = on_references(torch.arange(2000) % 50, torch.arange(3000) % 50, 0.3)
    assert largest_tensor(function, torch.randn(2000, 8), torch.randn(3000, 8)) < 2000 * 3000 / 5
