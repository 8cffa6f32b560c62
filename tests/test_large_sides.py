"""Sides of more than 2^31 numbers on the CPU: offsets into them are beyond int32.

All numbers are 0 but those of a few rows, before and beyond 2^31. What is expected comes from a small problem: these
rows, and one more for all the others, whose logits are 0. Pages that are only read are not filled, so a side takes
address space, and memory only what an operator writes, which is what each test asks for. They are in one file: of
several processes one has all of them. Those in which it writes gigabytes, or that take more than some seconds, run with
`pytest -m large` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracle import all_equal
from torch import Tensor

from sslfast import ops
from sslfast.losses import info_nce_loss, linear_cross_entropy
from sslfast.reference.cross_softmax import cross_softmax
from sslfast.reference.one_way_softmax import one_way_softmax
from sslfast.reference.queue_pairs import queue_pairs
from sslfast.reference.sampled_softmax import sampled_softmax
from sslfast.reference.sigmoid_pairs import sigmoid_pairs
from sslfast.reference.similarity_softmax import similarity_softmax

D = 4096
M = 2**31 // D + 300
AT = torch.tensor([2**31 // D - 1, 2**31 // D, M - 1])  # the rows that are not 0: the last before 2^31, and two beyond
OTHERS = M - len(AT)
SMALL = torch.cat([AT, torch.tensor([0])])  # where the rows of the small side are
SCALE = torch.tensor([20.0])  # at which a cosine of 0.7 weighs as much as all zeros
ROUNDED = 2.0**-7  # of the largest number of a gradient: weights are rounded to bfloat16 for products
GIB = 2**30


def available_memory() -> int:
    """Bytes that may be taken from no other process; 0 where the system does not say."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


def takes(gib: float) -> None:
    """Skips a test that fills so much memory where there is less, and 2 GiB to spare."""
    if not torch.cpu._is_avx512_bf16_supported():
        gib += 8.0  # a CPU that has no products of bfloat16 makes a float32 copy of the side
    available = available_memory() / GIB
    if available < gib + 2:
        pytest.skip(f"needs {gib + 2:.0f} GiB of memory, {available:.0f} are available")


def large(rows: int, width: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Zeros in pages that are not filled: torch.zeros would write them."""
    bits = {torch.bfloat16: np.int16, torch.float32: np.int32}[dtype]
    return torch.from_numpy(np.zeros((rows, width), bits)).view(dtype)


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Three unit rows, (3, D), the large side (M, D), whose rows at AT are near them, and the small one (4, D): these
    and a row of zeros.
    """
    rows = F.normalize(torch.randn(3, D)).bfloat16()
    near = F.normalize(rows.float() + F.normalize(torch.randn(3, D))).bfloat16()
    side = large(M, D)
    side[AT] = near
    return rows, side, torch.cat([near, torch.zeros(1, D, dtype=torch.bfloat16)])


def close(ours: Tensor, truth: Tensor, share: float = ROUNDED) -> None:
    torch.testing.assert_close(ours.double(), truth.detach(), rtol=0, atol=share * truth.abs().max().item())


def assert_side_gradient(ours: Tensor, truth: Tensor) -> None:
    """Of the small side's rows; what the last one has, all others have."""
    close(ours[AT], truth[:3])
    for at in (0, M // 2, 2**31 // D - 2, 2**31 // D + 1, M - 2):
        close(ours[at], truth[3])
    all_others = ours.sum(dim=0) - ours[AT].sum(dim=0)
    close(all_others, OTHERS * truth[3])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several would wait for each other at every tile where processes share the cores, and there are thousands."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.large
def test_unit_rows() -> None:
    takes(4)
    z = large(M, D)
    z[AT] = torch.randn(3, D).bfloat16()
    unit, inverse_norm = ops.unit_rows(z, torch.bfloat16)
    assert all_equal((unit[AT], inverse_norm[AT]), ops.unit_rows(z[AT], torch.bfloat16))
    assert unit.view(torch.int16).count_nonzero() == unit[AT].count_nonzero()  # whatever else is written would be seen
    assert (inverse_norm == 1e12).sum() == OTHERS


@pytest.mark.large
def test_the_gradient_of_unit_rows() -> None:
    takes(4)
    z, grad, inverse_norm = large(M, D), large(M, D, torch.float32), torch.ones(M, 1)
    z[AT], grad[AT] = torch.randn(3, D).bfloat16(), torch.randn(3, D)
    inverse_norm[AT] = ops.unit_rows(z[AT], torch.bfloat16)[1]
    found = ops.unit_rows_gradient(grad, z, inverse_norm)
    assert all_equal([found[AT]], [ops.unit_rows_gradient(grad[AT], z[AT], inverse_norm[AT])])
    assert found.view(torch.int16).count_nonzero() == found[AT].count_nonzero()


@pytest.mark.parametrize("reduction", ["mean", "none"])  # one call of queue_pairs; queue_softmax
def test_a_queue(reduction: str) -> None:
    takes(0)
    query, queue, few = problem()
    keys = (query.float() + 0.01 * torch.randn(3, D)).bfloat16()
    query.requires_grad_(), keys.requires_grad_()
    loss = info_nce_loss(query, keys, queue=queue, temperature=1 / SCALE.item(), reduction=reduction)
    grads = torch.autograd.grad(loss.sum(), (query, keys))

    wide = [x.detach().double().requires_grad_() for x in (query, keys)]
    share = 1 / 3 if reduction == "mean" else 1.0
    # Equal entries of a queue are one whose logit is larger by the logarithm of their number: here another feature's.
    longer = [torch.cat([F.normalize(x), torch.ones(3, 1)], dim=1) for x in wide]
    longer[1] = torch.cat([F.normalize(wide[1]), torch.zeros(3, 1)], dim=1)
    more = torch.tensor([[0.0], [0.0], [0.0], [math.log(OTHERS) / SCALE.item()]])
    truth = queue_pairs(*longer, torch.cat([few.double(), more], dim=1), SCALE.item(), share, False)
    torch.testing.assert_close(loss.sum().double(), truth, rtol=1e-5, atol=0)
    for ours, expected in zip(grads, torch.autograd.grad(truth, wide), strict=True):
        close(ours, expected)


def test_a_queue_in_float32() -> None:
    takes(0)
    rows, _, few = problem()
    queue = large(M, D, torch.float32)
    queue[AT] = few[:3].float()
    lse, mean = ops.queue_softmax(rows.float(), queue, SCALE, None, None, None, None, True, None, None)
    logits = SCALE * rows.double() @ few.double().T
    logits[:, 3] += math.log(OTHERS)
    close(lse, logits.logsumexp(dim=1), 1e-6)
    close(mean, logits.softmax(dim=1) @ few.double(), 1e-5)


@pytest.mark.large
def test_columns_one_way() -> None:
    takes(8)
    rows, side, few = problem()
    wide = [x.double().requires_grad_() for x in (rows, few)]
    small = torch.tensor([1, 2, 0])
    others = torch.full((3,), math.log(OTHERS - 1), dtype=torch.float64)
    truth = one_way_softmax(*wide, small, SCALE.item(), known_lse=others)
    found = ops.one_way_softmax(rows, side, AT[small], SCALE, *[None] * 6, True, True, None, None)
    close(found[0], truth, 1e-6)
    d_rows, d_columns = torch.autograd.grad(truth.sum(), wide)
    close(SCALE * found[3], d_rows)
    assert_side_gradient(found[4], d_columns / SCALE)


@pytest.mark.large
def test_columns_two_ways() -> None:
    takes(8)
    rows, side, few = problem()
    wide = [x.double().requires_grad_() for x in (rows, few)]
    small = torch.tensor([1, 2, 0])
    row_lse, col_lse, positive = cross_softmax(*wide, small, SCALE.item())
    row_lse = torch.logaddexp(row_lse, torch.full_like(row_lse, math.log(OTHERS - 1)))
    *found, kept = ops.cross_softmax_forward(rows, side, AT[small], SCALE, *[None] * 3, 1.0, True, 0, None, None)
    for ours, truth in zip(found, (row_lse, col_lse, positive), strict=True):
        close(ours if len(ours) == 3 else ours[SMALL], truth, 1e-6)
    close(found[1].sum(), col_lse[:3].sum() + OTHERS * col_lse[3], 1e-5)

    weights = [torch.randn(3), torch.randn(1).expand(M).clone(), torch.randn(3)]
    weights[1][AT] = torch.randn(3)
    numbers = SCALE, None, None, None, kept, True, True, *[None] * 5
    d_rows, d_columns = ops.cross_softmax_backward(rows, side, AT[small], *found[:2], *weights, *numbers)
    weights[1] = weights[1][SMALL]
    total = sum((w.double() * x).sum() for w, x in zip(weights, (row_lse, col_lse, positive), strict=True))
    truth = torch.autograd.grad(total, wide)
    close(SCALE * d_rows, truth[0])
    assert_side_gradient(d_columns, truth[1] / SCALE)


def test_sigmoids() -> None:
    takes(0)
    rows, side, few = problem()
    wide = rows.double().requires_grad_()
    small, bias = torch.tensor([1, 2, 0]), torch.tensor([-10.0])
    truth = sigmoid_pairs(wide, few[:3].double(), small, SCALE.item(), bias.item())
    truth = truth + 3 * OTHERS * F.softplus(bias.double()).sum()
    loss, d_rows, *_ = ops.sigmoid_pairs(rows, side, AT[small], SCALE, bias, 1.0, True, False, None, None)
    close(loss, truth, 1e-6)
    close(d_rows, torch.autograd.grad(truth, wide)[0])


@pytest.mark.large
def test_rows_among_themselves() -> None:
    takes(0)
    rows = large(66, 2**25)
    rows[:, -64:] = F.normalize(torch.randn(66, 64))
    positives = torch.arange(66).roll(33)
    lse, positive, _ = ops.similarity_softmax_forward(rows, positives, SCALE.item(), 1.1, 0, None)
    truth = similarity_softmax(rows[:, -64:].double(), positives, SCALE.item())
    for ours, expected in zip((lse, positive), truth, strict=True):
        close(ours, expected, 1e-6)


@pytest.mark.large
def test_classes() -> None:
    takes(0)
    rows, side, few = problem()
    hidden = (SCALE * rows).requires_grad_()
    wide = hidden.detach().double().requires_grad_()
    loss = linear_cross_entropy(hidden, side, AT, reduction="sum")
    logits = wide @ few.double().T + torch.tensor([0.0, 0.0, 0.0, math.log(OTHERS)])
    truth = F.cross_entropy(logits, torch.arange(3), reduction="sum")
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=0)
    close(*(torch.autograd.grad(*pair)[0] for pair in ((loss, hidden), (truth, wide))))


def test_drawn_rows_of_a_table() -> None:
    takes(0)
    rows, table, few = problem()
    small = torch.tensor([1, 2, 0])
    candidates = torch.tensor([[0, 2, 3], [1, 0, 3], [1, 2, 3]])
    named = SMALL[candidates].int()
    numbers = SCALE.item(), 0.0, False, 0, False, True, False, False
    found = ops.sampled_softmax(rows, table, torch.arange(3), AT[small], named, *[None] * 4, *numbers)
    wide = rows.double().requires_grad_()
    truth = sampled_softmax(wide, few.double(), small, candidates, scale=SCALE.item())
    close(found[0], truth, 1e-6)
    close(found[1], torch.autograd.grad(truth.sum(), wide)[0])
