"""DCLLoss, DCLWLoss and their functions against the definition, lightly and analytic values."""

from __future__ import annotations

import functools
import math
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from loss_oracle import assert_has_signature_of, assert_has_values_of, assert_like_reference, assert_steady
from peer_oracle import peer
from torch import Tensor

from sslfast.losses import DCLLoss, DCLWLoss, dcl_loss, dclw_loss, negative_mises_fisher_weights
from sslfast.reference.dcl import dcl_loss as reference


# N, D, temperature: two samples; odd sizes; several tiles; low and negative temperature.
@pytest.mark.parametrize(
    ("n", "d", "temperature"), [(2, 4, 0.5), (7, 33, 0.1), (300, 20, 0.07), (40, 16, 0.01), (9, 8, -0.5)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, temperature: float, dtype: torch.dtype, device: torch.device) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")
    ours, theirs = (functools.partial(f, temperature=temperature) for f in (dcl_loss, reference))
    inputs = torch.randn(2, n, d, dtype=dtype).unbind()
    assert_like_reference(ours, theirs, inputs, device, factor=32 / min(1.0, abs(temperature)))


def test_is_lightlys() -> None:
    inputs = torch.randn(2, 12, 6, dtype=torch.float64).unbind()
    theirs = peer("lightly.loss")
    assert_has_values_of(theirs.DCLLoss(0.2), DCLLoss(0.2), inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # theirs makes a tensor of a tensor
        assert_has_values_of(theirs.DCLWLoss(0.2, 0.7), DCLWLoss(0.2, 0.7), inputs)
    assert_has_signature_of(theirs.DCLLoss, DCLLoss)
    assert_has_signature_of(theirs.DCLWLoss, DCLWLoss)


def test_weights() -> None:
    views = F.normalize(torch.randn(2, 9, 5), dim=2)
    weights = negative_mises_fisher_weights(*views, sigma=0.3)
    torch.testing.assert_close(weights.sum(), torch.tensor(9.0))
    assert weights.argmin() == (views[0] * views[1]).sum(1).argmax()
    half = negative_mises_fisher_weights(*views.bfloat16(), sigma=0.3)
    assert torch.equal(half, negative_mises_fisher_weights(*views.bfloat16().float(), sigma=0.3))
    both = torch.cat([weights, weights])
    for function in (DCLWLoss(0.2, 0.3), functools.partial(dclw_loss, temperature=0.2, sigma=0.3)):
        torch.testing.assert_close(function(*views), reference(*views, 0.2, both))
        assert_like_reference(function, functools.partial(weighted_reference, 0.2, 0.3), views, factor=128)
    assert torch.equal(dclw_loss(*views), DCLWLoss()(*views))


def weighted_reference(temperature: float, sigma: float, z0: Tensor, z1: Tensor) -> Tensor:
    similarity = (F.normalize(z0) * F.normalize(z1)).sum(1).detach()
    return reference(z0, z1, temperature, (2 - len(z0) * torch.softmax(similarity / sigma, dim=0)).repeat(2))


def test_float64_weights_do_not_widen_the_loss() -> None:
    views = torch.randn(2, 5, 4)
    assert dcl_loss(*views, weight_fn=lambda a, b: a.new_ones(len(a)).double()).dtype == torch.float32


def test_gradcheck_with_weights_that_have_a_gradient() -> None:
    inputs = torch.randn(2, 5, 4, dtype=torch.float64).unbind()
    function = functools.partial(dcl_loss, temperature=0.3, weight_fn=lambda a, b: (a * b).sum(1).exp())
    assert torch.autograd.gradcheck(function, [z.requires_grad_() for z in inputs])


def test_analytic_values() -> None:
    one = torch.ones(4, 3)
    torch.testing.assert_close(
        dcl_loss(one, one, 0.5), torch.tensor(math.log(6))
    )  # 6 negatives as near as the positive
    eye = torch.eye(8)
    torch.testing.assert_close(dcl_loss(eye, eye, 0.1), torch.tensor(math.log(14) - 10))


def test_composes() -> None:
    inputs = torch.randn(2, 10, 8).unbind()
    assert_steady(dcl_loss, *inputs)
    compiled = torch.compile(dcl_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), dcl_loss(*inputs))
    for function in (dclw_loss, DCLWLoss()):
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*inputs), dclw_loss(*inputs))
    for name, function in (("dcl_loss", dcl_loss), ("dclw_loss", dclw_loss), ("dclw_loss", DCLWLoss())):
        z0 = inputs[0].clone().requires_grad_()
        (grad,) = torch.autograd.grad(function(z0, inputs[1]), z0, create_graph=True)
        with pytest.raises(RuntimeError, match=rf"^{name}: second derivatives are not supported$"):
            grad.sum().backward()
    assert "sigma=0.5" in repr(DCLWLoss())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_budget_bounds_what_is_kept_and_changes_no_loss(dtype: torch.dtype) -> None:
    z0, z1 = torch.randn(2, 400, 16).to(dtype)
    kept, results = [], []
    for budget in (0, 500_000, 10**9, None):
        sizes = []

        def pack(t: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(t.numel() * t.element_size())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = dcl_loss(z0.requires_grad_(), z1.requires_grad_(), 0.1, memory_budget=budget)
        kept.append(max(sizes))
        results.append([loss.detach(), *torch.autograd.grad(loss, (z0, z1))])
        assert torch.equal(DCLLoss(memory_budget=budget)(z0, z1), loss)
    assert kept[0] <= 800 * 16 * 4  # rows, labels and sums
    assert 400_000 < kept[1] <= 500_000
    assert 4 * 800**2 / 2 <= kept[2] < 1.4 * 4 * 800**2 / 2  # half the similarities
    assert kept[3] <= 2 * 2**20
    assert all(torch.equal(loss, results[0][0]) for loss, *_ in results)
    for number, (_, *grads) in enumerate(results):
        packed = dtype == torch.bfloat16 and number == 1  # which is off by less than a rounding to bfloat16
        for grad, expected in zip(grads, results[0][1:], strict=True):
            assert (grad - expected).norm() <= 2e-3 * expected.norm() if packed else torch.equal(grad, expected)


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD, GOOD], {"temperature": 0.0}, ValueError, "temperature must be at least 1e-8 in absolute value, got 0.0"),
    ([GOOD, GOOD], {"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
    ([GOOD, GOOD], {"temperature": math.inf}, ValueError, "temperature must be finite, got inf"),
    ([GOOD, GOOD], {"temperature": None}, TypeError, "temperature must be a number, got NoneType"),
    ([GOOD, GOOD], {"memory_budget": -1}, ValueError, "memory_budget must be at least 0, got -1"),
    ([GOOD, GOOD], {"memory_budget": 1e6}, TypeError, "memory_budget must be an int, got float"),
    ([GOOD, GOOD], {"weight_fn": 3}, TypeError, "weight_fn must be callable or None, got int"),
    ([GOOD, GOOD], {"weight_fn": lambda a, b: a}, ValueError, "weight_fn must return shape (4,), got (4, 3)"),
    ([GOOD.long(), GOOD], {}, TypeError, "z0 must be a floating-point tensor, got torch.int64"),
    ([GOOD, None], {}, TypeError, "z1 must be a floating-point tensor, got NoneType"),
    ([GOOD[0], GOOD], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD[:0], GOOD[:0]], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (0, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "z1 must be on cpu, like z0, got meta"),
    ([GOOD, GOOD[:2]], {}, ValueError, "z1 must have shape (4, 3), like z0, got (2, 3)"),
    ([GOOD[:1], GOOD[:1]], {}, ValueError, "z0 must have at least 2 rows, got 1"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list[Tensor], kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"dcl_loss: {text}") + "$"):
        dcl_loss(*args, **kwargs)
    if "weight_fn" not in kwargs:
        with pytest.raises(error, match="^" + re.escape(f"dclw_loss: {text}") + "$"):
            dclw_loss(*args, **kwargs)


WEIGHTS_BAD = [
    ([GOOD.long(), GOOD], {}, TypeError, "z0 must be a floating-point tensor, got torch.int64"),
    ([GOOD, [1.0]], {}, TypeError, "z1 must be a floating-point tensor, got list"),
    ([GOOD[:, :0], GOOD], {}, ValueError, "z0 must have shape (N, D) with N, D >= 1, got (4, 0)"),
    ([GOOD, GOOD[:1]], {}, ValueError, "z1 must have shape (4, 3), like z0, got (1, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "z1 must be on cpu, like z0, got meta"),
    ([GOOD, GOOD], {"sigma": 0}, ValueError, "sigma must be at least 1e-8 in absolute value, got 0"),
    ([GOOD, GOOD], {"sigma": 1e-45}, ValueError, "sigma must be at least 1e-8 in absolute value, got 1e-45"),
    ([GOOD, GOOD], {"sigma": math.nan}, ValueError, "sigma must be finite, got nan"),
    ([GOOD, GOOD], {"sigma": "1"}, TypeError, "sigma must be a number, got str"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), WEIGHTS_BAD, ids=[b[3] for b in WEIGHTS_BAD])
def test_errors_of_the_weights(args: list[Tensor], kwargs, error, text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"negative_mises_fisher_weights: {text}") + "$"):
        negative_mises_fisher_weights(*args, **kwargs)
    if kwargs:
        with pytest.raises(error, match="^" + re.escape(f"dclw_loss: {text}") + "$"):
            dclw_loss(*args, **kwargs)


def test_module_errors() -> None:
    with pytest.raises(ValueError, match=r"^DCLWLoss: temperature must be at least 1e-8 in absolute value, got 0$"):
        DCLWLoss(0)
    with pytest.raises(ValueError, match=r"^DCLWLoss: sigma must be at least 1e-8 in absolute value, got 0.0$"):
        DCLWLoss(sigma=0.0)
    with pytest.raises(ValueError, match=r"^DCLWLoss: memory_budget must be at least 0, got -1$"):
        DCLWLoss(memory_budget=-1)
