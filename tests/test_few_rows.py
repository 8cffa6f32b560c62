"""Losses with labels of few rows on the CPU, from one operator, beside their way for more rows: the same values, and
what holds of a gradient that is made in forward. The losses' own tests compare either with the reference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from loss_oracle import Loss, with_grads
from margin_oracle import DISTANCES, pair_options

from sslfast import ops
from sslfast.losses import _few_rows, contrastive_loss, multi_positive_nt_xent_loss, supcon_loss, triplet_loss

MINING = ("batch_all", "batch_hard", "semi_hard")
LOSSES = {
    "supcon": partial(supcon_loss, temperature=0.2),
    "multi_positive": partial(multi_positive_nt_xent_loss, temperature=0.2),
    "contrastive": partial(contrastive_loss, neg_margin=1.3),
    **{mining: partial(triplet_loss, margin=0.4, mining=mining) for mining in MINING},
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@contextmanager
def at_most(rows: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_few_rows, "MOST_ROWS", rows)
        patch.setattr(_few_rows, "MOST_ROWS_SUPCON", rows)
        yield


def assert_both_ways_agree(loss: Loss, z: torch.Tensor, y: torch.Tensor, tolerance: float) -> None:
    results = []
    for most in (0, len(z)):
        with at_most(most):
            results.append(with_grads(lambda x: loss(x, y), z))
    for more, few in zip(*results, strict=True):
        assert few.dtype == more.dtype
        torch.testing.assert_close(few, more, rtol=tolerance, atol=tolerance * float(more.abs().max()))


# N, D, labels: one row; a pair; one label; all alone; groups of several sizes; few labels.
SIZES = [(1, 3, 1), (2, 5, 1), (9, 4, 1), (9, 4, 10**6), (40, 7, 15), (70, 20, 3)]
OPTIONS = [
    pytest.param(partial(supcon_loss, temperature=-0.3), id="supcon"),
    pytest.param(partial(multi_positive_nt_xent_loss, temperature=-0.3), id="multi_positive"),
    *(
        pytest.param(
            partial(contrastive_loss, **pair_options(d, squared=squared, normalize=normalize, reduction=reduction)),
            id=f"contrastive-{d}-{squared}-{normalize}-{reduction}",
        )
        for d, (squared, normalize, reduction) in itertools.product(
            DISTANCES, [(False, True, "mean_nonzero"), (True, False, "mean"), (False, True, "sum")]
        )
    ),
    *(
        pytest.param(
            partial(triplet_loss, margin=0.4, mining=mining, distance=d, normalize=normalize, reduction=reduction),
            id=f"{mining}-{d}-{normalize}-{reduction}",
        )
        for mining, d, (normalize, reduction) in itertools.product(
            MINING, DISTANCES, [(True, "mean_nonzero"), (False, "mean"), (True, "sum")]
        )
    ),
    *(
        pytest.param(partial(triplet_loss, mining="batch_hard", swap=swap, smooth_loss=smooth, reduction=reduction))
        for swap, smooth, reduction in [(True, False, "mean_nonzero"), (False, True, "mean"), (True, True, "sum")]
    ),
]


@pytest.mark.parametrize("loss", OPTIONS)
def test_few_rows_are_as_more(loss: Loss) -> None:
    for n, d, labels in SIZES:
        y = 7 * torch.randint(0, labels, (n,)) - 3
        assert_both_ways_agree(loss, torch.randn(n, d, dtype=torch.float64), y, 1e-9)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_sides_of_the_bound(loss: Loss, dtype: torch.dtype) -> None:
    most = _few_rows.MOST_ROWS_SUPCON if loss is LOSSES["supcon"] else _few_rows.MOST_ROWS
    calls = []
    for n in (most, most + 1):
        y, z = torch.randint(0, n // 4, (n,)), torch.randn(n, 24).to(dtype)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("label_softmax", "label_distances"):
                operator = getattr(ops, name)
                patch.setattr(ops, name, lambda *args, operator=operator: calls.append(len(args[0])) or operator(*args))
            few = with_grads(lambda x, y=y: loss(x, y), z)
        exact = with_grads(lambda x, y=y: loss(x, y), z.double())
        torch.testing.assert_close(few[0].double(), exact[0], rtol=2e-5, atol=0.0)
        error = (few[1].double() - exact[1]).norm() / exact[1].norm()
        assert error < (2e-5 if dtype == torch.float32 else torch.finfo(dtype).eps)
    assert calls == [most]


@each_loss
def test_a_graph_that_is_retained_keeps_its_gradient(loss: Loss) -> None:
    y, z = torch.arange(12) % 4, torch.randn(12, 5, requires_grad=True)
    (expected,) = torch.autograd.grad(loss(z, y), z)
    value = loss(z, y)
    value.backward(retain_graph=True)
    z.grad.zero_()  # what it was given is its own
    value.backward(retain_graph=True)
    assert torch.equal(z.grad, expected)
    value.backward()
    assert torch.equal(z.grad, 2 * expected)
    ones = torch.tensor([1.0, -2.0])
    (found,) = torch.autograd.grad(loss(z, y), z, ones, is_grads_batched=True)
    torch.testing.assert_close(found, ones.view(2, 1, 1) * expected)


@each_loss
def test_a_scaled_loss_of_float16_keeps_small_gradients(loss: Loss) -> None:
    y = torch.arange(64) % 16
    z = (300.0 * torch.randn(64, 8)).half()  # gradients below float16's least number
    leaf = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(2.0**16 * loss(leaf, y), leaf)
    exact = with_grads(lambda x: loss(x, y), z.double())[1] * 2.0**16
    assert (found.double() - exact).norm() < 1e-3 * exact.norm()


@each_loss
def test_makes_no_gradient_where_none_is_wanted_and_refuses_a_second(loss: Loss) -> None:
    y, z = torch.arange(12) % 4, torch.randn(12, 5, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(loss(z, y), loss(z.detach(), y))
    value = loss(z, y)
    assert torch.equal(value, loss(z.detach(), y))
    (grad,) = torch.autograd.grad(value, z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"_loss: second derivatives are not supported$"):
        grad.sum().backward()


@each_loss
def test_threads_change_nothing(loss: Loss) -> None:
    y, z = torch.randint(0, 60, (300,)), torch.randn(300, 150)
    results, threads = [], torch.get_num_threads()
    try:
        with at_most(512):
            for number in (1, 3):
                torch.set_num_threads(number)
                results.append(with_grads(lambda x: loss(x, y), z))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_first_of_equally_hard_ones_is_taken() -> None:
    line = torch.tensor([[0.0], [1.0], [-1.0], [3.0], [-3.0]], requires_grad=True)
    y = torch.tensor([0, 0, 0, 1, 2])
    loss = triplet_loss(line, y, 5.0, mining="batch_hard", normalize=False, reduction="sum")
    # Row 0 with 1 and 3, not with 2 or 4; row 1 with 2 and 3; row 2 with 1 and 4.
    torch.testing.assert_close(loss, torch.tensor((1.0 - 3 + 5) + (2 - 2 + 5) + (2 - 2 + 5)))
    (grad,) = torch.autograd.grad(loss, line)
    expected = torch.tensor([-1.0 + 1, 1 + (1 + 1) + 1, -1 + (-1 - 1), -1 - 1, 1])
    torch.testing.assert_close(grad.flatten(), expected)


@pytest.mark.parametrize("loss", ["supcon", "multi_positive"])
def test_a_small_loss_of_few_rows_keeps_its_precision(loss: str) -> None:
    y = torch.arange(64) // 2
    z = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))[0][y] + 0.02 * torch.randn(64, 64).double()
    z = z.float()
    function = LOSSES[loss]
    for temperature in (0.2, 0.05):
        exact = with_grads(lambda x, t=temperature: function(x, y, temperature=t), z.double())
        found = with_grads(lambda x, t=temperature: function(x, y, temperature=t), z)
        assert temperature > 0.1 or exact[0] < 1e-5
        torch.testing.assert_close(found[0].double(), exact[0], rtol=2e-5, atol=0.0)
        assert (found[1].double() - exact[1]).norm() < 2e-5 * exact[1].norm()


@each_loss
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_reach_the_loss_of_rows_alone(loss: Loss, bad: float) -> None:
    z = torch.randn(6, 4)
    z[3, 1] = bad
    for y in (torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.arange(6) % 3):
        assert loss(z, y).isnan()


METRIC_LOSSES = [LOSSES["contrastive"], *(LOSSES[mining] for mining in MINING)]


@pytest.mark.parametrize("loss", METRIC_LOSSES, ids=["contrastive", *MINING])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("rows", ["all", "one"])
def test_distances_that_overflow_reach_the_loss_and_its_gradient(loss: Loss, distance: str, rows: str) -> None:
    """Comparisons with a NaN or an infinity leave out its pairs: the rest would be a plausible loss."""
    z = torch.randn(24, 16)
    z[: 24 if rows == "all" else 1] *= 1e20
    ours = partial(loss, labels=torch.arange(24) // 4, distance=distance, normalize=False)
    found, grad = with_grads(ours, z)
    if rows == "one" and distance == "cosine":  # its similarity with itself alone is out of range
        torch.testing.assert_close(found.double(), ours(z.double()), rtol=1e-5, atol=0.0)
        return
    assert found.isnan()
    assert not grad.isfinite().any()
    with at_most(0):
        assert ours(z).isnan()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("loss", METRIC_LOSSES, ids=["contrastive", *MINING])
def test_a_loss_that_is_nan_has_no_finite_gradient(loss: Loss, bad: float) -> None:
    z = torch.randn(12, 5)
    z[3, 2] = bad
    found, grad = with_grads(lambda x: loss(x, torch.arange(12) // 3, normalize=False), z)
    assert found.isnan()
    assert not grad.isfinite().any()


def test_opcheck() -> None:
    y = torch.tensor([0, 1, 0, 1, 2])
    for need, z in ((False, torch.randn(5, 3).bfloat16()), (True, torch.randn(5, 3).double())):
        torch.library.opcheck(ops.label_softmax, (z, y, 5.0, need, need))
        for terms in (0, 1) if need else (2,):
            args = (terms, terms, 0, True, 0.3, 1.0, terms == 0, terms == 1, terms == 1, need)
            torch.library.opcheck(ops.label_distances, (z, y, *args))


def test_the_operators_refuse_what_they_cannot_read() -> None:
    z, y = torch.randn(5, 3), torch.arange(5)
    with pytest.raises(RuntimeError, match="labels must be int64, one a row"):
        ops.label_softmax(z, y[:4], 1.0, False, True)
    with pytest.raises(RuntimeError, match="each contiguous"):
        ops.label_softmax(z.T, y[:3], 1.0, False, True)
    with pytest.raises(RuntimeError, match="there are no such terms, distance or reduction"):
        ops.label_distances(z, y, 4, 0, 0, True, 0.3, 1.0, False, False, False, True)
    with pytest.raises(RuntimeError, match="not normalised must be contiguous, float32 or float64"):
        ops.label_distances(z.half(), y, 0, 0, 0, False, 0.3, 1.0, False, False, False, True)
    for terms, flags in ((2, (False, True, False)), (3, (False, False, True)), (0, (False, True, False))):
        with pytest.raises(RuntimeError, match="swap and smooth are for the hardest triplets"):
            ops.label_distances(z, y, terms, 0, 0, True, 0.3, 1.0, *flags, True)
    with pytest.raises(RuntimeError, match="squared is for pairs"):
        ops.label_distances(z, y, 1, 0, 0, True, 0.3, 1.0, True, False, False, True)
