"""Means and sums of info_nce_loss one way, whose gradients are made in forward, against the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracle import assert_compiles, assert_steady, largest_tensor
from oracle import assert_no_worse
from test_info_nce_negatives import N, tensors, with_grads
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslfast.losses import _few_pairs, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

NAMES = [
    "the other keys",
    "keys by index",
    "given negatives",
    "given negatives and the other keys",
    "hard negatives, not normalised",
    "all kinds",
    "keys of keys by index",
    "ids",
    "a margin",
    "a margin for all kinds",
    "queries of keys",
    "queries of keys, ids and a margin",
    "hard in batch",
    "hard in batch, by index",
    "hard in batch, queries of keys",
    "all hard",
    "all hard, smooth, a margin",
]


class Operators(TorchDispatchMode):
    """Which operators of softmax run, and for what they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        if ("softmax" in name or name == "few_pairs") and func.namespace == "sslfast":
            self.calls.append((name, args))
        return func(*args, **(kwargs or {}))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch is a small one, which few_pairs would make."""
    monkeypatch.setattr(_few_pairs, "_MOST", 0)


def reduced(reduction: str, weights: Tensor | None, ours: bool):
    def loss(*args: Any, **options: Any) -> Tensor:
        if ours:
            return info_nce_loss(*args, reduction=reduction, weights=weights, **options)
        losses = reference(*args, **options)
        numbers = torch.ones_like(losses) if weights is None else weights.to(losses)
        total = (losses * numbers).sum()
        return total if reduction == "sum" else total / numbers.sum()

    return loss


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(case: str, dtype: torch.dtype, device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    given, weights = tensors(dtype), torch.rand(N, dtype=dtype)
    doubled = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    there = {name: t.to(device) for name, t in given.items()}
    for reduction, w in (("mean", weights), ("sum", None)):
        grad = torch.tensor(-0.7)  # of the loss
        found = with_grads(reduced(reduction, None if w is None else w.to(device), True), there, case, grad.to(device))
        same = with_grads(reduced(reduction, w, False), given, case, grad)
        truth = with_grads(reduced(reduction, w, False), doubled, case, grad)
        eps = torch.finfo(dtype).eps
        for f, s, t in zip(found, same, truth, strict=True):
            assert_no_worse(f, s, t, 200 * eps * max(1.0, t.abs().max().item()))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("case", ["the other keys", "given negatives and the other keys", "a margin", "ids"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(case: str, dtype: torch.dtype, device) -> None:
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors().items()}
    there = {name: t.to(device) for name, t in given.items()}
    found = with_grads(reduced("mean", None, True), there, case, torch.tensor(1.0, device=device))
    doubled = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    truth = with_grads(reduced("mean", None, False), doubled, case, torch.tensor(1.0))
    assert found[0].dtype == torch.float32
    for f, t in zip(found, truth, strict=True):
        error = torch.linalg.vector_norm(f.cpu().double() - t) / torch.linalg.vector_norm(t)
        assert error <= 3 * torch.finfo(dtype).eps, (f.shape, error)


@pytest.mark.usefixtures("tiles")
def test_gradcheck() -> None:
    query, keys, hard = torch.randn(6, 5), torch.randn(6, 5), torch.randn(4, 5)
    leaves = [z.double().requires_grad_() for z in (query, keys, hard, torch.tensor(0.4))]
    weights = torch.rand(6, dtype=torch.float64)
    for options in ({"reduction": "sum"}, {"in_batch": True, "query_negatives": True, "weights": weights}):
        assert torch.autograd.gradcheck(lambda *z, o=options: info_nce_loss(*z, **o), leaves)


def test_logits_are_made_once() -> None:
    query, keys = torch.randn(2, 600, 4, requires_grad=True)
    locked = keys.detach()
    for loss, expected in (
        (lambda: info_nce_loss(query, keys), ["one_way_softmax"]),
        (lambda: info_nce_loss(query[:9], keys[:9], symmetric=True), ["few_pairs"]),
        (lambda: info_nce_loss(query, keys, reduction="sum", queue=locked, in_batch=True), ["queue", "one_way"]),
        # Where the gradient of a row's loss is not known in forward, and where nothing has to be known.
        (
            lambda: info_nce_loss(query, keys, reduction="none").sum(),
            ["cross_softmax_forward", "cross_softmax_backward"],
        ),
        (lambda: info_nce_loss(query, keys, tau_plus=0.1), ["cross_softmax_forward", "cross_softmax_backward"]),
        (lambda: info_nce_loss(query, keys, symmetric=True), ["cross_softmax_forward", "cross_softmax_backward"]),
        (lambda: info_nce_loss(query, locked), ["queue_softmax"]),
        # The first group of several waits for the others.
        (lambda: info_nce_loss(query, keys, keys[:3] + 1, in_batch=True), ["cross", "one_way", "cross"]),
    ):
        with Operators() as operators:
            loss().backward()
        assert len(operators.names) == len(expected)
        assert all(name.startswith(start) for name, start in zip(operators.names, expected, strict=True))
    with Operators() as operators, torch.no_grad():
        info_nce_loss(query, keys)
    assert operators.names == ["queue_softmax"]


@pytest.mark.usefixtures("tiles")
def test_only_what_is_needed_is_computed() -> None:
    query, keys = torch.randn(2, 9, 4)
    temperature = torch.tensor(0.2)
    for leaves, needs in (
        ((query, keys), (True, True)),
        ((keys,), (False, True)),
        ((keys, temperature), (True, True)),  # the product with the keys is the scale's gradient
    ):
        q, k, t = (z.clone().requires_grad_(any(z is leaf for leaf in leaves)) for z in (query, keys, temperature))
        wanted = [z for z in (q, k, t) if z.requires_grad]
        with Operators() as operators:
            found = torch.autograd.grad(info_nce_loss(q, k, temperature=t), wanted)
        assert operators.names == ["one_way_softmax"]
        assert operators.calls[0][1][10:12] == needs
        expected = torch.autograd.grad(reference(q, k, temperature=t).mean(), wanted)
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-4, atol=1e-6)


def test_a_graph_is_gone_through_again() -> None:
    query, keys = torch.randn(2, 9, 4, requires_grad=True)
    loss = info_nce_loss(query, keys, queue=torch.randn(5, 4), in_batch=True)
    once = torch.autograd.grad(loss, (query, keys), retain_graph=True)
    thrice = torch.autograd.grad(3 * loss, (query, keys))
    for a, b in zip(once, thrice, strict=True):
        torch.testing.assert_close(3 * a, b)


@pytest.mark.parametrize("options", [{"margin": -3.0}, {"query_ids": 0, "key_ids": 0}], ids=["margin", "ids"])
@pytest.mark.parametrize("kinds", [{}, {"query_negatives": True, "key_negatives": True}], ids=["one kind", "several"])
def test_what_has_no_negatives_left_has_no_gradient(options, kinds) -> None:
    options = {name: torch.zeros(5).long() if value == 0 else value for name, value in options.items()}
    query, keys = torch.randn(2, 5, 4, requires_grad=True)
    loss = info_nce_loss(query, keys, **options, **kinds)
    assert loss == 0
    grads = torch.autograd.grad(loss, (query, keys), materialize_grads=True)
    assert all(torch.equal(g, torch.zeros_like(g)) for g in grads)


def test_nan_reaches_loss_and_gradients() -> None:
    query, keys = torch.randn(2, 6, 4)
    keys[3, 1] = torch.nan
    query, keys = query.requires_grad_(), keys.requires_grad_()
    loss = info_nce_loss(query, keys)
    assert loss.isnan()
    assert all(g.isnan().any(1).all() for g in torch.autograd.grad(loss, (query, keys)))


def test_composes() -> None:
    given = tensors(torch.float32)
    query, keys, shared = (given[name] for name in ("query", "keys", "shared"))
    weights = torch.rand(N)

    def loss(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return info_nce_loss(a, b, c, reduction="sum", in_batch=True, weights=weights)

    assert_steady(loss, query, keys, shared)
    assert_compiles(loss, query, keys, shared)
    assert_compiles(lambda a: info_nce_loss(a, a, margin=0.2), query)


def test_second_derivatives_are_refused() -> None:
    query, keys = torch.randn(2, 5, 4, requires_grad=True)
    queue = torch.randn(3, 4)
    for z in (query, keys):
        (grad,) = torch.autograd.grad(info_nce_loss(query, keys, queue=queue, in_batch=True), z, create_graph=True)
        with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
            grad.sum().backward()


def test_a_strip_is_no_matrix_of_similarities() -> None:
    query, keys = torch.randn(2, 3000, 8)
    assert largest_tensor(lambda a, b: info_nce_loss(a, b, reduction="sum"), query, keys) <= 2**19
