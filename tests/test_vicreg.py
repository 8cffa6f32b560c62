"""VICRegLoss against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses.vicreg import VICRegLoss, vicreg_loss
from sslfast.reference.vicreg import vicreg_loss as reference

# One feature; the D x D product; its last size; the N x N product from there on; places between N and D.
SHAPES = [(5, 1), (40, 16), (300, 20), (7, 14), (7, 15), (12, 100), (10, 3, 8), (6, 2, 2, 20)]


def views(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two views that agree in part, of uneven features off the origin, some spread less than 1 and some more."""
    z = torch.randn(shape) * torch.rand(shape[1:]) * 2 + torch.randn(shape[1:])
    return z.to(dtype), (z + 0.3 * torch.randn(shape)).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (0.0, 0.0, 4.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(
    shape: tuple[int, ...], weights: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> None:
    loss_oracle.assert_like_reference(
        lambda a, b: vicreg_loss(a, b, *weights),
        lambda a, b: reference(a, b, *weights),
        views(*shape, dtype=dtype),
        device,
        factor=16,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_has_lightlys_value_and_gradients(shape: tuple[int, ...]) -> None:
    theirs = peer("lightly.loss").VICRegLoss(10.0, 5.0, 2.0, eps=1e-3)
    loss_oracle.assert_has_values_of(theirs, VICRegLoss(10.0, 5.0, 2.0, eps=1e-3), views(*shape))


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").VICRegLoss, VICRegLoss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("d", [16, 100])
def test_half_precision_inputs(d: int, dtype: torch.dtype, device: torch.device) -> None:
    loss_oracle.assert_half_is_like_reference(vicreg_loss, reference, views(40, d, dtype=dtype), device)


@pytest.mark.parametrize("shape", [(5, 3), (5, 11), (4, 2, 3), (4, 2, 9)])
def test_gradients_of_both_orders(shape: tuple[int, ...]) -> None:
    inputs = [z.requires_grad_() for z in views(*shape)]
    assert torch.autograd.gradcheck(vicreg_loss, inputs)
    assert torch.autograd.gradgradcheck(vicreg_loss, inputs)


def test_analytic_values() -> None:
    constant = torch.ones(6, 4)  # no variance: std is sqrt(1e-4)
    torch.testing.assert_close(vicreg_loss(constant, constant), torch.tensor(25 * 0.99))
    torch.testing.assert_close(vicreg_loss(constant, constant + 2), torch.tensor(25 * 4 + 25 * 0.99))
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # no covariance, variance 4/3
    assert vicreg_loss(signs, signs) == 0
    same = signs[:, :1].expand(4, 3)  # 6 of 9 covariances off the diagonal, 4/3 each
    torch.testing.assert_close(vicreg_loss(same, same), torch.tensor(2 * 6 * (4 / 3) ** 2 / 3))


def test_a_dominant_feature_leaves_the_covariance_three_digits() -> None:
    z = torch.randn(40, 200)
    z[:, 0] *= 100  # of 1e8 in the sum of all squares, nearly all is on the diagonal
    weights = (0.0, 0.0, 1.0)
    truth = reference(z.double(), z.double(), *weights)
    torch.testing.assert_close(vicreg_loss(z, z, *weights).double(), truth, rtol=2e-3, atol=0)


def test_the_covariances_of_a_small_batch_are_not_made() -> None:
    inputs = views(8, 200, dtype=torch.float32)
    assert loss_oracle.largest_tensor(vicreg_loss, *inputs) == 8 * 200
    assert loss_oracle.largest_tensor(reference, *inputs) == 200 * 200


@pytest.mark.parametrize("d", [4, 30])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss(bad: float, d: int) -> None:
    z_a, z_b = views(6, d, dtype=torch.float32)
    z_b[3, 2] = bad
    loss, *grads = loss_oracle.with_grads(vicreg_loss, z_a, z_b)
    assert loss.isnan()
    assert grads[1].isnan().any()


@pytest.mark.parametrize("d", [8, 30])
def test_strides_dtypes_autocast_checkpointing_and_compilation(d: int) -> None:
    inputs = views(10, d, dtype=torch.float32)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(vicreg_loss, *inputs)
    loss_oracle.assert_steady(vicreg_loss, *inputs)
    loss_oracle.assert_compiles(vicreg_loss, *inputs)


def test_module() -> None:
    z_a, z_b = views(10, 8)
    assert torch.equal(VICRegLoss()(z_a, z_b), vicreg_loss(z_a, z_b, 25, 25, 1, eps=1e-4))
    assert torch.equal(VICRegLoss(1, 2, 3, True, 0.1)(z_a, z_b), vicreg_loss(z_a, z_b, 1, 2, 3, eps=0.1))  # one process
    expected = "VICRegLoss(lambda_param=25.0, mu_param=2.0, nu_param=1.0, gather_distributed=False, eps=0.0001)"
    assert repr(VICRegLoss(mu_param=2)) == expected


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD.long(), GOOD], {}, TypeError, "z_a must be a floating-point tensor, got torch.int64"),
    ([GOOD, None], {}, TypeError, "z_b must be a floating-point tensor, got NoneType"),
    ([GOOD[0], GOOD], {}, ValueError, "z_a must have shape (N, ..., D) with all sizes >= 1, got (3,)"),
    ([GOOD[:, :0], GOOD], {}, ValueError, "z_a must have shape (N, ..., D) with all sizes >= 1, got (4, 0)"),
    ([GOOD, GOOD[:2]], {}, ValueError, "z_b must have shape (4, 3), like z_a, got (2, 3)"),
    ([GOOD, GOOD.to("meta")], {}, ValueError, "z_b must be on cpu, like z_a, got meta"),
    ([GOOD[:1], GOOD[:1]], {}, ValueError, "z_a must have at least 2 rows, got 1"),
    ([GOOD, GOOD], {"lambda_param": math.inf}, ValueError, "lambda_param must be finite, got inf"),
    ([GOOD, GOOD], {"mu_param": "1"}, TypeError, "mu_param must be a number, got str"),
    ([GOOD, GOOD], {"nu_param": math.nan}, ValueError, "nu_param must be finite, got nan"),
    ([GOOD, GOOD], {"eps": -1.0}, ValueError, "eps must be at least 0, got -1.0"),
    ([GOOD, GOOD], {"eps": None}, TypeError, "eps must be a number, got NoneType"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list[Tensor], kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"vicreg_loss: {text}") + "$"):
        vicreg_loss(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"mu_param": None}, TypeError, "mu_param must be a number, got NoneType"),
        ({"eps": -1}, ValueError, "eps must be at least 0, got -1"),
    ],
)
def test_module_errors_name_the_module(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"VICRegLoss: {text}") + "$"):
        VICRegLoss(**kwargs)
