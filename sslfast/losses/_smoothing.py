"""Label smoothing of InfoNCE: the mean logit of every query's candidates, without their logits where sums will do."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast._autograd import distinct, first_order_only, normalized
from sslfast.distributed import count_rows
from sslfast.losses._labels import LabelGroups
from sslfast.losses._negatives import Negatives
from sslfast.losses._strips import rows_at_once

_Ids = tuple[Tensor | None, Tensor | None]  # of rows and of columns


class Kinds(NamedTuple):
    """Which negatives there are, as :func:`info_nce_loss` takes them."""

    in_batch: bool
    queries: bool
    keys: bool
    others: Tensor | None
    queue: Tensor | None


def smoothed_part(negatives: Negatives, kinds: Kinds) -> Tensor:
    """(N,), what a share of the target that is spread over a query's candidates adds to its loss.

    ``positive - mean of the logits of the candidates``, which are the positive and all negatives that count: 0 where
    there are none.
    """
    n, gathered = negatives, negatives.strategy
    chosen = n.keys if n.in_order else n.keys.index_select(0, n.positives)
    own = (n.query * chosen).sum(dim=1)
    query_ids, key_ids = n.ids or (None, None)
    sums = [own]
    counts: list[Tensor | int] = [1]

    def add(rows: Tensor, columns: Tensor, left_out: Tensor | None, ids: _Ids, strategy: str) -> None:
        found, number = _among(n.function, rows, columns, left_out, ids, n.limits, n.scale, strategy)
        sums.append(found)
        counts.append(number)

    if kinds.in_batch:
        add(n.query, n.keys, n.positives, (query_ids, key_ids), gathered)
    if kinds.queries:
        add(n.query, n.query, n.own, (query_ids, query_ids), gathered)
    if kinds.keys:
        chosen_ids = None if key_ids is None else key_ids.index_select(0, n.positives)
        add(chosen, n.keys, n.positives, (chosen_ids, key_ids), gathered)
    if kinds.others is not None and kinds.others.dim() == 2:
        others = kinds.others.to(n.query.dtype)
        others = normalized(n.function, others) if n.normalize else others
        add(n.query, others, None, (None, None), "local")
    if kinds.queue is not None:
        add(n.query, kinds.queue.to(n.query.dtype), None, (None, None), "local")
    similar = torch.stack(sums).sum(dim=0)
    logits, count = n.scale * similar, _total(counts)
    if kinds.others is not None and kinds.others.dim() == 3:
        there = n.hard != float("-inf")
        logits = logits + torch.where(there, n.hard, 0.0).sum(dim=1)
        count = count + there.sum(dim=1)
    return n.scale * own - logits / count


def smoothed_part_of_keys(negatives: Negatives) -> Tensor:
    """(N,), the same of every query's key, whose candidates are the queries."""
    n = negatives
    queries = torch.empty_like(n.positives).index_copy_(0, n.positives, n.own)  # of each key
    limits = None if n.limits is None else n.limits.index_select(0, queries)
    ids = (None, None) if n.ids is None else (n.ids[1], n.ids[0])
    own = (n.keys * n.query.index_select(0, queries)).sum(dim=1)
    found, number = _among(n.function, n.keys, n.query, queries, ids, limits, n.scale, n.strategy)
    return (n.scale * (own - (own + found) / (1 + number))).index_select(0, n.positives)


def _total(counts: list[Tensor | int]) -> Tensor | int:
    total: Tensor | int = 0
    for count in counts:
        total = total + count
    return total


def _among(
    function: str,
    rows: Tensor,
    columns: Tensor,
    left_out: Tensor | None,
    ids: _Ids,
    limits: Tensor | None,
    scale: Tensor,
    strategy: str,
) -> tuple[Tensor, Tensor | int]:
    """For every row the sum of its similarities with the columns that count, and how many these are.

    Not so ``left_out`` (N,), a column for each row, columns with the row's id, and those with a logit above the limit
    of the row. Over several ranks there are neither ids nor limits, and the columns are those of all ranks.
    """
    if limits is not None:
        found: tuple[Tensor, Tensor] = _WithinLimits.apply(
            function, *distinct(rows, columns), left_out, *distinct(*ids), limits, scale
        )
        return found
    total, count = columns.sum(dim=0), count_rows(columns, strategy)
    sums = (rows * (total if strategy == "local" else _SumOfAll.apply(total))).sum(dim=1)
    if left_out is None:
        return sums, count
    own = (rows * columns.index_select(0, left_out)).sum(dim=1)
    row_ids, col_ids = ids
    if row_ids is None or col_ids is None:
        return sums - own, count - 1
    groups = LabelGroups(row_ids, col_ids)
    apart = col_ids.index_select(0, left_out) != row_ids
    sums = sums - (rows * groups.sums(columns)).sum(dim=1) - torch.where(apart, own, 0.0)
    return sums, count - groups.counts - apart.long()


class _SumOfAll(torch.autograd.Function):
    """A sum over the ranks that each takes its own use of: so its gradient is a sum over them, too."""

    @staticmethod
    def forward(ctx, own):  # type: ignore[no-untyped-def]
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _WithinLimits(torch.autograd.Function):
    """Sums and counts of the similarities that count, from logits that are made in strips of rows, in backward again.

    4 N M D FLOPs in forward, and as many for the gradient of the columns.
    """

    @staticmethod
    def forward(ctx, function, rows, columns, left_out, row_ids, col_ids, limits, scale):  # type: ignore[no-untyped-def]
        excluded = (left_out, row_ids, col_ids, limits, scale)
        near = torch.empty_like(rows)  # the sum of the columns that count
        counts = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
        for part, counted in _strips(rows, columns, *excluded):
            torch.mm(counted, columns, out=near[part])
            counts[part] = counted.sum(dim=1).long()
        ctx.save_for_backward(rows, columns, near, *excluded)
        ctx.function = function
        ctx.mark_non_differentiable(counts)
        return (rows * near).sum(dim=1), counts

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        rows, columns, near, *excluded = ctx.saved_tensors
        found: list[Tensor | None] = [None, None]
        with torch.no_grad():
            if ctx.needs_input_grad[1]:
                found[0] = near * grad.unsqueeze(1)
            if ctx.needs_input_grad[2]:
                total, weighted = torch.zeros_like(columns), rows * grad.unsqueeze(1)
                for part, counted in _strips(rows, columns, *excluded):
                    total.addmm_(counted.T, weighted[part])
                found[1] = total
        grads = (None if g is None else first_order_only(ctx.function, g, rows, columns, grad) for g in found)
        return None, *grads, *[None] * 5


def _strips(  # type: ignore[no-untyped-def]
    rows: Tensor,
    columns: Tensor,
    left_out: Tensor | None,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    limits: Tensor,
    scale: Tensor,
):
    """Parts of the rows, and which columns count for them, 1 or 0 in the dtype of the rows."""
    step = rows_at_once(rows, len(columns))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        logits = (rows[part] @ columns.T).mul_(scale)
        counted = logits <= limits[part, None]
        if row_ids is not None:
            counted &= row_ids[part, None] != col_ids
        if left_out is not None:
            counted.scatter_(1, left_out[part, None], False)
        yield part, counted.to(rows.dtype)
