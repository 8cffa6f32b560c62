"""BarlowTwinsLoss against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses.barlow_twins import BarlowTwinsLoss, barlow_twins_loss
from sslfast.reference.barlow_twins import barlow_twins_loss as reference

# N, D: one feature; the D x D product; its last size; the N x N products from there on.
SIZES = [(5, 1), (40, 16), (300, 20), (7, 14), (7, 15), (12, 100)]


def views(n: int, d: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two views that agree in part, of uneven features off the origin."""
    z = torch.randn(n, d) * (0.3 + 3 * torch.rand(d)) + torch.randn(d)
    return z.to(dtype), (z + 0.5 * torch.randn(n, d)).to(dtype)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("lambda_param", [5e-3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, lambda_param: float, dtype: torch.dtype, device: torch.device) -> None:
    loss_oracle.assert_like_reference(
        lambda a, b: barlow_twins_loss(a, b, lambda_param),
        lambda a, b: reference(a, b, lambda_param),
        views(n, d, dtype),
        device,
        factor=64,
    )


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_has_lightlys_value_and_gradients(n: int, d: int) -> None:
    theirs = peer("lightly.loss").BarlowTwinsLoss(0.01)
    loss_oracle.assert_has_values_of(theirs, BarlowTwinsLoss(0.01), views(n, d))


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").BarlowTwinsLoss, BarlowTwinsLoss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [16, 100])
def test_half_precision_inputs(d: int, dtype: torch.dtype, device: torch.device) -> None:
    loss_oracle.assert_half_is_like_reference(barlow_twins_loss, reference, views(40, d, dtype), device)


@pytest.mark.parametrize("d", [3, 11])
def test_gradients_of_both_orders(d: int) -> None:
    inputs = [z.requires_grad_() for z in views(5, d)]
    assert torch.autograd.gradcheck(lambda a, b: barlow_twins_loss(a, b, 0.2), inputs)
    assert torch.autograd.gradgradcheck(lambda a, b: barlow_twins_loss(a, b, 0.2), inputs)


def test_analytic_values() -> None:
    z = torch.randn(6, 1, dtype=torch.float64).expand(6, 4)
    kept = z.var(0, correction=0)[0] / (z.var(0, correction=0)[0] + 1e-5)
    equal = 4 * (kept - 1) ** 2 + 0.3 * 12 * kept**2  # every correlation is `kept`
    torch.testing.assert_close(barlow_twins_loss(z, z, 0.3), equal)
    opposite = 4 * (kept + 1) ** 2 + 0.3 * 12 * kept**2
    torch.testing.assert_close(barlow_twins_loss(z, -z, 0.3), opposite)
    constant = torch.ones(6, 4)  # no variance, no correlation
    torch.testing.assert_close(barlow_twins_loss(constant, constant), torch.tensor(4.0))


def test_a_view_of_a_collapsed_batch_has_a_finite_gradient() -> None:
    loss, *grads = loss_oracle.with_grads(barlow_twins_loss, torch.ones(6, 20), torch.randn(6, 20))
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in grads)


def test_the_correlations_of_a_small_batch_are_not_made() -> None:
    inputs = views(8, 200, torch.float32)
    assert loss_oracle.largest_tensor(barlow_twins_loss, *inputs) == 8 * 200
    assert loss_oracle.largest_tensor(reference, *inputs) == 200 * 200


@pytest.mark.parametrize("d", [4, 30])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss(bad: float, d: int) -> None:
    z_a, z_b = views(6, d, torch.float32)
    z_b[3, 2] = bad
    loss, *grads = loss_oracle.with_grads(barlow_twins_loss, z_a, z_b)
    assert loss.isnan()
    assert all(g.isnan().any() for g in grads)


@pytest.mark.parametrize("d", [8, 30])
def test_strides_dtypes_autocast_checkpointing_and_compilation(d: int) -> None:
    inputs = views(10, d, torch.float32)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(barlow_twins_loss, *inputs)
    loss_oracle.assert_steady(barlow_twins_loss, *inputs)
    loss_oracle.assert_compiles(barlow_twins_loss, *inputs)


def test_module() -> None:
    z_a, z_b = views(10, 8)
    assert torch.equal(BarlowTwinsLoss()(z_a, z_b), barlow_twins_loss(z_a, z_b, 0.005))
    assert torch.equal(BarlowTwinsLoss(0.1, True)(z_a, z_b), barlow_twins_loss(z_a, z_b, 0.1))  # one process
    assert repr(BarlowTwinsLoss(0.1)) == "BarlowTwinsLoss(lambda_param=0.1, gather_distributed=False)"


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD.long(), GOOD], {}, TypeError, "z_a must be a floating-point tensor, got torch.int64"),
    ([GOOD, None], {}, TypeError, "z_b must be a floating-point tensor, got NoneType"),
    ([GOOD[0], GOOD], {}, ValueError, "z_a must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD[:, :0], GOOD], {}, ValueError, "z_a must have shape (N, D) with N, D >= 1, got (4, 0)"),
    ([GOOD, GOOD[:2]], {}, ValueError, "z_b must have shape (4, 3), like z_a, got (2, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "z_b must be on cpu, like z_a, got meta"),
    ([GOOD[:1], GOOD[:1]], {}, ValueError, "z_a must have at least 2 rows, got 1"),
    ([GOOD, GOOD], {"lambda_param": math.inf}, ValueError, "lambda_param must be finite, got inf"),
    ([GOOD, GOOD], {"lambda_param": "1"}, TypeError, "lambda_param must be a number, got str"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list[Tensor], kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"barlow_twins_loss: {text}") + "$"):
        barlow_twins_loss(*args, **kwargs)


def test_module_errors_name_the_module() -> None:
    with pytest.raises(TypeError, match=r"^BarlowTwinsLoss: lambda_param must be a number, got NoneType$"):
        BarlowTwinsLoss(None)
