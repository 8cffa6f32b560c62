"""Losses with labels of few rows against few references on the CPU, from one operator, beside their way for more. The
losses' own tests compare either with the reference implementation, also where references take a gradient.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from loss_oracle import Loss, with_grads
from test_few_rows import LOSSES, METRIC_LOSSES, MINING, OPTIONS, at_most

from sslfast import ops
from sslfast.losses import CrossBatchMemory, TripletLoss, _few_rows, triplet_loss

WITH_REFERENCES = {name: loss for name, loss in LOSSES.items() if name != "supcon"}
each_loss = pytest.mark.parametrize("loss", WITH_REFERENCES.values(), ids=WITH_REFERENCES)
each_option = pytest.mark.parametrize("loss", OPTIONS[1:])  # but SupCon's

# N, M, D, labels: one pair; more rows than references; all alone; groups of several sizes; few labels.
SIZES = [(1, 1, 3, 1), (9, 4, 4, 2), (9, 14, 4, 10**6), (40, 70, 7, 25), (30, 50, 20, 3)]


def make_sides(n: int, m: int, width: int, labels: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    y, ry = (7 * torch.randint(0, labels, (count,)) - 3 for count in (n, m))
    return torch.randn(n, width).to(dtype), torch.randn(m, width).to(dtype), y, ry


def grads_of(loss: Loss, sides: tuple[torch.Tensor, ...], needs: tuple[bool, bool] = (True, True), **options: object):
    z, r, y, ry = sides
    leaves = [x.detach().requires_grad_(need) for x, need in zip((z, r), needs, strict=True)]
    value = loss(leaves[0], y, ref_emb=leaves[1], ref_labels=ry, **options)
    wanted = [x for x in leaves if x.requires_grad]
    return [value.detach(), *torch.autograd.grad(value, wanted)]


@each_option
def test_few_references_are_as_more(loss: Loss) -> None:
    every = itertools.cycle([(True, True), (True, False), (False, True)])
    for n, m, width, labels in SIZES:
        sides = make_sides(n, m, width, labels)
        for copies in (None, torch.randint(-1, m, (n,))):  # of another label, too
            needs = next(every)
            with at_most(0):
                more = grads_of(loss, sides, needs, copies=copies)
            few = grads_of(loss, sides, needs, copies=copies)
            for a, b in zip(few, more, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


@each_loss
def test_both_sides_of_the_bound(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for name in ("label_softmax", "label_distances"):
        operator = getattr(ops, name)
        monkeypatch.setattr(ops, name, lambda *args, operator=operator: calls.append(1) or operator(*args))
    most = _few_rows.MOST_ROWS**2 // 64
    for m in (most, most + 1):
        z, r, _, ry = make_sides(64, m, 4, m // 4, torch.float32)
        sides = (z, r, ry[:64], ry)
        few = grads_of(loss, sides, (True, False))
        exact = grads_of(loss, tuple(x.double() if x.is_floating_point() else x for x in sides), (True, False))
        assert len(calls) == 2  # of the first m
        torch.testing.assert_close(few[0].double(), exact[0], rtol=2e-5, atol=0.0)
        assert (few[1].double() - exact[1]).norm() < 2e-5 * exact[1].norm()


@each_loss
@pytest.mark.parametrize("dtypes", [("bfloat16", "bfloat16"), ("float16", "float32"), ("float32", "float64")], ids=str)
def test_dtypes_and_strides(loss: Loss, dtypes: tuple[str, str]) -> None:
    z, r, y, ry = make_sides(40, 60, 16, 12)
    z, r = (x.to(getattr(torch, name)) for x, name in zip((z, r), dtypes, strict=True))
    exact = grads_of(loss, (z.double(), r.double(), y, ry))
    strided = (z.T.contiguous().T, torch.stack([r, r], dim=2)[:, :, 0], torch.stack([y, y], dim=1)[:, 0], ry.int())
    for sides in ((z, r, y, ry), strided):
        value, *grads = grads_of(loss, sides)
        assert value.dtype == (torch.float64 if "float64" in dtypes else torch.float32)
        torch.testing.assert_close(value.double(), exact[0], rtol=2e-5, atol=0.0)
        for x, grad, truth in zip((z, r), grads, exact[1:], strict=True):
            assert grad.dtype == x.dtype
            assert (grad.double() - truth).norm() < 2 * max(2e-5, torch.finfo(x.dtype).eps) * truth.norm()


@each_loss
def test_a_graph_that_is_retained_keeps_its_gradients(loss: Loss) -> None:
    z, r, y, ry = make_sides(12, 20, 5, 4)
    expected = grads_of(loss, (z, r, y, ry))[1:]
    z.requires_grad_(), r.requires_grad_()
    value = loss(z, y, ref_emb=r, ref_labels=ry)
    value.backward(retain_graph=True)
    z.grad.zero_(), r.grad.zero_()  # what they were given is their own
    (3.0 * value).backward()
    torch.testing.assert_close([z.grad, r.grad], [3.0 * grad for grad in expected])
    (grad,) = torch.autograd.grad(loss(z, y, ref_emb=r, ref_labels=ry), r, create_graph=True)
    with pytest.raises(RuntimeError, match=r"_loss: second derivatives are not supported$"):
        grad.sum().backward()


@each_loss
@pytest.mark.parametrize("learned", [0, 1])
def test_a_side_without_a_gradient_may_be_written_over_before_backward(loss: Loss, learned: int) -> None:
    z, r, y, ry = make_sides(12, 20, 5, 4)
    (expected,) = grads_of(loss, (z, r, y, ry), (learned == 0, learned == 1))[1:]
    leaf, fixed = (z, r) if learned == 0 else (r, z)
    leaf.requires_grad_()
    value = loss(z, y, ref_emb=r, ref_labels=ry)
    fixed.zero_(), ry.zero_()
    value.backward()
    torch.testing.assert_close(leaf.grad, expected)
    value = loss(z, y, ref_emb=r, ref_labels=ry)
    leaf.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@each_loss
def test_threads_change_nothing(loss: Loss) -> None:
    sides, threads, results = make_sides(250, 120, 150, 30, torch.float32), torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(grads_of(loss, sides))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@each_loss
def test_rows_without_a_pair_add_no_term(loss: Loss) -> None:
    z, r, _, ry = make_sides(6, 9, 4, 3)
    contrastive = loss is LOSSES["contrastive"]  # whose negatives are a term of their own
    for y, labels in ((torch.full((6,), 99), ry), (torch.zeros(6), torch.zeros(9))):
        if contrastive and y[0] == 99:
            continue
        value, *grads = grads_of(loss, (z, r, y.long(), labels.long()))
        if contrastive or loss is LOSSES["multi_positive"]:
            assert value.isfinite()
        else:
            assert value == 0
            assert not any(grad.any() for grad in grads)
    # One row that has pairs, among those that have none: the loss and the gradients of itself alone.
    if contrastive:
        return
    y = torch.tensor([0, 50, 51, 52, 53, 54])
    ry = torch.arange(9) % 3
    one = grads_of(loss, (z[:1], r, y[:1], ry))
    found = grads_of(loss, (z, r, y, ry))
    torch.testing.assert_close([found[0], found[1][:1], found[2]], one)
    assert not found[1][1:].any()


def test_the_first_of_equally_hard_references_is_taken() -> None:
    z = torch.tensor([[0.0], [2.0]], requires_grad=True)  # the second has no positive
    r = torch.tensor([[1.0], [-1.0], [3.0], [-3.0], [-2.0]], requires_grad=True)
    labels = {"ref_labels": torch.tensor([0, 0, 1, 2, 0]), "copies": torch.tensor([4, -1])}  # -2 would be the farthest
    loss = triplet_loss(
        z, torch.tensor([0, 9]), 5.0, mining="batch_hard", normalize=False, reduction="sum", ref_emb=r, **labels
    )
    torch.testing.assert_close(loss, torch.tensor(1.0 - 3 + 5))
    found = torch.autograd.grad(loss, (z, r))
    torch.testing.assert_close(
        [x.flatten() for x in found], [torch.tensor([-1.0 + 1, 0]), torch.tensor([1.0, 0, -1, 0, 0])]
    )


@pytest.mark.parametrize("mining", MINING)
def test_a_memory_without_a_miner_is_as_more(mining: str) -> None:
    results = []
    for most in (0, _few_rows.MOST_ROWS):
        torch.manual_seed(0)
        memory = CrossBatchMemory(TripletLoss(0.4, mining=mining), 6, memory_size=40)
        with at_most(most):
            batches = [(torch.randn(16, 6, dtype=torch.float64), torch.randint(0, 5, (16,))) for _ in range(4)]
            results.append([with_grads(lambda x, y=y, memory=memory: memory(x, y), z) for z, y in batches])
    torch.testing.assert_close(*results)


@each_loss
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_of_either_side_reach_the_loss(loss: Loss, bad: float) -> None:
    for side, labels in itertools.product((0, 1), (1, 3, 10**6)):
        sides = make_sides(6, 8, 4, labels, torch.float32)
        sides[side][3, 1] = bad
        assert grads_of(loss, sides)[0].isnan()


@pytest.mark.parametrize("loss", METRIC_LOSSES, ids=["contrastive", *MINING])
def test_distances_that_overflow_reach_the_loss_and_its_gradients(loss: Loss) -> None:
    for side in (0, 1):
        sides = make_sides(12, 20, 16, 4, torch.float32)
        sides[side][0] *= 1e20
        value, *grads = grads_of(partial(loss, normalize=False), sides)
        assert value.isnan()
        assert not any(grad.isfinite().any() for grad in grads)


def test_opcheck() -> None:
    z, r, y, ry = make_sides(5, 7, 3, 2)
    copies = torch.tensor([0, -1, 6, 3, 1])
    torch.library.opcheck(ops.label_softmax, (z, y, 5.0, True, True, r, ry, copies, False))
    torch.library.opcheck(
        ops.label_distances, (z, y, 1, 0, 0, True, 0.3, 0.0, False, True, True, True, r, ry, None, True)
    )


def test_the_operators_refuse_what_they_cannot_read() -> None:
    z, r, y, ry = make_sides(5, 7, 3, 2)
    for message, each, needs, sides in (
        ("go together", True, True, (r, None, None, False)),
        ("go together", True, True, (None, None, y, False)),
        ("labels must be int64, one a row", True, True, (r, ry[:6], None, False)),
        ("labels must be int64, one a row", True, True, (r, ry, y[:4], False)),
        ("of the rows' width and type of sums", True, True, (r[:, :2], ry, None, False)),
        ("of the rows' width and type of sums", True, True, (r.float(), ry, None, False)),
        ("copies must be references or -1", True, True, (r, ry, torch.full((5,), 7), False)),
        ("a gradient of references goes with", True, False, (r, ry, None, True)),
        ("a gradient of references goes with", True, True, (None, None, None, True)),
        ("references are for each positive by itself", False, True, (r, ry, None, False)),
    ):
        with pytest.raises(RuntimeError, match=message):
            ops.label_softmax(z, y, 5.0, each, needs, *sides)
    with pytest.raises(RuntimeError, match="not normalised must be contiguous, float32 or float64"):
        ops.label_distances(
            z, y, 0, 0, 0, False, 0.3, 1.0, False, False, False, True, torch.cat([r, r], dim=1)[:, :3], ry
        )
