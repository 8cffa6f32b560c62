"""Alignment, uniformity and both, functions and modules, against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re
from functools import partial

import loss_oracle
import pytest
import torch
import torch.nn.functional as F
from peer_oracle import peer
from torch import Tensor

from sslfast.losses.alignment_uniformity import (
    AlignmentLoss,
    HypersphereLoss,
    UniformityLoss,
    alignment_loss,
    hypersphere_loss,
    uniformity_loss,
)
from sslfast.reference import alignment_uniformity as reference

# N, D: one pair; a circle; one block of rows exactly; one row more; several blocks.
SIZES = [(2, 3), (5, 2), (50, 33), (128, 16), (129, 16), (300, 20)]


def views(n: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    z = torch.randn(n, d)
    return z.to(dtype), (z + 0.5 * torch.randn(n, d)).to(dtype)


def unit(n: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    first, second = views(n, d)
    return F.normalize(first).to(dtype), F.normalize(second).to(dtype)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, dtype: torch.dtype, device: torch.device) -> None:
    pair = unit(n, d, dtype)
    check = partial(loss_oracle.assert_like_reference, device=device)
    for alpha in (1, 2, 3.5):
        check(partial(alignment_loss, alpha=alpha), partial(reference.alignment_loss, alpha=alpha), pair)
    for t in (0.5, 2, 10.0):  # a rounding of d^2 is t roundings of its potential
        factor = 16 * (1 + t)
        check(partial(uniformity_loss, t=t), partial(reference.uniformity_loss, t=t), pair[:1], factor=factor)
    check(hypersphere_loss, reference.hypersphere_loss, views(n, d, dtype), factor=32)


@pytest.mark.parametrize("parameters", [(), (2.0, 0.5, 1.0), (0.3, 2.0, 3.0)])
@pytest.mark.parametrize("n", [6, 150])
def test_has_lightlys_value_and_gradients(n: int, parameters: tuple[float, ...]) -> None:
    theirs = peer("lightly.loss.hypersphere_loss").HypersphereLoss(*parameters)
    loss_oracle.assert_has_values_of(theirs, HypersphereLoss(*parameters), views(n, 7))


def test_normalizes() -> None:
    x, y = torch.randn(2, 9, 5, dtype=torch.float64)
    x[0] = 0.0
    for ours, theirs, inputs in (
        (alignment_loss, reference.alignment_loss, (x, y)),
        (uniformity_loss, reference.uniformity_loss, (x,)),
    ):
        # The gradient of a row of 0 is the same over eps.
        found, truth = (loss_oracle.with_grads(partial(f, normalize=True), *inputs) for f in (ours, theirs))
        for f, g in zip(found, truth, strict=True):
            torch.testing.assert_close(f, g)
        with pytest.raises(TypeError, match=rf"^{ours.__name__}: normalize must be a bool, got 1$"):
            ours(*inputs, normalize=1)


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss.hypersphere_loss").HypersphereLoss, HypersphereLoss)


def test_has_the_values_of_the_papers_listing() -> None:
    x, y = unit(150, 5)
    loss_oracle.assert_has_values_of(
        lambda x: torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log(), uniformity_loss, [x]
    )
    loss_oracle.assert_has_values_of(lambda x, y: (x - y).norm(p=2, dim=1).pow(2).mean(), alignment_loss, [x, y])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    pair = unit(50, 32, dtype)
    loss_oracle.assert_half_is_like_reference(alignment_loss, reference.alignment_loss, pair, device)
    loss_oracle.assert_half_is_like_reference(uniformity_loss, reference.uniformity_loss, pair[:1], device)
    loss_oracle.assert_half_is_like_reference(
        hypersphere_loss, reference.hypersphere_loss, views(50, 32, dtype), device
    )


def test_gradients() -> None:
    x, y = (z.requires_grad_() for z in views(6, 4))
    for alpha in (1.0, 2.0, 3.0):
        assert torch.autograd.gradcheck(partial(alignment_loss, alpha=alpha), (x, y))
        assert torch.autograd.gradgradcheck(partial(alignment_loss, alpha=alpha), (x, y))
    assert torch.autograd.gradcheck(partial(uniformity_loss, t=0.7), x)
    assert torch.autograd.gradcheck(partial(hypersphere_loss, t=0.7, lam=0.3, alpha=1.5), (x, y))


def test_second_derivative_of_the_uniformity_is_refused() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    for name, function in (
        ("uniformity_loss", uniformity_loss),
        ("hypersphere_loss", lambda x: hypersphere_loss(x, x)),
    ):
        (grad,) = torch.autograd.grad(function(x), x, create_graph=True)
        with pytest.raises(RuntimeError, match=rf"^{name}: second derivatives are not supported$"):
            (grad.square().sum() + x.sum()).backward()


def test_analytic_values() -> None:
    eye = torch.eye(5)  # squared distances of 2
    torch.testing.assert_close(uniformity_loss(eye), torch.tensor(-4.0))
    torch.testing.assert_close(uniformity_loss(eye, 0.5), torch.tensor(-1.0))
    torch.testing.assert_close(alignment_loss(eye, -eye, 3), torch.tensor(8.0))
    torch.testing.assert_close(hypersphere_loss(7 * eye, eye), torch.tensor(-2.0))
    same = torch.ones(4, 3)
    loss, grad = loss_oracle.with_grads(uniformity_loss, same)
    assert loss == 0
    assert not grad.any()
    for alpha in (1, 2, 3):
        loss, *grads = loss_oracle.with_grads(partial(alignment_loss, alpha=alpha), same, same)
        assert loss == 0
        assert not any(grad.any() for grad in grads)


def test_potentials_out_of_range_leave_loss_and_gradient_finite() -> None:
    x = 30 * torch.randn(300, 8)  # exp(-t d^2) is 0 in float32 for every pair
    assert torch.pdist(x).square().mul(-2).exp().sum() == 0
    truth = loss_oracle.with_grads(reference.uniformity_loss, x.double())
    for f, g in zip(loss_oracle.with_grads(uniformity_loss, x), truth, strict=True):
        torch.testing.assert_close(f.double(), g, rtol=1e-3, atol=1e-3 * g.abs().max().item())


def test_rows_far_from_the_origin_keep_their_distances() -> None:
    x = torch.randn(40, 8).div(3).add(100)
    truth = loss_oracle.with_grads(reference.uniformity_loss, x.double())
    for f, g in zip(loss_oracle.with_grads(uniformity_loss, x), truth, strict=True):
        torch.testing.assert_close(f.double(), g, rtol=1e-5, atol=1e-6)


def test_the_distances_of_a_large_batch_are_not_kept() -> None:
    x = torch.randn(1500, 4)
    assert loss_oracle.largest_tensor(uniformity_loss, x) <= 128 * 1500
    assert loss_oracle.largest_tensor(reference.uniformity_loss, x) >= 1500 * 1499 // 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 130, 199])
def test_nan_and_inf_reach_the_loss(bad: float, row: int) -> None:
    x, y = unit(200, 4, torch.float32)
    y[row, 2] = bad
    loss, *grads = loss_oracle.with_grads(hypersphere_loss, x, y)
    assert loss.isnan()
    assert grads[1].isnan().any()
    assert uniformity_loss(y).isnan()
    assert not alignment_loss(x, y).isfinite()


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    x, y = unit(10, 8, torch.float32)
    for function, inputs in ((alignment_loss, (x, y)), (uniformity_loss, (x,)), (hypersphere_loss, (x, y))):
        loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *inputs)
        loss_oracle.assert_steady(function, *inputs)
        loss_oracle.assert_compiles(function, *inputs)
    loss_oracle.assert_compiles(uniformity_loss, torch.randn(200, 4))
    assert not uniformity_loss(x).requires_grad


def test_modules() -> None:
    z_a, z_b = views(10, 8)
    assert torch.equal(HypersphereLoss()(z_a, z_b), hypersphere_loss(z_a, z_b, 1, 1, 2))
    assert torch.equal(HypersphereLoss(2, 0.5, 3)(z_a, z_b), hypersphere_loss(z_a, z_b, 2, 0.5, 3))
    assert repr(HypersphereLoss(2)) == "HypersphereLoss(t=2.0, lam=1.0, alpha=2.0)"
    assert torch.equal(AlignmentLoss()(z_a, z_b), alignment_loss(z_a, z_b, 2))
    assert torch.equal(AlignmentLoss(3, normalize=True)(z_a, z_b), alignment_loss(z_a, z_b, 3, normalize=True))
    assert repr(AlignmentLoss(3)) == "AlignmentLoss(alpha=3.0, normalize=False)"
    assert torch.equal(UniformityLoss()(z_a), uniformity_loss(z_a, 2))
    assert torch.equal(UniformityLoss(0.5, normalize=True)(z_a), uniformity_loss(z_a, 0.5, normalize=True))
    assert repr(UniformityLoss(normalize=True)) == "UniformityLoss(t=2.0, normalize=True)"


GOOD = torch.ones(4, 3)
PAIR = [
    ([GOOD.long(), GOOD], {}, TypeError, "{0} must be a floating-point tensor, got torch.int64"),
    ([GOOD, None], {}, TypeError, "{1} must be a floating-point tensor, got NoneType"),
    ([GOOD[0], GOOD], {}, ValueError, "{0} must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD, GOOD[:2]], {}, ValueError, "{1} must have shape (4, 3), like {0}, got (2, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "{1} must be on cpu, like {0}, got meta"),
    ([GOOD, GOOD], {"alpha": 0.0}, ValueError, "alpha must be positive, got 0.0"),
    ([GOOD, GOOD], {"alpha": "1"}, TypeError, "alpha must be a number, got str"),
]
ONE_ROW = "must have at least 2 rows, got 1"
BAD = [
    *((alignment_loss, *case[:3], case[3].format("x", "y")) for case in PAIR),
    *((hypersphere_loss, *case[:3], case[3].format("z_a", "z_b")) for case in PAIR),
    (hypersphere_loss, [GOOD[:1], GOOD[:1]], {}, ValueError, f"z_a {ONE_ROW}"),
    (hypersphere_loss, [GOOD, GOOD], {"t": -1.0}, ValueError, "t must be positive, got -1.0"),
    (hypersphere_loss, [GOOD, GOOD], {"lam": math.nan}, ValueError, "lam must be finite, got nan"),
    (uniformity_loss, [3.0], {}, TypeError, "x must be a floating-point tensor, got float"),
    (uniformity_loss, [GOOD[:, :0]], {}, ValueError, "x must have shape (N, D) with N, D >= 1, got (4, 0)"),
    (uniformity_loss, [GOOD[:1]], {}, ValueError, f"x {ONE_ROW}"),
    (uniformity_loss, [GOOD], {"t": 0}, ValueError, "t must be positive, got 0"),
    (uniformity_loss, [GOOD], {"t": None}, TypeError, "t must be a number, got NoneType"),
]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "error", "text"), BAD, ids=[f"{b[0].__name__}: {b[4]}" for b in BAD]
)
def test_errors(function, args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{function.__name__}: {text}") + "$"):
        function(*args, **kwargs)


@pytest.mark.parametrize(
    ("module", "kwargs", "error", "text"),
    [
        (HypersphereLoss, {"t": 0}, ValueError, "t must be positive, got 0"),
        (HypersphereLoss, {"lam": None}, TypeError, "lam must be a number, got NoneType"),
        (HypersphereLoss, {"alpha": math.inf}, ValueError, "alpha must be finite, got inf"),
        (AlignmentLoss, {"alpha": -1}, ValueError, "alpha must be positive, got -1"),
        (UniformityLoss, {"t": "2"}, TypeError, "t must be a number, got str"),
    ],
)
def test_module_errors_name_the_module(module, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{module.__name__}: {text}") + "$"):
        module(**kwargs)
