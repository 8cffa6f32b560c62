"""KoLeoLoss against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re

import loss_oracle
import pytest
import torch
from peer_oracle import peer

from sslfast import ops
from sslfast.losses.koleo import KoLeoLoss, _in_torch, koleo_loss
from sslfast.reference.koleo import koleo_loss as reference


# N, D: one pair; a line; one block of rows exactly; one row more; several blocks.
@pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 1), (50, 33), (512, 16), (513, 16), (700, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(n: int, d: int, dtype: torch.dtype, device: torch.device) -> None:
    loss_oracle.assert_like_reference(koleo_loss, reference, [torch.randn(n, d, dtype=dtype)], device, factor=16)


@pytest.mark.parametrize("p", [1.0, 2, 3.5])
@pytest.mark.parametrize("eps", [1e-8, 0.1])
@pytest.mark.parametrize("n", [10, 200])
def test_has_lightlys_value_and_gradients(p: float, eps: float, n: int) -> None:
    x = torch.randn(n, 7, dtype=torch.float64)
    loss_oracle.assert_has_values_of(peer("lightly.loss").KoLeoLoss(p, eps), KoLeoLoss(p, eps), [x])


def test_equal_rows_have_lightlys_neighbours() -> None:
    # In a tie the first row is the neighbour: it shows in the gradients.
    x = (
        torch.eye(6, dtype=torch.float64)[torch.arange(600) % 6]
        + torch.arange(600).div(3, rounding_mode="floor")[:, None]
    )
    loss_oracle.assert_has_values_of(peer("lightly.loss").KoLeoLoss(eps=1e-3), KoLeoLoss(eps=1e-3), [x])


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").KoLeoLoss, KoLeoLoss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    loss_oracle.assert_half_is_like_reference(koleo_loss, reference, [torch.randn(50, 32).to(dtype)], device)


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_gradients_of_both_orders(p: float) -> None:
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: koleo_loss(x, p), x)
    assert torch.autograd.gradgradcheck(lambda x: koleo_loss(x, p), x)


@pytest.mark.parametrize(("n", "d"), [(2, 1), (130, 33), (300, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operator_is_what_a_gpu_runs(n: int, d: int, dtype: torch.dtype) -> None:
    x = torch.randn(n, 2 * d, dtype=dtype)[:, :d]  # rows apart
    x[1] = 0
    (loss, neighbours, grad), expected = ops.koleo(x, 1e-8, True), _in_torch(x, 1e-8, True)
    assert torch.equal(neighbours, expected[1])
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(loss, expected[0], rtol=64 * rounding, atol=64 * rounding)
    ordinary = torch.arange(n) != 1  # the gradient of a row of zeros is 1e8 times as large
    torch.testing.assert_close(grad[ordinary], expected[2][ordinary], rtol=1e4 * rounding, atol=256 * rounding)
    assert ops.koleo(x, 1e-8, False)[2].shape == (0, d)


@pytest.mark.parametrize("n", [300, 700])
def test_autocast_does_not_choose_the_neighbours_on_a_gpu(n: int) -> None:
    x = torch.randn(n, 16) + 5.0  # near one another
    expected = _in_torch(x, 1e-8, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = _in_torch(x, 1e-8, True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("operator", [ops.koleo, _in_torch], ids=["C++", "torch"])
def test_equal_rows_and_a_small_eps_have_gradients(operator) -> None:
    x = torch.randn(6, 5)
    x[4] = x[5]  # each the other's neighbour, and a row beside them has neither
    x[:4] -= 3 * x[5]
    grad, expected = (operator(rows, 1e-20, True)[2] for rows in (x, x.double()))
    assert grad.isfinite().all()
    torch.testing.assert_close(grad[:4].double(), expected[:4], rtol=1e-3, atol=1e-3)
    x[:4] = x[5]  # one row is the neighbour of several, which all push it
    grad = operator(x, 1e-20, True)[2]
    assert grad.isfinite().all()
    assert grad.abs().max() > 1e18


def test_gradients_of_several_directions_at_once() -> None:
    x = torch.randn(6, 4, requires_grad=True)
    directions = torch.tensor([1.0, -2.0])
    (found,) = torch.autograd.grad(koleo_loss(x), x, directions, is_grads_batched=True)
    (one,) = torch.autograd.grad(koleo_loss(x), x)
    torch.testing.assert_close(found, directions[:, None, None] * one)


def test_opcheck() -> None:
    torch.library.opcheck(ops.koleo, (torch.randn(5, 3), 1e-8, True))
    torch.library.opcheck(ops.koleo, (torch.randn(5, 3, dtype=torch.float64), 1e-8, False))


def test_gradients_that_can_be_differentiated_or_come_again_are_the_same() -> None:
    x = torch.randn(40, 6, dtype=torch.float64, requires_grad=True)
    loss = koleo_loss(x)
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    (again,) = torch.autograd.grad(loss, x, create_graph=True)
    assert again.requires_grad
    torch.testing.assert_close(first, again, rtol=1e-10, atol=1e-13)
    expected = -3.0 * first
    first.zero_()
    assert torch.equal(torch.autograd.grad(-3.0 * loss, x)[0], expected)


def test_the_result_does_not_depend_on_the_threads() -> None:
    x = torch.randn(600, 300)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(loss_oracle.with_grads(koleo_loss, x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_analytic_values() -> None:
    torch.testing.assert_close(koleo_loss(3 * torch.eye(5)), torch.tensor(-math.log(math.sqrt(2))))
    torch.testing.assert_close(koleo_loss(torch.tensor([[2.0, 0.0], [-1.0, 0.0]])), torch.tensor(-math.log(2)))
    same = koleo_loss(torch.ones(3, 4, dtype=torch.float64))  # eps in 4 differences, and once more in the logarithm
    torch.testing.assert_close(same, -torch.tensor(3e-8, dtype=torch.float64).log())
    assert koleo_loss(torch.zeros(3, 4)).isfinite()


def test_the_similarities_of_a_large_batch_are_not_kept() -> None:
    x = torch.randn(1500, 4)
    assert loss_oracle.largest_tensor(koleo_loss, x) <= 128 * 1500
    assert loss_oracle.largest_tensor(reference, x) == 1500 * 1500


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 130, 199])
def test_nan_and_inf_reach_the_loss(bad: float, row: int) -> None:
    x = torch.randn(200, 4)
    x[row, 2] = bad
    loss, grad = loss_oracle.with_grads(koleo_loss, x)
    assert loss.isnan()
    assert grad[row].isnan().any()


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    x = torch.randn(10, 8)
    loss_oracle.assert_takes_strides_and_mixed_dtypes(koleo_loss, x)
    loss_oracle.assert_steady(koleo_loss, x)
    loss_oracle.assert_compiles(koleo_loss, x)
    loss_oracle.assert_compiles(koleo_loss, torch.randn(200, 8))


def test_module() -> None:
    x = torch.randn(10, 8)
    assert torch.equal(KoLeoLoss()(x), koleo_loss(x, 2, 1e-8))
    assert torch.equal(KoLeoLoss(1, 0.1)(x), koleo_loss(x, 1, 0.1))
    assert repr(KoLeoLoss()) == "KoLeoLoss(p=2.0, eps=1e-08)"


GOOD = torch.ones(4, 3)
BAD = [
    ([GOOD.long()], {}, TypeError, "x must be a floating-point tensor, got torch.int64"),
    ([[1.0]], {}, TypeError, "x must be a floating-point tensor, got list"),
    ([GOOD[0]], {}, ValueError, "x must have shape (N, D) with N, D >= 1, got (3,)"),
    ([GOOD[:, :0]], {}, ValueError, "x must have shape (N, D) with N, D >= 1, got (4, 0)"),
    ([GOOD[:1]], {}, ValueError, "x must have at least 2 rows, got 1"),
    ([GOOD], {"p": 0}, ValueError, "p must be positive, got 0"),
    ([GOOD], {"p": math.inf}, ValueError, "p must be finite, got inf"),
    ([GOOD], {"p": None}, TypeError, "p must be a number, got NoneType"),
    ([GOOD], {"eps": -1.0}, ValueError, "eps must be at least 0, got -1.0"),
    ([GOOD], {"eps": "1"}, TypeError, "eps must be a number, got str"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_errors(args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"koleo_loss: {text}") + "$"):
        koleo_loss(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"p": -2}, ValueError, "p must be positive, got -2"),
        ({"eps": None}, TypeError, "eps must be a number, got NoneType"),
    ],
)
def test_module_errors_name_the_module(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"KoLeoLoss: {text}") + "$"):
        KoLeoLoss(**kwargs)
