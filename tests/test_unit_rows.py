"""unit_rows: C++ on the CPU and Triton (interpreted, or native with -m gpu) against F.normalize."""

from __future__ import annotations

import functools

import pytest
import torch
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast._autograd import normalized
from sslfast.reference.unit_rows import unit_rows

CASES = [
    pytest.param(1, 1, id="one number"),
    pytest.param(5, 3, id="less than a vector"),
    pytest.param(70, 130, id="blocks and a bit"),
    pytest.param(300, 700, id="several threads, several blocks of D"),
]


def wide_of(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def check(
    forward, backward_, size: int, dim: int, dtype: torch.dtype, out: torch.dtype, device: torch.device, slack: float
) -> None:
    """``slack`` is how much of a rounding step of ``out`` the result may be off beside correct rounding."""
    z = torch.randn(size, 2 * dim, dtype=torch.float64).to(dtype)[:, :dim]  # rows apart
    z[0] *= 100
    if size > 2:
        z[1] = 0
        z[2] = (z[2].double() * 1e-3).to(dtype)
    grad = torch.randn(size, dim, dtype=torch.float64)
    leaf = z.double().requires_grad_()
    truth, true_factor = unit_rows(leaf)
    (true_grad,) = torch.autograd.grad(truth, leaf, grad)
    wide = wide_of(dtype)
    unit, factor = forward(z.to(device), out)
    assert unit.dtype == out
    assert factor.shape == (size, 1)
    eps = torch.finfo(wide).eps
    assert_no_worse(factor, true_factor.detach().to(wide), true_factor, 16 * eps * true_factor)
    assert_no_worse(unit, truth.detach().to(out), truth, (16 * eps + slack * torch.finfo(out).eps) * truth.abs())
    through = grad.to(device, wide, copy=True)
    backward_(through, unit, factor)
    rounding = 16 * max(eps, torch.finfo(out).eps)
    reach = grad.norm(dim=1, keepdim=True) * true_factor.detach()  # of what the projection leaves a part of
    assert_no_worse(through, true_grad.to(wide), true_grad, rounding * reach)


PAIRS = [
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
    (torch.bfloat16, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float32),
]


@pytest.mark.parametrize(("dtype", "out"), PAIRS)
@pytest.mark.parametrize(("size", "dim"), CASES)
def test_cpu_against_the_definition(size: int, dim: int, dtype: torch.dtype, out: torch.dtype) -> None:
    check(ops.unit_rows, ops.unit_rows_backward_, size, dim, dtype, out, torch.device("cpu"), 0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("size", "dim"), CASES)
def test_gradient_against_the_definition(size: int, dim: int, dtype: torch.dtype) -> None:
    z = torch.randn(size, 2 * dim, dtype=torch.float64).to(dtype)[:, :dim]  # rows apart
    if size > 2:
        z[1] = 0
    grad = torch.randn(size, dim, dtype=torch.float64)
    if size > 2:
        grad[1] = 0  # a row of norm 0 multiplies by 1e12, beyond float16
    leaf = z.double().requires_grad_()
    (truth,) = torch.autograd.grad(unit_rows(leaf)[0], leaf, grad)
    wide = wide_of(dtype)
    _, factor = ops.unit_rows(z, wide)
    given = grad.to(wide)
    result = ops.unit_rows_gradient(given, z, factor)
    assert result.dtype == dtype
    assert torch.equal(given, grad.to(wide))
    reach = grad.norm(dim=1, keepdim=True) * factor
    tol = 16 * torch.finfo(wide).eps * reach + 0.01 * torch.finfo(dtype).eps * truth.abs()
    assert_no_worse(result, truth.to(dtype), truth, tol)


@pytest.mark.parametrize(("dtype", "out"), [*PAIRS[:1], *PAIRS[2:], (torch.float16, torch.float16)])
@pytest.mark.parametrize(("size", "dim"), CASES[:3])
def test_triton_against_the_definition(
    size: int, dim: int, dtype: torch.dtype, out: torch.dtype, triton_device
) -> None:
    from sslfast.kernels.unit_rows import backward_, forward

    check(forward, backward_, size, dim, dtype, out, triton_device, 0.01)


def test_threads_do_not_change_a_bit() -> None:
    z, threads = torch.randn(400, 333), torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(ops.unit_rows(z, torch.float32))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_inf_stay_in_their_row(bad: float) -> None:
    z = torch.randn(6, 20)
    z[2, 3] = bad
    unit, _ = ops.unit_rows(z, torch.float32)
    assert torch.equal(unit.isnan().any(dim=1), torch.arange(6) == 2)
    assert torch.equal(unit.isnan(), torch.nn.functional.normalize(z, dim=1).isnan())


def test_normalized_is_differentiable_once() -> None:
    z = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: normalized("f", x), z)
    transposed = torch.randn(7, 5, dtype=torch.float64).T.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalized("f", x), transposed)
    (grad,) = torch.autograd.grad(normalized("f", z).square().sum(), z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"^f: second derivatives are not supported$"):
        grad.sum().backward()


def test_opcheck() -> None:
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    z = torch.randn(5, 7)
    check_op(ops.unit_rows, (z, torch.float32))
    check_op(ops.unit_rows, (z.bfloat16(), torch.bfloat16))
    check_op(ops.unit_rows_backward_, (torch.randn(5, 7), *ops.unit_rows(z, torch.float32)))
    check_op(ops.unit_rows_gradient, (torch.randn(5, 7), z.bfloat16(), ops.unit_rows(z, torch.float32)[1]))
    refused: list[tuple[Tensor, torch.dtype, str]] = [
        (z.T, torch.float32, "its rows contiguous"),
        (z, torch.bfloat16, "dtype must be that of z"),
    ]
    for bad, dtype, text in refused:
        with pytest.raises(RuntimeError, match=text):
            ops.unit_rows(bad, dtype)
    unit, factor = ops.unit_rows(z, torch.float32)
    for grad, text in ((torch.randn(5, 6), "shape of unit"), (torch.randn(7, 5).T, "contiguous")):
        with pytest.raises(RuntimeError, match=text):
            ops.unit_rows_backward_(grad, unit, factor)
    refused_gradients = [
        (torch.randn(5, 7), z.T, "its rows contiguous"),
        (torch.randn(5, 6), z, "shape of z"),
        (torch.randn(5, 7).bfloat16(), z.bfloat16(), "float64 for float64 z, else float32"),
        (torch.randn(5, 7), z.int(), "floating point"),
    ]
    for grad, bad, text in refused_gradients:
        with pytest.raises(RuntimeError, match=text):
            ops.unit_rows_gradient(grad, bad, factor)
