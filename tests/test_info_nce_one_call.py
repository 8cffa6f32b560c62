"""info_nce_loss of small batches with options, which few_pairs makes in one call: against the definition, and tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import N, tensors, with_grads
from loss_oracle import assert_like_reference
from loss_oracle import with_grads as loss_with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor

from sslfast.losses import _few_pairs, info_nce_loss
from sslfast.losses._few_pairs import ROWS, TWO_WAYS
from sslfast.reference.few_pairs import few_pairs
from sslfast.reference.info_nce import info_nce_loss as reference

ONE_CALL = [
    "the other keys",
    "keys by index",
    "both ways",
    "given negatives and the other keys",
    "ids both ways",
    "a margin",
    "a margin and ids both ways",
    "smooth, given negatives and a margin",
    "smooth, given negatives, ids and a margin both ways",
    "given negatives both ways",
    "smooth",
    "smooth, keys by index",
    "debiased, turned round",
    "debiased both ways",
    "debiased down to the least",
    "smooth, debiased both ways",
]
TILES = [
    "both ways by index",
    "given negatives",
    "ids",
    "smooth, a margin both ways",
    "debiased",
]


def a_mean(case: str, weights: Tensor | None, reduction: str = "mean"):
    """The loss of a case, and its definition."""

    def ours(*args: Any, **options: Any) -> Tensor:
        return info_nce_loss(*args, reduction=reduction, weights=weights, **options)

    def definition(*args: Any, **options: Any) -> Tensor:
        losses = reference(*args, **options)
        numbers = torch.ones_like(losses) if weights is None else weights.to(losses)
        return (losses * numbers).sum() / (numbers.sum() if reduction == "mean" else 1)

    return ours, definition


@pytest.mark.parametrize("case", ONE_CALL)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_info_nce_in_one_call(case: str, weighted: bool, reduction: str, dtype: torch.dtype) -> None:
    given, one = tensors(dtype), torch.ones(())
    exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
    ours, definition = a_mean(case, torch.rand(N, dtype=torch.float16) if weighted else None, reduction)
    with Operators() as ran:
        found = with_grads(ours, given, case, one)
    assert ran.names == ["few_pairs"]
    truth, same = with_grads(definition, exact, case, one), with_grads(definition, given, case, one)
    for f, s, t in zip(found, same, truth, strict=True):
        assert_no_worse(f, s, t, 128 * torch.finfo(f.dtype).eps * max(1.0, float(t.abs().max())))


@pytest.mark.parametrize("case", ONE_CALL)
def test_the_same_in_tiles(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, one = tensors(), torch.ones(())
    ours, _ = a_mean(case, torch.rand(N))
    found = with_grads(ours, given, case, one)
    monkeypatch.setattr(_few_pairs, "_MOST", 0)
    with Operators() as ran:
        expected = with_grads(ours, given, case, one)
    assert "few_pairs" not in ran.names
    for f, g in zip(found, expected, strict=True):
        torch.testing.assert_close(f, g, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("case", TILES)
def test_what_the_operator_does_not_take_together(case: str) -> None:
    with Operators() as ran:
        with_grads(a_mean(case, None)[0], tensors(), case, torch.ones(()))
    assert ran.names
    assert "few_pairs" not in ran.names


def test_further_keys_count_among_the_few(monkeypatch: pytest.MonkeyPatch) -> None:
    query, keys, others = torch.randn(6, 4), torch.randn(6, 4), torch.randn(20, 4)
    for most, expected in ((9, True), (8, False)):  # 6 x 26 logits
        monkeypatch.setattr(_few_pairs, "_MOST", most)
        with Operators() as ran:
            info_nce_loss(query, keys, others, in_batch=True)
        assert (ran.names == ["few_pairs"]) == expected
    with Operators() as ran:  # of a wider type: the queries' own products stay what they are
        assert info_nce_loss(query, keys, others.double(), in_batch=True).dtype == torch.float32
    assert "few_pairs" not in ran.names


@pytest.mark.parametrize("most", [0, 256])
def test_weights_that_make_no_mean(monkeypatch, most: int) -> None:
    monkeypatch.setattr(_few_pairs, "_MOST", most)
    query, keys = torch.randn(2, 4, 3)
    for weights in (torch.zeros(4), torch.tensor([1.0, torch.nan, 1.0, 1.0]), torch.tensor([1.0, torch.inf, 1.0, 1.0])):
        assert info_nce_loss(query, keys, weights=weights).isnan()
    assert info_nce_loss(query, keys, weights=torch.zeros(4), reduction="sum") == 0.0


def test_gradients_are_multiplied_and_kept() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(8, 5, torch.float32))
    options = {"label_smoothing": 0.2, "weights": torch.rand(8)}
    loss = info_nce_loss(query, keys, **options)
    plain = torch.autograd.grad(loss, (query, keys), retain_graph=True)
    again = torch.autograd.grad(3 * loss, (query, keys), retain_graph=True)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(3 * a, b)
    (first,) = torch.autograd.grad(loss, query, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss"):
        first.sum().backward()
    locked = keys.detach().clone()
    loss = info_nce_loss(query, locked, **options)
    locked.zero_()
    options["weights"].zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, query)[0], plain[0])


@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smoothing_late_in_training(smoothing: float, symmetric: bool, dtype: torch.dtype) -> None:
    """Pairs so near that smoothing is nearly all of the gradient."""
    rows = F.normalize(torch.randn(24, 16, dtype=torch.float64), dim=1)
    sides = [rows.to(dtype), (rows + 1e-3 * torch.randn(24, 16)).to(dtype)]
    kind, share = (TWO_WAYS, 0.5 / 24) if symmetric else (ROWS, 1 / 24)

    def definition(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return few_pairs(a, b, 1 / t, 0.0, kind, share, True, smoothing)

    def ours(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return info_nce_loss(a, b, temperature=t, symmetric=symmetric, label_smoothing=smoothing)

    with Operators() as ran:
        assert_like_reference(ours, definition, [*sides, torch.tensor(0.05, dtype=dtype)], factor=64)
    assert ran.names == ["few_pairs"]


def test_smoothing_among_one_is_none() -> None:
    row, column = torch.randn(2, 1, 7)
    for symmetric in (False, True):
        found = loss_with_grads(
            lambda a, b, s=symmetric: info_nce_loss(a, b, label_smoothing=0.4, symmetric=s), row, column
        )
        assert all(torch.equal(z, torch.zeros_like(z)) for z in found)
