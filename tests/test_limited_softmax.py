"""limited_softmax, the CPU's pass for a margin: against the definition, and what the losses make of it."""

from __future__ import annotations

import functools
import re

import pytest
import torch
import torch.nn.functional as F
from oracle import assert_no_worse
from torch import Tensor

from sslfast import ops
from sslfast.losses import _query_sums, clip_loss, info_nce_loss
from sslfast.losses._limited import limited_softmax
from sslfast.reference.limited_softmax import limited_softmax as reference

INF = float("inf")
# N, M, D, scale, whether there are ids.
CASES = [
    pytest.param(1, 1, 4, 2.0, False, id="a positive and nothing else"),
    pytest.param(5, 3, 1, 4.0, True, id="D = 1, rows without a positive"),
    pytest.param(150, 70, 33, 200.0, False, id="more rows than columns, temperature 0.005"),
    pytest.param(600, 2100, 20, 14.0, True, id="several tiles in rows and columns"),
    pytest.param(600, 700, 8, 300.0, False, id="several tiles, sums far below the tile's maximum"),
]


def in_a_gap(logits: Tensor) -> Tensor:
    """For every row a limit about two thirds up that no logit is near: rounding must not decide what is left out."""
    inner = logits.sort(dim=1).values[:, logits.shape[1] // 2 :]
    if inner.shape[1] == 1:
        return inner[:, 0] + 1
    gaps = inner.diff(dim=1)
    at = gaps.argmax(dim=1, keepdim=True)
    return (inner.gather(1, at) + gaps.gather(1, at) / 2).squeeze(1)


def problem(n: int, m: int, d: int, scale: float, with_ids: bool, dtype: torch.dtype):
    rows, columns = (F.normalize(torch.randn(size, d, dtype=torch.float64), dim=1).to(dtype) for size in (n, m))
    positives = torch.randperm(max(n, m))[:n]
    positives = torch.where(positives < m, positives, -1)
    ids = [torch.randint(0, 9, (size,)) for size in (n, m)] if with_ids else [None, None]
    logits = scale * rows.double() @ columns.double().T
    return rows, columns, positives, ids, [in_a_gap(logits), in_a_gap(logits.T.contiguous())]


def by_definition(rows: Tensor, columns: Tensor, positives, scale, ids, limits, grads):
    rows, columns = rows.clone().requires_grad_(), columns.clone().requires_grad_()
    results = reference(rows, columns, positives, scale, *ids, *(limit.to(rows.dtype) for limit in limits))
    parts = zip(results, grads, strict=False)
    sum((torch.where(r.isfinite(), r, 0) * g.to(rows.dtype)).sum() for r, g in parts).backward()
    return [r.detach() for r in results], [rows.grad / scale, columns.grad / scale]


@pytest.mark.parametrize("two_way", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m", "d", "scale", "with_ids"), CASES)
def test_against_the_definition(n, m, d, scale, with_ids, dtype: torch.dtype, two_way: bool) -> None:
    rows, columns, positives, ids, limits = problem(n, m, d, scale, with_ids, dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    grads = [torch.randn(size, dtype=torch.float64) for size in (n, m, n, n, m)]
    for g, result in zip(
        grads, reference(rows.double(), columns.double(), positives, scale, *ids, *limits), strict=False
    ):
        g[result == -INF] = 0  # nothing was summed: a constant
    if not two_way:
        grads[1].zero_()
        grads[4].zero_()
    truth, true_grads = by_definition(rows.double(), columns.double(), positives, scale, ids, limits, grads)
    same, same_grads = by_definition(rows.to(wide), columns.to(wide), positives, scale, ids, limits, grads)
    number = torch.tensor([scale], dtype=wide)
    given = [limit.to(wide) for limit in limits]
    if not two_way:
        given[1] = None
        grads[1], grads[4] = torch.empty(0), torch.empty(0)
        for of_columns in (1, 4, 6):
            truth[of_columns], same[of_columns] = (x[of_columns][:0] for x in (truth, same))
    incoming = [g.to(wide) for g in grads]
    eps = torch.finfo(wide).eps
    for keep in (0, n * m // 2, n * m):
        row_lse, col_lse, own, kept, *totals, row_counts, col_counts = ops.limited_softmax_forward(
            rows, columns, positives, number, *ids, *given, keep
        )
        found = [row_lse, col_lse, own, *totals]
        sizes = [max(scale, 10)] * 3 + [scale * m, scale * n]
        for f, s, t, size in zip(found, same, truth, sizes, strict=False):
            assert_no_worse(f, s, t, 8 * eps * size)
        assert torch.equal(row_counts, truth[5])
        assert torch.equal(col_counts, truth[6])
        products = ops.limited_softmax_backward(
            rows, columns, positives, row_lse, col_lse, *incoming, number, *ids, *given, kept, True, True
        )
        rounding = max(16 * eps * scale, torch.finfo(dtype).eps)  # bfloat16 rounds the weights
        for f, s, t in zip(products, same_grads, true_grads, strict=True):
            assert_no_worse(f, s, t, rounding * t.abs().amax().item())
    for needed in ((True, False), (False, True)):
        one = ops.limited_softmax_backward(
            rows, columns, positives, row_lse, col_lse, *incoming, number, *ids, *given, kept, *needed
        )
        for f, both, need in zip(one, products, needed, strict=True):
            assert torch.equal(f, both if need else both[:0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_far_above_the_limit_hides_nothing(dtype: torch.dtype) -> None:
    """Of logits 0, 1 and 1000 the last is above every limit; of a row of them alone nothing counts."""
    rows, columns = torch.ones(2, 1, dtype=dtype), torch.tensor([[0.0], [1.0], [1000.0]], dtype=dtype)
    rows[1] = 5.0
    limits = torch.tensor([2.0, -1.0], dtype=dtype), torch.tensor([2.0, 2.0, 2.0], dtype=dtype)
    scale, none = torch.ones(1, dtype=dtype), torch.full((2,), -1)
    row_lse, col_lse, own, kept, row_totals, col_totals, row_counts, col_counts = ops.limited_softmax_forward(
        rows, columns, none, scale, None, None, *limits, 6
    )
    torch.testing.assert_close(row_lse, torch.tensor([torch.log1p(torch.tensor(torch.e)), -INF], dtype=dtype))
    torch.testing.assert_close(col_lse, torch.tensor([torch.tensor(2.0).log(), 1.0, -INF], dtype=dtype))
    assert own.tolist() == [-INF, -INF]
    assert (row_totals.tolist(), row_counts.tolist()) == ([1.0, 0.0], [2, 0])
    assert (col_totals.tolist(), col_counts.tolist()) == ([0.0, 1.0, 0.0], [2, 1, 0])
    ones = [torch.ones(size, dtype=dtype) for size in (2, 3, 2, 2, 3)]
    for needed in (kept, kept[:0]):
        d_rows, d_columns = ops.limited_softmax_backward(
            rows, columns, none, row_lse, col_lse, *ones, scale, None, None, *limits, needed, True, True
        )
        share = torch.sigmoid(torch.ones((), dtype=dtype))
        # Weights of the entries that count: of rows and of columns the softmax's, and 1 for the total of each.
        first, last = (1 - share + 1) + (0.5 + 1), (share + 1) + (1 + 1)
        torch.testing.assert_close(d_rows[:, 0], torch.stack([last, 0 * share]))
        torch.testing.assert_close(d_columns[:, 0], torch.stack([first + 5 * (0.5 + 1), last, 0 * share]))


def test_nan_is_seen() -> None:
    rows, columns = torch.randn(3, 4), torch.randn(5, 4)
    rows[1, 2] = torch.nan
    limits = torch.zeros(3), torch.zeros(5)
    row_lse, col_lse, *_ = ops.limited_softmax_forward(
        rows, columns, torch.full((3,), -1), torch.ones(1), None, None, *limits, 0
    )
    assert row_lse.isnan().tolist() == [False, True, False]
    assert col_lse.isnan().all()


@pytest.mark.parametrize("value", [-INF, INF])
def test_an_infinite_logit_counts(value: float) -> None:
    """One of a queue, say; positives and equal ids do not, whatever their logits."""
    rows, columns = torch.ones(2, 1), torch.tensor([[0.5], [value], [1.0], [2.0]])
    ids = torch.tensor([5, 6]), torch.tensor([1, 2, 6, 5])
    limits = torch.tensor([9.0, 1.5]), torch.full((4,), 9.0)
    given = (rows, columns, torch.tensor([0, -1]), torch.ones(1), *ids)
    row_lse, col_lse, _, _, *found = ops.limited_softmax_forward(*given, *limits, 0)
    expected = reference(*given, *limits)
    for f, e in zip((row_lse, col_lse, *found), (*expected[:2], *expected[3:]), strict=True):
        torch.testing.assert_close(f, e)


def test_threads_change_nothing() -> None:
    rows, columns, positives, ids, limits = problem(600, 700, 16, 10.0, True, torch.float32)
    given = (rows, columns, positives, torch.tensor([10.0]), *ids, *(limit.float() for limit in limits), 0)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(ops.limited_softmax_forward(*given))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_the_gradient_of_the_scale_and_the_strength(strength: float) -> None:
    """What is added to the scale of the negatives is a constant for the gradient, and nothing for the positives."""
    rows, columns, positives, ids, limits = problem(40, 50, 6, 5.0 + strength, True, torch.float64)
    weights = [torch.randn(size, dtype=torch.float64) for size in (40, 50, 40, 40, 50)]
    found = []
    for ours in (True, False):
        leaves = [z.clone().requires_grad_() for z in (rows, columns, torch.tensor([5.0], dtype=torch.float64))]
        if ours:
            names = {"row_ids": ids[0], "col_ids": ids[1]}
            results = limited_softmax("f", *leaves, positives, *limits, **names, strength=strength)[:5]
        else:
            a, b, scale = leaves
            own = reference(a, b, positives, scale, *ids, *limits)[2]
            logits = scale * a @ b.T + strength * (a @ b.T).detach()
            identity = torch.eye(50, dtype=torch.float64)
            results = [*reference(logits, identity, positives, 1.0, *ids, *limits)[:5]]
            results[2] = own
        parts = zip(results, weights, strict=True)
        total = sum((torch.where(r.isfinite(), r, 0) * w).sum() for r, w in parts)
        found.append([*(r.detach() for r in results), *torch.autograd.grad(total, leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_second_derivative_raises() -> None:
    rows, columns = torch.randn(2, 4, 3, requires_grad=True)
    results = limited_softmax("loss", rows, columns, torch.ones(1), torch.arange(4), torch.ones(4), torch.ones(4))
    (grad,) = torch.autograd.grad(results.row_lse.sum(), rows, create_graph=True)
    with pytest.raises(RuntimeError, match="loss: "):
        grad.sum().backward()


@pytest.mark.parametrize("others", ["queue", "negative_keys"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_queue_may_change_before_backward(others: str, dtype: torch.dtype) -> None:
    query, key = torch.randn(2, 520, 8, dtype=dtype)
    found = []
    for changes in (False, True):
        queue = F.normalize(torch.randn(600, 8, generator=torch.Generator().manual_seed(0)), dim=1).to(dtype)
        leaves = [z.clone().requires_grad_() for z in (query, key)]
        options = {others: queue, "in_batch": True, "margin": 0.1, "label_smoothing": 0.2, "normalize": False}
        loss = info_nce_loss(*leaves, **options)
        if changes:
            queue.zero_()
        found.append([loss.detach(), *torch.autograd.grad(loss, leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


KINDS = [
    {"symmetric": True},
    {"symmetric": True, "query_negatives": True, "key_negatives": True, "key_to_query_negatives": True},
    {"symmetric": True, "hardness_mode": "all_negatives", "hardness_strength": 2.0},
    {"key_to_query_negatives": True},
    {"positives": True, "key_to_query_negatives": True, "query_negatives": True},
    {"hardness_mode": "in_batch_negatives", "hardness_strength": 2.0, "negative_keys": (600, 2)},
    {"symmetric": True, "negative_keys": (300,), "queue": True, "ids": True},
]


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: ", ".join(kinds))
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_pass_for_each_direction_is_the_same(kinds: dict, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU makes of margins, also where several are combined."""
    n, d = 600, 8
    query, keys = torch.randn(2, n, d, dtype=torch.float64)
    kinds = dict(kinds)
    leaves = [query, keys]
    if "negative_keys" in kinds:
        leaves.append(torch.randn(*kinds.pop("negative_keys"), d, dtype=torch.float64))
        kinds["in_batch"] = True
    if kinds.pop("queue", False):
        kinds["queue"] = F.normalize(torch.randn(700, d, dtype=torch.float64), dim=1)
    if kinds.pop("positives", False):
        kinds["positives"] = torch.randperm(n)
    if kinds.pop("ids", False):
        kinds |= {"query_ids": torch.arange(n) // 3, "key_ids": torch.arange(n) // 3}
    scale = torch.tensor(0.5, dtype=torch.float64)
    found = []
    for one_pass in (True, False):
        if not one_pass:
            monkeypatch.setattr(_query_sums, "takes_one_pass", lambda query: False)
        own = [z.clone().requires_grad_() for z in (*leaves, scale)]
        loss = info_nce_loss(*own[:-1], temperature=own[-1], margin=0.05, label_smoothing=smoothing, **kinds)
        found.append([loss.detach(), *torch.autograd.grad(loss, own)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_one_product_of_the_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """With smoothing, too; and the budget is of that pass alone."""
    calls = []
    forward = ops.limited_softmax_forward
    monkeypatch.setattr(ops, "limited_softmax_forward", lambda *args: calls.append(args[8]) or forward(*args))
    images, texts = F.normalize(torch.randn(2, 600, 8), dim=2).requires_grad_()
    clip_loss(images, texts, 10.0, margin=0.1, label_smoothing=0.1, memory_budget=10**7).backward()
    assert calls == [600 * 600]


BAD = [
    ({"positives": torch.tensor([0, 1, 4])}, "positives must index a column or be -1"),
    ({"row_ids": torch.arange(3)}, "row_ids and col_ids must be int64 of shapes (N,) and (M,), or both None"),
    ({"row_limits": torch.ones(4)}, "must be vectors, one number a row or column"),
    ({"col_limits": torch.ones(3)}, "must be vectors, one number a row or column"),
    ({"row_limits": torch.ones(3, dtype=torch.float64)}, "float64 for float64 rows, else float32"),
    ({"keep": 13}, "keep must be in [0, N M]"),
]


@pytest.mark.parametrize(("options", "text"), BAD, ids=[b[1] for b in BAD])
def test_what_the_operator_refuses(options, text: str) -> None:
    given = {"positives": torch.arange(3), "scale": torch.ones(1), "row_ids": None, "col_ids": None}
    given |= {"row_limits": torch.ones(3), "col_limits": torch.ones(4), "keep": 0} | options
    with pytest.raises(RuntimeError, match=re.escape(text)):
        ops.limited_softmax_forward(torch.randn(3, 2), torch.randn(4, 2), **given)


def test_opcheck() -> None:
    rows, columns, positives = torch.randn(9, 3), torch.randn(7, 3), torch.tensor([*range(7), -1, -1])
    scale = torch.tensor([2.0])
    check_op = functools.partial(torch.library.opcheck, raise_exception=True)
    for ids, col_limits in (((torch.arange(9), torch.arange(7)), torch.zeros(7)), ((None, None), None)):
        for keep in (0, 63):
            args = (rows, columns, positives, scale, *ids, torch.zeros(9), col_limits, keep)
            check_op(ops.limited_softmax_forward, args)
            row_lse, col_lse, _, kept, row_totals, col_totals, *_ = ops.limited_softmax_forward(*args)
            grads = row_lse * 0, col_lse * 0, row_totals, row_totals, col_totals
            args = (rows, columns, positives, row_lse, col_lse, *grads, scale, *ids, torch.zeros(9), col_limits, kept)
            check_op(ops.limited_softmax_backward, (*args, True, False))
