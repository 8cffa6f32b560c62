"""cross_softmax: C++ on the CPU and Triton (interpreted, or native with -m gpu) against the definition."""

from __future__ import annotations

import functools
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.reference.cross_softmax import cross_softmax, label_sums

INF = float("inf")

# N, M, D, scale, and what is said of the largest similarity.
CASES = [
    pytest.param(1, 1, 4, 2.0, 1.0, id="a positive and nothing else"),
    pytest.param(5, 3, 1, -4.0, 1.0, id="negative scale, D = 1, rows without a positive"),
    pytest.param(70, 150, 24, 10.0, 1.0, id="more columns than rows"),
    pytest.param(150, 70, 33, 200.0, INF, id="more rows than columns, temperature 0.005"),
    pytest.param(130, 130, 130, 20.0, INF, id="square, D above a block"),
]
CPU_CASES = [
    pytest.param(600, 2100, 20, 14.0, 1.0, id="several tiles in rows and columns"),
    pytest.param(600, 2100, 8, -300.0, INF, id="several tiles, sums far below the tile's maximum"),
]

# In steps of 32 pairs, of 16 in float32, and a block and two more rows.
WIDE_CASES = [pytest.param(3, 1, 300, 5.0, 1.0, id="one column"), pytest.param(66, 35, 512, 14.0, 1.0, id="D = 512")]
HALF = [torch.bfloat16, torch.float16]
WAYS = [(dtype, way) for dtype in (torch.float32, *HALF) for way in (True, False)]  # dtype, in registers


def by_definition(
    rows: Tensor, columns: Tensor, positives: Tensor, scale: float, grads: list[Tensor], excluded=(), labels=()
):
    rows, columns = rows.clone().requires_grad_(), columns.clone().requires_grad_()
    results = cross_softmax(rows, columns, positives, scale, *excluded)
    total = sum((torch.where(r.isfinite(), r, 0) * g).sum() for r, g in zip(results, grads, strict=True))
    if labels:
        *numbers, weights = labels
        total = total - (label_sums(rows, columns, positives, scale, *numbers) * weights).sum()
    total.backward()
    return [r.detach() for r in results], [rows.grad / scale, columns.grad / scale]


def check(forward, backward, case, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale, max_similarity = case
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows, columns = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    positives = torch.randperm(max(size, length))[:size]  # any column at most once, and none for some rows
    positives = torch.where(positives < length, positives, -1)
    grads = [torch.randn(n, dtype=torch.float64) for n in (size, length, size)]
    for g, result in zip(grads, cross_softmax(rows.double(), columns.double(), positives, scale), strict=True):
        g[result == -INF] = 0  # nothing was summed: a constant
    truth, true_grads = by_definition(rows.double(), columns.double(), positives, scale, grads)
    same, same_grads = by_definition(rows.to(wide), columns.to(wide), positives, scale, [g.to(wide) for g in grads])

    x, y, p = rows.to(device), columns.to(device), positives.to(device)
    number = torch.tensor([scale], dtype=wide, device=device)
    incoming = [g.to(wide).to(device) for g in grads]
    eps = torch.finfo(wide).eps
    tol = 8 * eps * max(abs(scale), 10)
    for keep in (0, size * length // 2, size * length):
        *found, kept = forward(x, y, p, number, None, None, None, max_similarity, True, keep)
        for f, s, t in zip(found, same, truth, strict=True):
            assert_no_worse(f, s, t, tol)
        products = backward(x, y, p, *found[:2], *incoming, number, None, None, None, kept, True, True)
        rounding = max(16 * eps * max(abs(scale), 1), torch.finfo(dtype).eps)  # half types round the weights
        for f, s, t in zip(products, same_grads, true_grads, strict=True):
            assert_no_worse(f, s, t, rounding * t.abs().amax().item())

    # One way, and one gradient only.
    row_lse, col_lse, _, kept = forward(x, y, p, number, None, None, None, max_similarity, False, size * length)
    assert_no_worse(row_lse, same[0], truth[0], tol)
    assert col_lse.shape == (0,)
    one_way = [grads[0], torch.zeros(length, dtype=torch.float64), grads[2]]
    _, true_grads = by_definition(rows.double(), columns.double(), positives, scale, one_way)
    for needed in ((True, False), (False, True)):
        args = (x, y, p, row_lse, col_lse, incoming[0], col_lse, incoming[2], number, None, None, None, kept, *needed)
        for f, t, need in zip(backward(*args), true_grads, needed, strict=True):
            assert f.shape == ((len(t) if need else 0), dim)
            if need:
                assert_no_worse(f, t.to(wide), t, rounding * t.abs().amax().item())

    # Both ways again, and one way, with labels: of all one, and in groups.
    for groups, incoming_col in ((1, one_way), (1 + size // 5, grads)):
        labels = [torch.randint(0, groups, (n,), dtype=torch.int32) - 1 for n in (size, length)]
        labels.append(torch.randn(size, dtype=torch.float64))
        _, true_grads = by_definition(rows.double(), columns.double(), positives, scale, incoming_col, labels=labels)
        two_way = incoming_col is grads
        args = (*found[:2], *incoming) if two_way else (row_lse, col_lse, incoming[0], col_lse, incoming[2])
        shares = [labels[0].to(device), labels[1].to(device), labels[2].to(wide).to(device)]
        products = backward(x, y, p, *args, number, None, None, None, kept, True, True, None, None, *shares)
        for f, t in zip(products, true_grads, strict=True):
            assert_no_worse(f, t.to(wide), t, rounding * t.abs().amax().item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES + CPU_CASES], ids=[p.id for p in CASES + CPU_CASES])
def test_cpu_against_the_definition(case, dtype: torch.dtype) -> None:
    check(ops.cross_softmax_forward, ops.cross_softmax_backward, case, dtype, torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "in_registers"), WAYS)
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES], ids=[p.id for p in CASES])
@pytest.mark.usefixtures("rounded_weights")
def test_triton_against_the_definition(case, dtype: torch.dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _cross_launch, _launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    # A group of tiles a program is otherwise used from 8,193 rows on, more than one strip of weights from 2,049 on,
    # runs of a walk from 257 on.
    monkeypatch.setattr(_cross_launch, "walk", lambda blocks, size, block: -(-size // block))
    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    table, blocks, group = _launch.similarity_forward, _launch.weights, 1 if in_registers else 2
    monkeypatch.setattr(_launch, "similarity_forward", lambda *shape: table(*shape) | {"GROUP": group})
    monkeypatch.setattr(_launch, "weights_strip", lambda _: (64, 128))
    monkeypatch.setattr(_launch, "weights", lambda *shape, **_: blocks(*shape) | {"BLOCK_M": 32, "BLOCK_N": 64})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check(forward, backward, case, dtype, triton_device)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(tuple(WIDE_CASES[which].values), d) for which, d in ((0, HALF[0]), (1, HALF[1]), (1, torch.float32))],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.usefixtures("rounded_weights")
def test_triton_wide_rows_in_registers(case, dtype, triton_device) -> None:
    from sslfast.kernels import _cross_launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    assert all(_cross_launch.cross_in_registers(*case[:3], dtype.itemsize, *rest) for rest in ((2,), (1,), (2, True)))
    check(forward, backward, case, dtype, triton_device)


@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_nan_and_inf_reach_the_sums_they_should(bad: float) -> None:
    rows, columns, positives = torch.randn(20, 4), torch.randn(30, 4), torch.arange(20)
    rows[3, 1] = bad
    expected = cross_softmax(rows, columns, positives, 2.0)
    for max_similarity in (1.0, INF):
        found = ops.cross_softmax_forward(
            rows, columns, positives, torch.tensor([2.0]), None, None, None, max_similarity, True, 0
        )
        for f, e in zip(found, expected, strict=False):
            assert torch.equal(f.isfinite(), e.isfinite())


# Ids of rows and of columns, limits: every second column of another id, some rows without negatives.
def exclusions(rows: Tensor, columns: Tensor, positives: Tensor, scale: float) -> dict[str, list[Tensor | None]]:
    row_ids, col_ids = torch.arange(len(rows)) % 3, torch.arange(len(columns)) % 2
    logits = scale * rows.double() @ columns.double().T
    limits = logits.quantile(0.7, dim=1) + 1e-4  # between two logits
    limits[0] = -INF
    return {"ids": [row_ids, col_ids, None], "limits": [None, None, limits], "both": [row_ids, col_ids, limits]}


def check_exclusions(forward, backward, case, dtype: torch.dtype, device: torch.device) -> None:
    size, length, dim, scale, max_similarity = case
    rows, columns = (F.normalize(torch.randn(n, dim, dtype=torch.float64), dim=1).to(dtype) for n in (size, length))
    positives = torch.randint(-1, length, (size,))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    eps = torch.finfo(wide).eps
    rounding = max(16 * eps * max(abs(scale), 1), torch.finfo(dtype).eps)
    number = torch.tensor([scale], dtype=wide, device=device)
    x, y, p = rows.to(device), columns.to(device), positives.to(device)
    for excluded in exclusions(rows, columns, positives, scale).values():
        grads = [torch.randn(size, dtype=torch.float64), torch.zeros(length, dtype=torch.float64)]
        grads.append(torch.randn(size, dtype=torch.float64))
        results = cross_softmax(rows.double(), columns.double(), positives, scale, *excluded)
        grads[0][results[0] == -INF] = 0
        grads[2][results[2] == -INF] = 0
        truth, true_grads = by_definition(rows.double(), columns.double(), positives, scale, grads, excluded)
        narrow = [t.to(wide) if t is not None and t.is_floating_point() else t for t in excluded]
        same, _ = by_definition(rows.to(wide), columns.to(wide), positives, scale, [g.to(wide) for g in grads], narrow)
        there = [None if t is None else t.to(device) for t in narrow]
        incoming = [grads[0].to(wide).to(device), grads[2].to(wide).to(device)]
        for keep in (0, size * length):
            row_lse, col_lse, own, kept = forward(x, y, p, number, *there, max_similarity, False, keep)
            assert_no_worse(row_lse, same[0], truth[0], 8 * eps * max(abs(scale), 10))
            assert_no_worse(own, same[2], truth[2], 8 * eps * max(abs(scale), 10))
            products = backward(
                x, y, p, row_lse, col_lse, incoming[0], col_lse, incoming[1], number, *there, kept, True, True
            )
            for f, t in zip(products, true_grads, strict=True):
                assert_no_worse(f, t.to(wide), t, rounding * t.abs().amax().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case", [tuple(p.values) for p in (CASES + CPU_CASES)[1:]], ids=[p.id for p in (CASES + CPU_CASES)[1:]]
)
def test_entries_left_out_cpu(case, dtype: torch.dtype) -> None:
    check_exclusions(ops.cross_softmax_forward, ops.cross_softmax_backward, case, dtype, torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "in_registers"), WAYS[:4])
@pytest.mark.parametrize("case", [tuple(p.values) for p in CASES[1:4]], ids=[p.id for p in CASES[1:4]])
def test_entries_left_out_triton(case, dtype: torch.dtype, in_registers, triton_device, monkeypatch) -> None:
    from sslfast.kernels import _launch
    from sslfast.kernels.cross_softmax import forward
    from sslfast.kernels.cross_softmax_backward import backward

    monkeypatch.setattr(_launch, "REGISTERS", in_registers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy, of exp in lanes that are masked afterwards
        check_exclusions(forward, backward, case, dtype, triton_device)


def test_ids_count_both_ways() -> None:
    rows, columns, positives = torch.randn(70, 5), torch.randn(90, 5), torch.arange(70)
    ids = torch.arange(70) % 4, torch.arange(90) % 6
    found = ops.cross_softmax_forward(rows, columns, positives, torch.tensor([2.0]), *ids, None, INF, True, 0)
    for f, e in zip(found, cross_softmax(rows, columns, positives, 2.0, *ids), strict=False):
        torch.testing.assert_close(f, e)


BAD = [
    ({"positives": torch.tensor([0, 1, 4])}, "positives must index a column or be -1"),
    ({"positives": torch.tensor([0, 1, -2])}, "positives must index a column or be -1"),
    ({"row_ids": torch.arange(3)}, "row_ids and col_ids must be int64 of shapes (N,) and (M,), or both None"),
    ({"row_ids": torch.arange(3), "col_ids": torch.arange(3)}, "row_ids and col_ids must be int64 of shapes (N,) and"),
    ({"row_limits": torch.ones(4)}, "row_limits must be (N,) of the dtype of the sums"),
    ({"row_limits": torch.ones(3), "two_way": True}, "row_limits go with one way"),
]


@pytest.mark.parametrize(("options", "text"), BAD, ids=[b[1] for b in BAD])
def test_what_the_operator_refuses(options, text: str) -> None:
    given = {"positives": torch.arange(3), "row_ids": None, "col_ids": None, "row_limits": None, "two_way": False}
    given |= options
    excluded = (given["row_ids"], given["col_ids"], given["row_limits"])
    rows, columns = torch.randn(3, 2), torch.randn(4, 2)
    with pytest.raises(RuntimeError, match=re.escape(text)):
        ops.cross_softmax_forward(
            rows, columns, given["positives"], torch.tensor([1.0]), *excluded, INF, given["two_way"], 0
        )


def test_opcheck() -> None:
    rows, columns, positives = torch.randn(9, 3), torch.randn(7, 3), torch.tensor([*range(7), -1, -1])
    scale = torch.tensor([2.0])
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    ids = (torch.arange(9), torch.arange(7))
    for two_way, excluded in ((True, (None, None, None)), (True, (*ids, None)), (False, (*ids, torch.zeros(9)))):
        for keep in (0, 63):
            args = (rows, columns, positives, scale, *excluded, INF, two_way, keep)
            check_op(ops.cross_softmax_forward, args)
            row_lse, col_lse, _, kept = ops.cross_softmax_forward(*args)
            grads = (torch.randn(9), torch.randn(len(col_lse)), torch.zeros(9))
            args = (rows, columns, positives, row_lse, col_lse, *grads, scale, *excluded, kept, True, False)
            check_op(ops.cross_softmax_backward, args)
    labels = (torch.arange(9, dtype=torch.int32), torch.arange(7, dtype=torch.int32), row_lse)
    args = (rows, columns, positives, row_lse, col_lse, *grads, scale, None, None, None, kept, True, True, None, None)
    check_op(ops.cross_softmax_backward, (*args, *labels))
