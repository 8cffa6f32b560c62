"""info_nce_loss with every kind of negatives, against the definition; InfoNCELoss."""

from __future__ import annotations

import inspect
import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from info_nce_cases import CASES, N, by_name, call, ours, tensors, with_grads
from loss_oracle import assert_compiles, assert_steady, assert_takes_strides_and_mixed_dtypes, largest_tensor
from oracle import assert_no_worse
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sslfast.losses import InfoNCELoss, info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(case: str, dtype: torch.dtype, device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    given = tensors(dtype)
    weights = torch.rand(N)
    found = with_grads(ours, {name: t.to(device) for name, t in given.items()}, case, weights.to(device))
    same = with_grads(reference, given, case, weights)
    doubled = {name: t.double() if t.is_floating_point() else t for name, t in given.items()}
    truth = with_grads(reference, doubled, case, weights)
    eps = torch.finfo(dtype).eps
    for f, s, t in zip(found, same, truth, strict=True):
        assert_no_worse(f, s, t, 200 * eps * max(1.0, t.abs().max().item()))  # similarities times 10 in their exponent


HALVES = (
    "the other keys",
    "all kinds",
    "a margin for all kinds",
    "ids both ways",
    "smooth, a margin for all kinds",
    "all hard",
)


@pytest.mark.parametrize("case", HALVES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_no_worse_than_eager(case: str, dtype: torch.dtype, device) -> None:
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors().items()}
    weights = torch.ones(N)
    found = with_grads(ours, {name: t.to(device) for name, t in given.items()}, case, weights.to(device))
    truth = with_grads(
        reference, {name: t.double() if t.is_floating_point() else t for name, t in given.items()}, case, weights
    )
    assert found[0].dtype == torch.float32
    for f, t in zip(found, truth, strict=True):
        error = torch.linalg.vector_norm(f.cpu().double() - t) / torch.linalg.vector_norm(t)
        assert error <= 3 * torch.finfo(dtype).eps, (f.shape, error)


def test_gradcheck() -> None:
    given = {name: t[:6] if t.dim() and name != "queue" else t for name, t in tensors().items()}
    given["shuffled"] = torch.randperm(6)
    for case in ("both ways by index", "all kinds", "debiased"):
        _, leaves = call(ours, given, case)
        _, negatives, options = CASES[case]
        options = {n: v for n, v in by_name(options, given).items() if n != "temperature"}

        def run(query, keys, *rest, options=options, negatives=negatives):
            others = rest[0] if negatives else None
            return ours(query, keys, others, rest[-1], **options)

        leaves[-1] = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(run, leaves)


def test_one_pass_is_one_operator() -> None:
    class Operators(TorchDispatchMode):
        names: ClassVar[list[str]] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__.split(".")[0])
            return func(*args, **(kwargs or {}))

    query = torch.randn(600, 4, requires_grad=True)  # of fewer, few_pairs makes the whole loss
    with Operators() as operators:
        info_nce_loss(query, torch.randn(600, 4)).backward()
    assert [name for name in operators.names if "softmax" in name] == ["queue_softmax"]


def test_keys_that_take_no_gradient_give_the_same() -> None:
    given = tensors()
    for case in CASES:
        expected, leaves = call(reference, given, case)
        (expected_grad,) = torch.autograd.grad(expected.sum(), leaves[0], retain_graph=True)
        (expected_scale,) = torch.autograd.grad(expected.sum(), leaves[-1])
        key, negatives, options = CASES[case]
        options = by_name(options, given)
        temperature = leaves[-1].detach().requires_grad_()
        options.pop("temperature", None)
        query = given["query"].clone().requires_grad_()
        losses = ours(query, given[key], given[negatives] if negatives else None, temperature, **options)
        torch.testing.assert_close(losses, expected)
        grads = torch.autograd.grad(losses.sum(), (query, temperature))
        torch.testing.assert_close(grads[0], expected_grad)
        torch.testing.assert_close(grads[1], expected_scale)


def test_is_torchs_cross_entropy() -> None:
    given = tensors()
    logits = F.normalize(given["query"]) @ F.normalize(given["keys"]).T / 0.1
    for reduction in ("mean", "sum", "none"):
        expected = F.cross_entropy(logits, torch.arange(N), reduction=reduction)
        torch.testing.assert_close(info_nce_loss(given["query"], given["keys"], reduction=reduction), expected)
    shared = torch.cat(
        [logits.diagonal().unsqueeze(1), F.normalize(given["query"]) @ F.normalize(given["shared"]).T / 0.1], 1
    )
    expected = F.cross_entropy(shared, torch.zeros(N, dtype=torch.long))
    torch.testing.assert_close(info_nce_loss(given["query"], given["keys"], given["shared"]), expected)


def test_weights() -> None:
    given, weights = tensors(), torch.rand(N, dtype=torch.float64)
    losses = ours(given["query"], given["keys"])
    weighted = {r: info_nce_loss(given["query"], given["keys"], reduction=r, weights=weights) for r in ("mean", "sum")}
    torch.testing.assert_close(weighted["mean"], (losses * weights).sum() / weights.sum())
    torch.testing.assert_close(weighted["sum"], (losses * weights).sum())
    torch.testing.assert_close(ours(given["query"], given["keys"], weights=weights), losses * weights)


def test_analytic_values() -> None:
    eye = torch.eye(8)
    torch.testing.assert_close(info_nce_loss(eye, eye, temperature=1 / 40), torch.tensor(7 * math.exp(-40)))
    assert info_nce_loss(eye[:1], eye[:1]) == 0  # nothing to tell apart
    same = torch.ones(8, 3)
    torch.testing.assert_close(info_nce_loss(same, same), torch.tensor(math.log(8)))
    twice = torch.arange(8) // 2  # each document twice: 6 negatives are left of 7
    torch.testing.assert_close(info_nce_loss(same, same, query_ids=twice, key_ids=twice), torch.tensor(math.log(7)))
    assert info_nce_loss(same, same, margin=-0.5) == 0  # all are above the positive less a half
    # All similarities are 1: a share tau of the 7 is taken out, and the rest scaled up again.
    torch.testing.assert_close(info_nce_loss(same, same, tau_plus=0.3), torch.tensor(math.log(8)))


def test_composes() -> None:
    given = tensors(torch.float32)
    query, keys, hard = (given[name] for name in ("query", "keys", "hard"))
    ids = torch.arange(N) % 20
    assert_compiles(lambda a, b: info_nce_loss(a, b, query_ids=ids, key_ids=ids, query_negatives=True), query, keys)
    assert_compiles(lambda a: info_nce_loss(a, a, temperature=0.5), query)
    for options in ({}, {"symmetric": True}, {"margin": 0.1, "query_negatives": True, "queue": given["queue"]}):

        def loss(a: Tensor, b: Tensor, options=options) -> Tensor:
            return info_nce_loss(a, b, in_batch=True, **options)

        assert_steady(loss, query, keys)
        assert_takes_strides_and_mixed_dtypes(loss, query, keys)
        assert_compiles(loss, query, keys)
    assert_steady(lambda a, b, c: info_nce_loss(a, b, c, in_batch=True), query, keys, hard)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_keys_of_a_wider_type_are_not_rounded(dtype: torch.dtype) -> None:
    query, keys = torch.randn(2, 40, 24).bfloat16()
    hard = torch.randn(300, 24, dtype=dtype, requires_grad=True)
    sides = [z.clone().requires_grad_() for z in (query, keys)]
    grads = torch.autograd.grad(info_nce_loss(*sides, hard, 0.05), [*sides, hard])
    truth = [z.detach().double().requires_grad_() for z in (query, keys, hard)]
    expected = torch.autograd.grad(reference(*truth, 0.05).mean(), truth)
    for found, e, bound in zip(grads, expected, (3e-3, 3e-3, 2e-6), strict=True):
        assert torch.linalg.vector_norm(found - e) <= bound * torch.linalg.vector_norm(e)


def test_second_derivatives_are_refused() -> None:
    query, keys = torch.randn(2, 5, 4, requires_grad=True)
    for other in (keys, keys.detach()):
        (grad,) = torch.autograd.grad(info_nce_loss(query, other), query, create_graph=True)
        with pytest.raises(RuntimeError, match=r"^info_nce_loss: second derivatives are not supported$"):
            grad.sum().backward()


def test_no_matrix_of_similarities() -> None:
    query, keys = torch.randn(2, 3000, 8)
    for options in ({}, {"symmetric": True, "margin": 0.1}, {"query_negatives": True, "key_negatives": True}):
        assert largest_tensor(lambda a, b, o=options: info_nce_loss(a, b, **o), query, keys) <= 2**19


def test_module_is_the_function() -> None:
    given = tensors()
    options = {"symmetric": True, "query_negatives": True, "key_negatives": True, "margin": 0.3, "tau_plus": 0.01}
    criterion = InfoNCELoss(0.2, "sum", **options)
    ids = {"query_ids": given["query_ids"], "key_ids": given["key_ids"]}
    found = criterion(given["query"], given["keys"], given["hard"], in_batch=True, **ids)
    expected = info_nce_loss(given["query"], given["keys"], given["hard"], 0.2, "sum", in_batch=True, **ids, **options)
    assert torch.equal(found, expected)
    shown = "temperature=0.2, reduction='sum', symmetric=True, query_negatives=True, key_negatives=True, margin=0.3"
    assert repr(criterion) == f"InfoNCELoss({shown}, tau_plus=0.01)"
    a, b = inspect.signature(InfoNCELoss.forward).parameters, inspect.signature(InfoNCELoss).parameters
    arguments = inspect.signature(info_nce_loss).parameters
    for parameters in (a, b):
        assert {n: p.default for n, p in parameters.items() if n != "self"}.items() <= {
            n: p.default for n, p in arguments.items()
        }.items()
    assert (a.keys() | b.keys()) - {"self"} == arguments.keys()


def test_a_learnable_temperature() -> None:
    temperature = torch.nn.Parameter(torch.tensor(0.3))
    criterion = InfoNCELoss(temperature)
    assert repr(criterion) == f"InfoNCELoss(temperature={temperature.tolist()}, reduction='mean', symmetric=False)"
    assert dict(criterion.named_parameters()).keys() == {"temperature"}
    criterion(torch.randn(4, 3), torch.randn(4, 3)).backward()
    assert temperature.grad is not None
    fixed = InfoNCELoss(torch.tensor(0.3)).double()  # goes where the module goes
    assert fixed.temperature.dtype == torch.float64
    assert fixed.state_dict().keys() == {"temperature"}
