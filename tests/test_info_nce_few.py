"""info_nce_loss of few queries with negatives and options that few_pairs does not take: one matrix of similarities, and
joint_softmax, which makes losses and weights of it. Against the definition, and tiles; test_joint_softmax.py has what
the operator takes.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from info_nce_cases import CASES, N, call, ours, tensors, with_grads
from oracle import assert_no_worse
from test_few_pairs import Operators, close_pairs
from torch import Tensor

from sslfast.losses import _info_nce_few, _info_nce_plain, info_nce_loss
from sslfast.losses import info_nce as module
from sslfast.reference.info_nce import info_nce_loss as reference

HARD = {"hardness_mode": "all_negatives", "hardness_strength": 2.0}
FURTHER = {"query_negatives": True, "in_batch": True}


def each(*args: Any, **options: Any) -> Tensor:
    return info_nce_loss(*args, reduction="none", **options)


@pytest.fixture
def joint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What few_pairs takes is made of one matrix, too."""
    monkeypatch.setattr(module, "quick_info_nce", lambda *arguments: None)
    monkeypatch.setattr(_info_nce_few, "plain_info_nce", lambda *arguments: None)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_loss_is_the_definition(joint, case: str, weighted: bool, dtype: torch.dtype) -> None:
    """With what comes in for a gradient of any sign, and of some losses 0."""
    given, incoming = tensors(dtype), torch.randn(N).index_fill_(0, torch.tensor([0, 5]), 0.0)
    exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
    weights = torch.rand(N, dtype=dtype) if weighted else None

    def weigh(losses: Tensor) -> Tensor:
        return losses if weights is None else losses * weights.to(losses)

    with Operators() as ran:
        found = with_grads(lambda *z, **more: each(*z, weights=weights, **more), given, case, incoming)
    assert ran.names.count("joint_softmax") == 1
    truth, same = (
        with_grads(lambda *z, **more: weigh(reference(*z, **more)), z, case, incoming) for z in (exact, given)
    )
    for f, s, t in zip(found, same, truth, strict=True):
        assert f.dtype == dtype
        terms = 128 if f.dim() else 4096  # those of the temperature's gradient are large, and cancel
        assert_no_worse(f, s, t, terms * torch.finfo(f.dtype).eps * max(1.0, float(t.abs().max())))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reduced_losses_are_those_of_tiles(joint, case: str, reduction: str, weighted: bool) -> None:
    given, weights = tensors(), torch.rand(N) if weighted else None
    losses, expected_leaves = call(ours, given, case)
    expected = losses.sum() if weights is None else (losses * weights).sum()
    if reduction == "mean":
        expected = expected / (N if weights is None else weights.double().sum())
    found, leaves = call(info_nce_loss, given, case, reduction=reduction, weights=weights)
    torch.testing.assert_close(found, expected)
    for factor in (1.0, -3.0):  # the first is that of a plain backward()
        grads = torch.autograd.grad(factor * found, leaves, retain_graph=True, materialize_grads=True)
        made = torch.autograd.grad(factor * expected, expected_leaves, retain_graph=True, materialize_grads=True)
        for f, e in zip(grads, made, strict=True):
            torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("case", [case for case in CASES if "kinds" in case or "hard" in case])
@pytest.mark.parametrize("alone", [0, 1, 2, -1])
def test_what_takes_a_gradient_alone(joint, case: str, alone: int) -> None:
    given, incoming = tensors(), torch.randn(N).double()
    found = []
    for function in (each, reference):
        losses, leaves = call(function, given, case)
        place = alone if alone >= 0 else len(leaves) - 1
        losses, leaves = call(function, given, case, alone=place)
        found.append(torch.autograd.grad(losses, leaves[place], incoming)[0])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "case", ["all kinds, queries of keys, too", "smooth, given negatives and a margin", "all hard"]
)
def test_half_types_are_rounded_once(joint, case: str, dtype: torch.dtype) -> None:
    given, weights = tensors(dtype), torch.rand(N) / 4096  # a gradient of fp16 that comes small
    exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
    found, truth = with_grads(each, given, case, 4096 * weights), with_grads(reference, exact, case, 4096 * weights)
    assert found[0].dtype == torch.float32
    for f, t in zip(found, truth, strict=True):
        close = torch.finfo(f.dtype).eps / 2 if f.dtype == dtype else 1e-5
        torch.testing.assert_close(f.double(), t, rtol=1.01 * close, atol=1e-5 * float(t.abs().max()))


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", ["all kinds", "given negatives and the other keys"])
def test_several_types(joint, case: str, narrow: torch.dtype) -> None:
    """float64 if query or keys are; the gradients of their own types."""
    for small, wide in ((["query"], torch.float64), (["keys", "queue"], torch.float64), (["query", "keys"], narrow)):
        given = {name: z.to(narrow) if name in small else z for name, z in tensors().items()}
        exact = {name: z.double() if z.is_floating_point() else z for name, z in given.items()}
        found, truth = (
            with_grads(f, z, case, torch.ones(N), number=0.125) for f, z in ((each, given), (reference, exact))
        )
        assert found[0].dtype == torch.promote_types(wide, torch.float32)
        rough = 1e-9 if wide == torch.float64 else 1e-4
        for f, t in zip(found, truth, strict=True):
            close = max(rough, torch.finfo(f.dtype).eps)
            torch.testing.assert_close(f.double(), t, rtol=close, atol=close)


def test_any_strides() -> None:
    given = tensors()
    strided = {name: z.mT.contiguous().mT if z.dim() > 1 else z for name, z in given.items()}
    for case in ("all kinds", "smooth, a margin for all kinds", "hard given negatives, a margin, not normalised"):
        for f, e in zip(*(with_grads(each, z, case, torch.ones(N)) for z in (strided, given)), strict=True):
            torch.testing.assert_close(f, e, rtol=1e-10, atol=1e-13)


def test_what_is_made_at_once() -> None:
    query, keys = torch.randn(257, 3, requires_grad=True), torch.randn(257, 3, requires_grad=True)
    at = torch.randint(128, (256,))
    ids = {"query_ids": torch.arange(256), "key_ids": torch.arange(256)}
    for options, rows, columns, at_once in (
        (HARD, 256, 256, True),
        (HARD, 257, 257, False),
        ({**HARD, "positives": at}, 256, 128, True),
        ({**HARD, "positives": at}, 256, 257, False),
        ({"label_smoothing": 0.1, **ids}, 256, 256, False),  # few_pairs
        ({"label_smoothing": 0.1, "reduction": "none"}, 256, 256, True),
        ({"key_to_query_negatives": True}, 181, 181, True),
        ({"key_to_query_negatives": True}, 182, 182, False),
        ({"margin": 0.1, "symmetric": True, "query_negatives": True}, 256, 256, True),
        ({"symmetric": True, "query_negatives": True}, 256, 256, False),
        ({"queue": torch.randn(256, 3), "reduction": "none"}, 256, 256, True),
        ({"queue": torch.randn(257, 3), "reduction": "none"}, 256, 256, False),
    ):
        with Operators() as ran:
            info_nce_loss(query[:rows], keys[:columns], **options).sum().backward()
        assert ("joint_softmax" in ran.names) is at_once, (options, ran.names)
    compiled = torch.compile(lambda q, k: info_nce_loss(q, k, **FURTHER), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(query[:6], keys[:6]), info_nce_loss(query[:6], keys[:6], **FURTHER))


def test_by_hand() -> None:
    """Logits of 10 for the pairs, of 0 for all else."""
    eye, small = torch.eye(4), torch.exp(torch.tensor(-10.0))
    torch.testing.assert_close(each(eye, eye, **FURTHER), torch.log1p(6 * small).expand(4))
    torch.testing.assert_close(each(eye, eye, key_negatives=True, in_batch=False), torch.log1p(3 * small).expand(4))
    # The mean of the candidates' logits is a seventh of the positive's.
    smooth = each(eye, eye, label_smoothing=0.7, **FURTHER)
    torch.testing.assert_close(smooth, (torch.log1p(6 * small) + 0.7 * 10 * 6 / 7).expand(4))
    torch.testing.assert_close(each(eye, eye, symmetric=True, margin=-1.1, label_smoothing=0.5), torch.zeros(4))
    assert torch.equal(each(eye[:1], eye[:1], tau_plus=0.1, **FURTHER), torch.zeros(1))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_is_its_own(bad: float) -> None:
    query, keys = close_pairs(5, 3, torch.float32)
    others = torch.randn(5, 2, 3)
    others[2, 1] = bad
    assert torch.equal(each(query, keys, others).isnan(), torch.arange(5) == 2)
    assert each(query, keys, others[:1, 0], temperature=torch.tensor(torch.nan), margin=0.1).isnan().all()
    query[1, 0] = bad
    assert torch.equal(each(query, keys, label_smoothing=0.1).isnan(), torch.arange(5) == 1)


def test_gradients_of_a_graph_that_is_kept() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(8, 5, torch.float64))
    hard = torch.randn(8, 3, 5, dtype=torch.float64, requires_grad=True)
    leaves = (query, keys, hard)
    for options in ({}, {"in_batch": True, "key_to_query_negatives": True, "key_negatives": True}):
        losses = each(*leaves, **options)
        rows = [torch.autograd.grad(losses[i], leaves, retain_graph=True) for i in range(8)]
        again = [torch.autograd.grad(losses[i], leaves, retain_graph=True) for i in range(8)]
        for a, b in zip(itertools.chain(*rows), itertools.chain(*again), strict=True):
            assert torch.equal(a, b)
        jacobian = torch.autograd.grad(losses, leaves, torch.eye(8).double(), is_grads_batched=True)
        for many, single in zip(jacobian, zip(*rows, strict=True), strict=True):
            torch.testing.assert_close(many, torch.stack(single))
        loss = info_nce_loss(*leaves, **options)
        for a, single in zip(torch.autograd.grad(loss, leaves), zip(*rows, strict=True), strict=True):
            torch.testing.assert_close(a, torch.stack(single).mean(dim=0))
    at = torch.tensor([3, 0, 0, 7, 1, 2, 6, 4])
    assert torch.autograd.gradcheck(
        lambda *z: each(*z, positives=at, in_batch=True, key_to_query_negatives=True, label_smoothing=0.2), leaves
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_second_derivative_raises(place: int) -> None:
    scale = torch.tensor(0.2, requires_grad=True)
    leaves = [*(z.requires_grad_() for z in close_pairs(5, 3, torch.float32)), scale]
    loss = info_nce_loss(*leaves[:2], temperature=scale, **FURTHER)
    (grad,) = torch.autograd.grad(loss, leaves[place], create_graph=True)
    with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
        grad.sum().backward()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("more", [FURTHER, {"in_batch": False, "label_smoothing": 0.1}], ids=str)
def test_what_changes_before_backward(normalize: bool, more: dict[str, Any]) -> None:
    """A leaf that takes a gradient raises; keys and a queue that take none may change."""
    query, keys, queue = *close_pairs(6, 4, torch.float32), torch.randn(7, 4)
    leaf, locked, kept = query.clone().requires_grad_(), keys.clone(), queue.clone()
    options = {"normalize": normalize, **more}
    (expected,) = torch.autograd.grad(info_nce_loss(leaf, keys, queue=queue, **options), leaf)
    loss = info_nce_loss(leaf, locked, queue=kept, **options)
    locked.zero_()
    kept.zero_()
    assert torch.equal(torch.autograd.grad(loss, leaf)[0], expected)
    loss = info_nce_loss(leaf, keys, queue=queue, **options)
    with torch.no_grad():
        leaf.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_autocast_changes_nothing() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(6, 4, torch.float32))
    expected = info_nce_loss(query, keys, **FURTHER)
    grads = torch.autograd.grad(expected, (query, keys))
    with torch.autocast("cpu", torch.bfloat16):
        loss = info_nce_loss(query, keys, **FURTHER)
        found = torch.autograd.grad(loss, (query, keys))
    for f, e in zip((loss, *found), (expected, *grads), strict=True):
        assert torch.equal(f, e)


def test_without_a_gradient() -> None:
    query, keys = close_pairs(6, 4, torch.float32)
    with torch.no_grad():
        assert not info_nce_loss(query.requires_grad_(), keys, **FURTHER).requires_grad
    loss = info_nce_loss(query.detach(), keys, **FURTHER)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, info_nce_loss(query, keys, **FURTHER).detach())


def test_few_pairs_takes_what_it_can() -> None:
    query, keys = (z.requires_grad_() for z in close_pairs(6, 4, torch.float32))
    with Operators() as ran:
        info_nce_loss(query, keys, margin=0.1).backward()
    assert ran.names == ["few_pairs"]
    assert _info_nce_plain.plain_info_nce is _info_nce_few.plain_info_nce
