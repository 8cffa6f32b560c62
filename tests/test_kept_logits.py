"""Logits that are kept for the gradient: which, in how many bytes, and what packing them into 16 bits is off by."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast.losses._kept import Budget, kept_logits

INF = float("inf")
STEPS = 65_534  # from the lowest code of a range to its highest
MIB = 2**20

Run = Callable[..., tuple[Tensor, ...]]


def unit_rows(rows: int, dim: int) -> Tensor:
    return F.normalize(torch.randn(rows, dim), dim=1)


def similarity(rows: Tensor, positives: Tensor, scale: float) -> Run:
    """The gradient where so many packed numbers are kept, by default all; and these."""
    grads = torch.rand(2, len(rows))

    def run(keep: int = 2 * len(rows) ** 2) -> tuple[Tensor, ...]:
        lse, _, kept = ops.similarity_softmax_forward(rows, positives, scale, INF, keep, None, True)
        return ops.similarity_softmax_backward(rows, positives, lse, *grads, kept, scale, INF), kept

    return run


def cross(rows: Tensor, columns: Tensor, positives: Tensor, scale: float, *excluded: Tensor | None, weight=1.0) -> Run:
    """The same of rows against columns: two ways unless something but positives is left out."""
    two_way = not excluded
    excluded = excluded or (None,) * 3
    number = torch.tensor([scale])
    by_row, by_pair = torch.rand(2, len(rows))
    by_column = torch.rand(len(columns) if two_way else 0)
    by_row, by_column = weight * by_row, weight * by_column

    def run(keep: int = 2 * len(rows) * len(columns)) -> tuple[Tensor, ...]:
        args = (rows, columns, positives)
        row_lse, col_lse, _, kept = ops.cross_softmax_forward(
            *args, number, *excluded, INF, two_way, keep, None, None, True
        )
        grads = (row_lse, col_lse, by_row, by_column, by_pair, number, *excluded)
        return *ops.cross_softmax_backward(*args, *grads, kept, True, True), kept

    return run


def off_by(run: Run) -> list[float]:
    """How far packed logits lead from those that are made again, as a share of each gradient."""
    exact, packed = run(0)[:-1], run()[:-1]
    return [((p - e).norm() / e.norm()).item() for p, e in zip(packed, exact, strict=True)]


def test_what_is_kept_of_a_budget() -> None:
    side = torch.empty(1000, 64)
    half = side.to(torch.bfloat16)
    assert kept_logits(None, 500_000, torch.float32, side) == (500_000, False)
    assert kept_logits(None, 10**6, torch.float32, side) == (MIB // 2, False)  # 2 MiB
    assert kept_logits(None, 10**6, torch.float64, side.double()) == (MIB // 4, False)
    assert kept_logits(None, 10**7, torch.float32, side, side, side, side, side) == (2 * 5 * 64_000, False)
    assert kept_logits(10_003, 10**6, torch.float32, side) == (2500, False)
    assert kept_logits(10_003, 10**6, torch.float16, side) == (2500, False)
    # Packed where not all have room otherwise, with some more for the ranges of tiles, which are no part of 2 MiB.
    assert kept_logits(None, MIB // 2, torch.bfloat16, half) == (MIB // 2, False)
    assert kept_logits(None, MIB, torch.bfloat16, half) == (MIB + 1024, True)
    assert kept_logits(None, 10**8, torch.bfloat16, half) == (MIB + 1024, True)
    assert kept_logits(10_003, 10**6, torch.bfloat16, half) == (5001, True)
    assert kept_logits(10_003, 10**6, torch.bfloat16, half, packs=False) == (2500, False)
    assert kept_logits(0, 10**6, torch.bfloat16, half).numbers == 0
    assert kept_logits(10**9, 10**6, torch.float32, torch.empty(2, device="meta")) == (10**6, False)


def test_groups_share_a_budget() -> None:
    side = torch.empty(10, 8)
    whole, packed = Budget(3_000_000), Budget(3_000_000)
    assert [whole.share(500_000, torch.float32, side) for _ in range(3)] == [3_000_000, 1_000_000, 0]
    assert packed.share(1_000_000, torch.bfloat16, side) == 3_000_000
    assert packed.share(1_000_000, torch.bfloat16, side) == 3_000_000 - 2 * (1_000_000 + 976)
    assert packed.share(1_000_000, torch.bfloat16, side) == 0
    assert Budget(None).share(10, torch.bfloat16, side) is None


# One tile; one and a bit of others; several in rows and columns, which end within a vector.
@pytest.mark.parametrize(("size", "scale"), [(65, 50.0), (261, 10.0), (1300, -25.0)])
def test_packed_logits_of_rows_with_themselves(size: int, scale: float) -> None:
    rows = unit_rows(size, 24).bfloat16()
    others = (torch.arange(size) + torch.randint(1, size, (size,))) % size
    # Not mutual: they are negatives of the other row.
    run = similarity(rows, torch.where(torch.arange(size) % 3 == 0, -1, others), scale)
    assert run()[1].dtype == torch.int16
    assert 0 < off_by(run)[0] < 2e-3
    assert run(3)[0].equal(run(0)[0])  # too few for a tile


@pytest.mark.parametrize(("size", "length", "scale"), [(65, 70, 50.0), (600, 900, 14.0), (1100, 130, -60.0)])
def test_packed_logits_of_rows_with_columns(size: int, length: int, scale: float) -> None:
    rows, columns = unit_rows(size, 24).bfloat16(), unit_rows(length, 24).bfloat16()
    positives = torch.randperm(max(size, length))[:size]
    run = cross(rows, columns, torch.where(positives < length, positives, -1), scale)
    assert all(0 < error < 2e-3 for error in off_by(run))
    assert run(3)[0].equal(run(0)[0])


def test_the_logits_of_a_tile_come_back_to_half_a_step() -> None:
    # One number a row, and a gradient in the sums of columns alone: each reads a column of weights off a tile.
    size = 64
    rows = torch.cat([torch.ones(size, 1), torch.zeros(size, 8)], dim=1).bfloat16()
    columns = torch.zeros(size, 9)
    columns[:, 0] = torch.linspace(-3.0, 5.0, size)
    columns = columns.bfloat16()
    nobody, number, one = torch.full((size,), -1), torch.tensor([4.0]), torch.ones(size)
    row_lse, col_lse, _, kept = ops.cross_softmax_forward(
        rows, columns, nobody, number, None, None, None, INF, False, 2 * size**2, None, None, True
    )
    logits = 4.0 * columns[:, 0].double()
    step = (logits.max() - logits.min()) / STEPS
    codes = kept[4 : 4 + size**2].view(size, size).to(torch.int64) & 0xFFFF
    base, own_step = kept[:4].view(torch.float32).double()
    assert torch.isclose(own_step, step, rtol=1e-6, atol=0)
    assert (codes.min(), codes.max()) == (1, STEPS + 1)
    assert ((base + codes * own_step) - logits).abs().max() <= 0.501 * step
    grads = (row_lse, col_lse, one, col_lse, 0 * one, number, None, None, None)
    d_rows, _ = ops.cross_softmax_backward(rows, columns, nobody, *grads, kept, True, True)
    expected = torch.softmax(logits, 0) @ columns[:, 0].double()
    torch.testing.assert_close(d_rows[:, 0].double(), expected.expand(size), rtol=2e-3, atol=0)


def test_equal_logits_and_none_come_back_as_they_were() -> None:
    rows = torch.full((600, 16), 0.25).bfloat16()
    run = similarity(rows, torch.arange(600).roll(300), 7.0)
    assert run()[0].equal(run(0)[0])
    nothing = cross(rows, rows, torch.full((600,), -1), 7.0, torch.zeros(600).long(), torch.zeros(600).long(), None)
    assert not nothing()[0].any()  # all of one id: all logits are -inf


@pytest.mark.parametrize("reach", [127.0, 129.0])
def test_a_tile_of_a_wide_range_is_made_again(reach: float) -> None:
    rows, columns = torch.zeros(300, 8), torch.zeros(300, 8)
    rows[:, 0] = 1.0
    rows[:, 1:], columns[:, 1:] = 0.01 * torch.randn(2, 300, 7)
    columns[:, 0] = torch.linspace(-0.5, 0.5, 300).bfloat16().float()
    columns[:256, 0] = columns[:256, 0].clamp(-0.25, 0.25)
    columns[256, 0], columns[257, 0] = 0.5, -0.5  # of the second tile alone
    rows, columns = rows.bfloat16(), columns.bfloat16()
    logits = rows.double() @ columns.double().T
    scale = reach / (logits.max() - logits.min()).item()
    run = cross(rows, columns, torch.full((300,), -1), scale)
    exact, first, second = run(0), run(300 * 256 + 4), run()
    assert not first[1][:256].equal(exact[1][:256])  # the first tile, of half the range, is packed
    assert first[1][256:].equal(exact[1][256:])
    assert second[1][256:].equal(exact[1][256:]) == (reach > 128)


def test_positives_do_not_widen_the_range() -> None:
    # Late in training at temperature 0.005: the positives' logits are 200, the others' near 0.
    x = torch.eye(100, 400)
    y = F.normalize(x + 0.2 * unit_rows(100, 400), dim=1)
    x, y = x.bfloat16(), y.bfloat16()
    pairs = cross(x, y, torch.arange(100), 200.0)  # a tile
    views = similarity(torch.cat([x, y]), torch.arange(200).roll(100), 200.0)
    assert all(0 < error < 2e-3 for run in (pairs, views) for error in off_by(run))


def test_ids_and_limits_are_those_of_the_logits_before_they_were_packed() -> None:
    rows, columns = unit_rows(600, 16).bfloat16(), unit_rows(700, 16).bfloat16()
    nobody = torch.full((600,), -1)
    exact = 20.0 * (rows.float() @ columns.float().T)
    # Every limit is between two logits of its row that are less than a step apart, or nearly.
    ranked = exact.sort(dim=1, descending=True).values
    gaps, at = (ranked[:, :-1] - ranked[:, 1:])[:, :300].min(dim=1)
    below = ranked.gather(1, at[:, None] + 1)[:, 0]
    assert (gaps < 20.0 / STEPS).sum() > 100
    ids = torch.arange(600) % 7, torch.arange(700) % 7
    for excluded in ((None, None, below + gaps / 2), (*ids, None)):
        assert all(0 < error < 1e-3 for error in off_by(cross(rows, columns, nobody, 20.0, *excluded)))


@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
def test_nan_and_inf_reach_the_gradient(bad: float) -> None:
    rows = unit_rows(600, 16)
    rows[3, 8] = bad
    rows = rows.bfloat16()
    positives = torch.arange(600).roll(300)
    runs = [similarity(rows, positives, 2.0), cross(rows, rows, positives, 2.0)]
    runs.append(cross(rows, rows, positives, 2.0, weight=0.0))  # 0 times NaN is NaN
    for run in runs:
        for packed, exact in zip(run()[:-1], run(0)[:-1], strict=True):
            assert not exact.isfinite().all()
            assert packed.isnan().equal(exact.isnan())
            assert packed.isinf().equal(exact.isinf())


def test_results_do_not_depend_on_the_threads() -> None:
    rows = unit_rows(900, 16).bfloat16()
    runs = (similarity(rows, torch.arange(900).roll(450), 9.0), cross(rows, rows, torch.arange(900), 9.0))
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append([part for run in runs for part in run(500_000)[:-1]])
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_opcheck() -> None:
    check = functools.partial(torch.library.opcheck, raise_exception=True)
    rows, positives, scale = unit_rows(9, 11).bfloat16(), torch.arange(9).roll(1), torch.tensor([2.0])
    for keep in (0, 4 + 9 * 9):  # all of which is written
        args = (rows, positives, 2.0, 1.0, keep, None, True)
        check(ops.similarity_softmax_forward, args)
        lse, own, kept = ops.similarity_softmax_forward(*args)
        check(ops.similarity_softmax_backward, (rows, positives, lse, lse, own, kept, 2.0, 1.0))
        args = (rows, rows, positives, scale, None, None, None, 1.0, True, keep, None, None, True)
        check(ops.cross_softmax_forward, args)
        row_lse, col_lse, own, kept = ops.cross_softmax_forward(*args)
        grads = (row_lse, col_lse, row_lse, col_lse, own, scale, None, None, None)
        check(ops.cross_softmax_backward, (rows, rows, positives, *grads, kept, True, True))


@pytest.mark.parametrize("size", [1e-16, 1e-18, 1e-19, 1e-21])  # of a number: ranges of 1e-32 and less
def test_tiles_of_hardly_any_range(size: float) -> None:
    rows, columns = (((1 + 0.05 * torch.randn(300, 64)) * size).bfloat16() for _ in range(2))
    run = cross(rows, columns, torch.arange(300), 1.0)
    for packed, exact in zip(run()[:-1], run(0)[:-1], strict=True):
        torch.testing.assert_close(packed, exact, rtol=0, atol=2e-3 * exact.abs().max().item())


def test_what_is_packed_and_kept_is_checked() -> None:
    rows, positives, scale = unit_rows(4, 9), torch.arange(4).roll(2), torch.tensor([1.0])
    others = (scale, None, None, None, 1.0, True)
    with pytest.raises(RuntimeError, match="packed logits go with bfloat16"):
        ops.similarity_softmax_forward(rows, positives, 1.0, 1.0, 16, None, True)
    with pytest.raises(RuntimeError, match="packed logits go with bfloat16"):
        ops.cross_softmax_forward(rows, rows, positives, *others, 16, None, None, True)
    for keep in (-1, 17):
        with pytest.raises(RuntimeError, match=r"keep must be in \[0, N M\]"):
            ops.cross_softmax_forward(rows, rows, positives, *others, keep)
    half = rows.bfloat16()
    for keep in (-1, 5 * 16 + 1):
        with pytest.raises(RuntimeError, match=r"keep must be in \[0, N M\]"):
            ops.similarity_softmax_forward(half, positives, 1.0, 1.0, keep, None, True)
    lse, own, kept = ops.similarity_softmax_forward(half, positives, 1.0, 1.0, 20, None, True)
    for wrong, side in ((kept, rows), (kept.double(), half), (kept[None], half)):
        with pytest.raises(RuntimeError, match="kept logits must be a vector"):
            ops.similarity_softmax_backward(side, positives, lse, lse, own, wrong, 1.0, 1.0)
    with pytest.raises(RuntimeError, match="without labels"):
        ops.similarity_softmax_backward(
            half, positives, lse, lse, own, kept, 1.0, 1.0, None, torch.zeros(4, dtype=torch.int32), torch.ones(4)
        )
