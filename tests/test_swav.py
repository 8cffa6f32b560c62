"""SwAVLoss and sinkhorn_knopp against the definition, lightly and analytic values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import loss_oracle
import pytest
import torch
from peer_oracle import peer
from torch import Tensor

from sslfast.losses.swav import SwAVLoss, sinkhorn_knopp, swav_loss
from sslfast.reference.swav import sinkhorn_knopp as reference_sinkhorn
from sslfast.reference.swav import swav_loss as reference

# Large crops, small crops, samples, prototypes, samples in the queue (None: no queue).
CASES = [(2, 0, 6, 4, None), (2, 6, 50, 33, None), (1, 2, 5, 3, 7), (3, 1, 20, 100, 200), (2, 1, 1, 1, 0)]


def crops(high: int, low: int, n: int, k: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Cosine-like scores of related crops."""
    first = torch.randn(n, k)
    return [(0.2 * (first + torch.randn(n, k))).to(dtype) for _ in range(high + low)]


def queue_of(high: int, k: int, q: int | None, dtype: torch.dtype = torch.float64) -> list[Tensor] | None:
    return None if q is None else [0.2 * torch.randn(q, k, dtype=dtype) for _ in range(high)]


def on_crops(function: Callable[..., Tensor], high: int, queue: list[Tensor] | None = None, **kwargs) -> Callable:
    """The loss as a function of the crops one by one; the queue follows their dtype and device."""

    def loss(*z: Tensor) -> Tensor:
        stored = None if queue is None else [q.to(z[0]) for q in queue]
        return function(list(z[:high]), list(z[high:]), stored, **kwargs)

    return loss


@pytest.mark.parametrize(("high", "low", "n", "k", "q"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_the_reference(
    high: int, low: int, n: int, k: int, q: int | None, dtype: torch.dtype, device: torch.device
) -> None:
    queue = queue_of(high, k, q, dtype)
    inputs = crops(high, low, n, k, dtype)
    if high == 1:
        # The only large crop gets no gradient: it assigns, and has nothing to predict.
        own, *inputs = inputs
        ours, theirs = (on_crops(f, 1, queue) for f in (swav_loss, reference))
        loss_oracle.assert_like_reference(
            lambda *z: ours(own.to(z[0]), *z), lambda *z: theirs(own.to(z[0]), *z), inputs, device, factor=128
        )
        return
    loss_oracle.assert_like_reference(
        on_crops(swav_loss, high, queue), on_crops(reference, high, queue), inputs, device, factor=128
    )


@pytest.mark.parametrize(("high", "low", "n", "k", "q"), [case for case in CASES if case[0] > 1])
def test_has_lightlys_value_and_gradients(high: int, low: int, n: int, k: int, q: int | None) -> None:
    arguments = (0.2, 5, 0.1)
    queue = queue_of(high, k, q)
    theirs = on_crops(peer("lightly.loss").SwaVLoss(*arguments), high, queue)
    loss_oracle.assert_has_values_of(theirs, on_crops(SwAVLoss(*arguments), high, queue), crops(high, low, n, k))


def test_has_lightlys_signature() -> None:
    loss_oracle.assert_has_signature_of(peer("lightly.loss").SwaVLoss, SwAVLoss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs(dtype: torch.dtype, device: torch.device) -> None:
    inputs = crops(2, 2, 40, 16, dtype)
    loss_oracle.assert_half_is_like_reference(on_crops(swav_loss, 2), on_crops(reference, 2), inputs, device)


def test_gradients_of_both_orders() -> None:
    # As a function of the crops that only predict: the assignments of the others are constants.
    own, *inputs = crops(1, 2, 4, 3)
    inputs = [z.requires_grad_() for z in inputs]
    assert torch.autograd.gradcheck(lambda *z: swav_loss([own], z), inputs)
    assert torch.autograd.gradgradcheck(lambda *z: swav_loss([own], z), inputs)


@pytest.mark.parametrize(("high", "low"), [(1, 2), (2, 1), (3, 0)])
def test_gradients_that_can_be_differentiated_are_the_same(high: int, low: int) -> None:
    inputs = [z.requires_grad_() for z in crops(high, low, 6, 5)]
    predicting = inputs[high == 1 :]
    loss = 3.0 * on_crops(swav_loss, high)(*inputs)
    plain = torch.autograd.grad(loss, predicting, retain_graph=True)
    for a, b in zip(plain, torch.autograd.grad(loss, predicting, create_graph=True), strict=True):
        assert b.requires_grad
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_half_crops_with_a_large_loss_scale() -> None:
    inputs = crops(2, 1, 40, 16, torch.float16)
    loss_oracle.assert_half_is_like_reference(
        lambda *z: 128.0 * on_crops(swav_loss, 2)(*z), lambda *z: 128.0 * on_crops(reference, 2)(*z), inputs, slack=0.5
    )


def test_no_gradient_through_the_assignments_and_the_queue() -> None:
    own, small, queue = (z.requires_grad_() for z in crops(1, 2, 6, 4))
    grads = torch.autograd.grad(swav_loss([own], [small], [queue]), (own, small, queue), allow_unused=True)
    assert grads[0] is None
    assert grads[1] is not None
    assert grads[2] is None


def test_analytic_values() -> None:
    flat = torch.ones(6, 5)
    torch.testing.assert_close(swav_loss([flat], [flat]), torch.tensor(math.log(5)))
    torch.testing.assert_close(swav_loss([torch.eye(4)], [torch.zeros(4, 4)]), torch.tensor(math.log(4)))
    one_hot = swav_loss([20 * torch.eye(4)], [torch.eye(4)], temperature=0.5)
    torch.testing.assert_close(one_hot, torch.tensor(math.log(math.exp(2) + 3) - 2))


def test_nan_and_inf_reach_the_loss() -> None:
    for bad in (math.nan, math.inf):
        for at in (0, 1, 2):
            inputs = crops(2, 1, 6, 4, torch.float32)
            inputs[at][3, 2] = bad
            loss, *grads = loss_oracle.with_grads(on_crops(swav_loss, 2), *inputs)
            assert loss.isnan()
            assert grads[at].isnan().any()
    queue = torch.full((3, 4), math.nan)
    assert swav_loss([torch.ones(6, 4)], [torch.ones(6, 4)], [queue]).isnan()


def test_strides_dtypes_autocast_checkpointing_and_compilation() -> None:
    inputs = crops(2, 1, 10, 8, torch.float32)
    for queue in (None, queue_of(2, 8, 5, torch.float32)):
        function = on_crops(swav_loss, 2, queue)
        loss_oracle.assert_takes_strides_and_mixed_dtypes(function, *inputs)
        loss_oracle.assert_steady(function, *inputs)
        loss_oracle.assert_compiles(function, *inputs)


def test_scores_and_queue_are_left_as_they_are() -> None:
    inputs, queue = crops(2, 1, 6, 4), queue_of(2, 4, 5)
    before = [z.clone() for z in (*inputs, *queue)]
    on_crops(swav_loss, 2, queue)(*inputs)
    sinkhorn_knopp(inputs[0])
    assert all(torch.equal(a, b) for a, b in zip(before, (*inputs, *queue), strict=True))


def test_module() -> None:
    inputs = crops(2, 1, 6, 4)
    ours = SwAVLoss(0.2, 2, 0.1, True)(inputs[:2], inputs[2:])  # one process
    expected = swav_loss(inputs[:2], inputs[2:], temperature=0.2, sinkhorn_iterations=2, sinkhorn_epsilon=0.1)
    assert torch.equal(ours, expected)
    sinkhorn = "sinkhorn_iterations=3, sinkhorn_epsilon=0.05, sinkhorn_gather_distributed=False"
    assert repr(SwAVLoss()) == f"SwAVLoss(temperature=0.1, {sinkhorn})"


# ---- sinkhorn_knopp


@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 4), (50, 33), (20, 100)])
@pytest.mark.parametrize(("iterations", "epsilon"), [(1, 0.05), (3, 0.05), (7, 0.2)])
def test_sinkhorn_is_the_definition_and_lightlys(n: int, k: int, iterations: int, epsilon: float) -> None:
    scores = 0.3 * torch.randn(n, k, dtype=torch.float64)
    ours = sinkhorn_knopp(scores, iterations, epsilon)
    torch.testing.assert_close(ours, reference_sinkhorn(scores, iterations, epsilon), rtol=1e-11, atol=1e-14)
    half = sinkhorn_knopp(scores.bfloat16(), iterations, epsilon)
    assert half.dtype == torch.float32
    wide = reference_sinkhorn(scores.bfloat16().double(), iterations, epsilon)
    torch.testing.assert_close(half.double(), wide, rtol=1e-4, atol=1e-6)
    theirs = peer("lightly.loss.swav_loss").sinkhorn(scores, iterations, epsilon)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


def test_sinkhorn_balances_the_prototypes() -> None:
    q = sinkhorn_knopp(torch.randn(30, 6, dtype=torch.float64), 500, 0.5)
    torch.testing.assert_close(q.sum(1), torch.ones(30, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((6,), 5.0, dtype=torch.float64))
    assert not sinkhorn_knopp(torch.randn(3, 2, requires_grad=True)).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_sinkhorn_does_not_overflow(dtype: torch.dtype) -> None:
    scores = torch.randn(20, 5).mul(0.5).add(300).to(dtype)  # exp(300 / 0.05)
    torch.testing.assert_close(
        sinkhorn_knopp(scores).double(), reference_sinkhorn(scores.double()), rtol=1e-4, atol=1e-7
    )


def test_sinkhorn_keeps_samples_far_below_the_largest_score() -> None:
    scores = torch.randn(6, 4, dtype=torch.float64) * 0.1
    scores[2] -= 20  # exp(-400): 0 in float32 unless the row's own maximum is taken out
    torch.testing.assert_close(
        sinkhorn_knopp(scores.float()).double(), reference_sinkhorn(scores), rtol=1e-4, atol=1e-6
    )


def test_sinkhorn_leaves_out_a_prototype_out_of_reach() -> None:
    scores = 0.1 * torch.randn(6, 4)
    scores[:, 1] = -math.inf
    q = sinkhorn_knopp(scores)
    assert not q[:, 1].any()
    rest = sinkhorn_knopp(scores[:, [0, 2, 3]])
    torch.testing.assert_close(q[:, [0, 2, 3]], rest)


def test_sinkhorn_spreads_nan_and_inf() -> None:
    for bad in (math.nan, math.inf):
        scores = torch.randn(6, 4)
        scores[3, 2] = bad
        assert sinkhorn_knopp(scores).isnan().any(1).all()


# ---- bad inputs

GOOD = torch.ones(4, 3)
HIGH, LOW, QUEUE = "high_resolution_outputs", "low_resolution_outputs", "queue_outputs"
LOSS_BAD = [
    ([GOOD, [GOOD]], {}, TypeError, f"{HIGH} must be a list or tuple of tensors, got Tensor"),
    ([[GOOD], None], {}, TypeError, f"{LOW} must be a list or tuple of tensors, got NoneType"),
    ([[], [GOOD]], {}, ValueError, f"{HIGH} must hold at least 1 tensor, got 0"),
    ([[GOOD], []], {}, ValueError, "there must be at least 2 crops, got 1"),
    ([[GOOD.long()], [GOOD]], {}, TypeError, f"{HIGH}[0] must be a floating-point tensor, got torch.int64"),
    ([[GOOD], [GOOD, 1.0]], {}, TypeError, f"{LOW}[1] must be a floating-point tensor, got float"),
    ([[GOOD[0]], [GOOD]], {}, ValueError, f"{HIGH}[0] must have shape (N, K) with N, K >= 1, got (3,)"),
    ([[GOOD[:0]], [GOOD]], {}, ValueError, f"{HIGH}[0] must have shape (N, K) with N, K >= 1, got (0, 3)"),
    ([[GOOD, GOOD[:2]], []], {}, ValueError, f"{HIGH}[1] must have shape (4, 3), like {HIGH}[0], got (2, 3)"),
    ([[GOOD], [GOOD[:, :2]]], {}, ValueError, f"{LOW}[0] must have shape (4, 3), like {HIGH}[0], got (4, 2)"),
    ([[GOOD], [GOOD.to("meta")]], {}, ValueError, f"{LOW}[0] must be on cpu, like {HIGH}[0], got meta"),
    ([[GOOD], [GOOD], GOOD], {}, TypeError, f"{QUEUE} must be a list or tuple of tensors, got Tensor"),
    ([[GOOD], [GOOD], []], {}, ValueError, f"{QUEUE} must hold one tensor per high-resolution crop, 1, got 0"),
    ([[GOOD], [GOOD], [None]], {}, TypeError, f"{QUEUE}[0] must be a floating-point tensor, got NoneType"),
    ([[GOOD], [GOOD], [GOOD.T]], {}, ValueError, f"{QUEUE}[0] must have shape (Q, 3), got (3, 4)"),
    ([[GOOD], [GOOD], [GOOD.to("meta")]], {}, ValueError, f"{QUEUE}[0] must be on cpu, like the crops, got meta"),
    ([[GOOD], [GOOD]], {"temperature": 0}, ValueError, "temperature must be positive, got 0"),
    ([[GOOD], [GOOD]], {"temperature": math.nan}, ValueError, "temperature must be finite, got nan"),
    ([[GOOD], [GOOD]], {"temperature": None}, TypeError, "temperature must be a number, got NoneType"),
    ([[GOOD], [GOOD]], {"sinkhorn_iterations": 0}, ValueError, "sinkhorn_iterations must be at least 1, got 0"),
    ([[GOOD], [GOOD]], {"sinkhorn_iterations": 1.0}, TypeError, "sinkhorn_iterations must be an int, got float"),
    ([[GOOD], [GOOD]], {"sinkhorn_epsilon": math.nan}, ValueError, "sinkhorn_epsilon must be finite, got nan"),
]
SINKHORN_BAD = [
    ([[1.0]], {}, TypeError, "scores must be a floating-point tensor, got list"),
    ([GOOD[0]], {}, ValueError, "scores must have shape (N, K) with N, K >= 1, got (3,)"),
    ([GOOD[:0]], {}, ValueError, "scores must have shape (N, K) with N, K >= 1, got (0, 3)"),
    ([GOOD], {"iterations": 0}, ValueError, "iterations must be at least 1, got 0"),
    ([GOOD], {"iterations": None}, TypeError, "iterations must be an int, got NoneType"),
    ([GOOD], {"epsilon": -1.0}, ValueError, "epsilon must be positive, got -1.0"),
    ([GOOD], {"epsilon": "1"}, TypeError, "epsilon must be a number, got str"),
]
BAD = [(swav_loss, *case) for case in LOSS_BAD] + [(sinkhorn_knopp, *case) for case in SINKHORN_BAD]


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "error", "text"), BAD, ids=[f"{b[0].__name__}: {b[4]}" for b in BAD]
)
def test_errors(function, args: list, kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"{function.__name__}: {text}") + "$"):
        function(*args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"temperature": -1}, ValueError, "temperature must be positive, got -1"),
        ({"sinkhorn_iterations": "3"}, TypeError, "sinkhorn_iterations must be an int, got str"),
        ({"sinkhorn_epsilon": 0.0}, ValueError, "sinkhorn_epsilon must be positive, got 0.0"),
    ],
)
def test_module_errors_name_the_module(kwargs: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"SwAVLoss: {text}") + "$"):
        SwAVLoss(**kwargs)
