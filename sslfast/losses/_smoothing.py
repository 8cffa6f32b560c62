"""Label smoothing of InfoNCE: the mean logit of every query's candidates, without their logits where sums will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast._autograd import traced_once
from sslfast.losses._counted import counted_sums
from sslfast.losses._counted_both_ways import counted_both_ways
from sslfast.losses._labels import LabelGroups
from sslfast.losses._negative_kinds import Kinds
from sslfast.losses._negatives import Negatives

_MOST_ROUNDED = 0.2  # smoothing beside weights that are rounded


class _Rows(NamedTuple):
    """Rows, the column that each leaves out or None, and their ids and limits or None."""

    rows: Tensor
    left_out: Tensor | None
    ids: Tensor | None
    limits: Tensor | None


class _Columns(NamedTuple):
    """Columns, of this rank where there are several, their ids, and the rows that are taken against them."""

    rows: Tensor
    ids: Tensor | None
    asked: list[_Rows]


_Found = tuple[Tensor, Tensor | int]  # for every row the sum of its similarities with columns, and how many these are


def needs_exact_weights(smoothing: float, kinds: Kinds) -> bool:
    """Whether smoothing cancels so much of the softmax's weights that their rounding to bfloat16 would show.

    Without smoothing it puts a gradient off by up to 1.4e-3, that of negatives of all queries, which no positive pulls,
    by up to 1.7e-3, and the gradient's own rounding by as much again. Smoothing e leaves 1 - e of a gradient or less
    (early in training, at temperature 1, a twentieth at e = 1), but all of the weights that are rounded.
    """
    of_all = kinds.negative_keys is not None and kinds.negative_keys.dim() == 2
    return smoothing > (0.0 if of_all else _MOST_ROUNDED)


def smoothed_part(negatives: Negatives, kinds: Kinds, symmetric: bool) -> Tensor:
    """(N,), what a share of the target that is spread over a query's candidates adds to its loss.

    ``positive - mean of the logits of the candidates``, which are the positive and all negatives that count: 0 where
    there are none. If ``symmetric``, the mean with that of the query's key, whose candidates are the queries. What is
    added to the logits of hard negatives is a part of them, without a gradient.
    """
    n = negatives
    query_ids, key_ids = n.ids or (None, None)
    chosen = n.keys if n.in_order else n.keys.index_select(0, n.positives)
    chosen_ids = None if key_ids is None else key_ids.index_select(0, n.positives)
    own = (n.query * chosen).sum(dim=1)
    if n.totals is not None:
        return _of_totals(n, n.totals, own, symmetric)
    keys, queries = _Columns(n.keys, key_ids, []), _Columns(n.query, query_ids, [])
    both_ways = n.limits if symmetric and n.strategy == "local" else None
    if kinds.in_batch and both_ways is None:
        keys.asked.append(_Rows(n.query, n.positives, query_ids, n.limits))
    if kinds.key_negatives:
        keys.asked.append(_Rows(chosen, n.positives, chosen_ids, n.limits))
    if kinds.query_negatives:
        queries.asked.append(_Rows(n.query, n.own, query_ids, n.limits))
    if kinds.key_to_query_negatives:
        queries.asked.append(_Rows(chosen, n.own, chosen_ids, n.limits))
    if symmetric and both_ways is None:
        of_each = torch.empty_like(n.positives).index_copy_(0, n.positives, n.own)
        limits = None if n.limits is None else n.limits.index_select(0, of_each)
        queries.asked.append(_Rows(n.keys, of_each, key_ids, limits))
    found = _found(n, [keys, queries], n.strategy)
    if both_ways is not None:
        of_query, of_key = counted_both_ways(
            n.function, n.query, n.keys, n.positives, query_ids, key_ids, both_ways, n.scale
        )
        found = [of_query, *found, of_key]
    of_keys = found.pop() if symmetric else None
    hard = [(found[0], n.hardness.of("in_batch"))] if kinds.in_batch else []
    for z, strength in _further(n, kinds):
        found += _found(n, [_Columns(z, None, [_Rows(n.query, None, None, n.limits)])], "local")
        hard.append((found[-1], strength))
    logits, count = n.scale * torch.stack([own, *(sums for sums, _ in found)]).sum(dim=0), _total(found)
    for (sums, _), strength in hard:
        logits = logits if strength == 0.0 else logits.add(sums.detach(), alpha=strength)
    logits, count = _with_hard(n, logits, count)
    of_queries: Tensor = n.scale * own - logits / count
    if of_keys is None:
        return of_queries
    mean = (own + of_keys[0].index_select(0, n.positives)) / _total([of_keys], n.positives)
    return (of_queries + n.scale * (own - mean)) / 2


def _of_totals(n: Negatives, totals: Sequence[_Found], own: Tensor, symmetric: bool) -> Tensor:
    """What :func:`smoothed_part` returns, of sums of logits that came with the log-sum-exps."""
    positive = n.scale * own
    logits, count = _with_hard(n, torch.stack([positive, *(total for total, _ in totals)]).sum(dim=0), _total(totals))
    of_queries: Tensor = positive - logits / count
    if not symmetric:
        return of_queries
    total, counts = (each.index_select(0, n.positives) for each in n.totals_of_keys)
    return (of_queries + positive - (positive + total) / (1 + counts)) / 2


def _with_hard(n: Negatives, logits: Tensor, count: Tensor | int) -> tuple[Tensor, Tensor | int]:
    """Sums of logits and their numbers, with those of the keys of one query each."""
    if n.hard is None:
        return logits, count
    if n.hard_left_out is None:
        return logits + n.hard.sum(dim=1), count + n.hard.shape[1]
    counted = ~n.hard_left_out
    return logits + n.hard.masked_fill(n.hard_left_out, 0.0).sum(dim=1), count + counted.sum(dim=1)


def _further(n: Negatives, kinds: Kinds) -> list[tuple[Tensor, float]]:
    """Columns for all queries that are not of the batch, and how hard they are."""
    found = [] if kinds.queue is None else [(kinds.queue.to(n.query.dtype), n.hardness.of("queue"))]
    if kinds.negative_keys is not None and kinds.negative_keys.dim() == 2:
        found.append((n.others, n.hardness.of("negative_keys")))
    return found


def _total(found: Sequence[_Found], at: Tensor | None = None) -> Tensor | int:
    """How many candidates there are, with the positive; of the rows ``at`` those numbers."""
    total: Tensor | int = 1
    for _, count in found:
        each = count if at is None or isinstance(count, int) or len(count) == 1 else count.index_select(0, at)
        total = total + each
    return total


def _found(n: Negatives, columns: list[_Columns], strategy: str) -> list[_Found]:
    """What all rows that are asked for find, in their order."""
    columns = [each for each in columns if each.asked]
    if not columns:
        return []
    if n.limits is None and (n.ids is None or strategy == "local"):
        sums = [each.rows.sum(dim=0) for each in columns]
        sizes = [len(each.rows) for each in columns]
        counts: list[Tensor | int] = [*sizes]
        if strategy != "local":  # all of them travel as one vector, filled in on the device: nothing is waited for
            numbers = [total.new_full((1,), count) for total, count in zip(sums, sizes, strict=True)]
            *sums, told = _SumOfAll.apply(torch.cat([*sums, *numbers])).split([*map(len, sums), len(sums)])
            counts = [*told.detach().split(1)]
        return [
            _among(rows, each, total, count)
            for each, total, count in zip(columns, sums, counts, strict=True)
            for rows in each.asked
        ]
    found: list[_Found] = []
    for each in columns:  # which travel once for all rows
        sizes = [len(rows.rows) for rows in each.asked]
        rows, left_out, row_ids, limits = (_joined(parts) for parts in zip(*each.asked, strict=True))
        assert rows is not None
        results = counted_sums(n.function, rows, each.rows, left_out, row_ids, each.ids, limits, n.scale, strategy)
        found += zip(*(result.split(sizes) for result in results), strict=True)
    return found


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if len(there) > 1 else parts[0]


def _among(rows: _Rows, columns: _Columns, total: Tensor, count: Tensor | int) -> _Found:
    """From the sum and the number of the columns, of all ranks where there are several: then without ids."""
    sums = (rows.rows * total).sum(dim=1)
    if rows.left_out is None:
        return sums, count
    own = (rows.rows * columns.rows.index_select(0, rows.left_out)).sum(dim=1)
    if rows.ids is None or columns.ids is None:
        return sums - own, count - 1
    groups = LabelGroups(rows.ids, columns.ids)
    apart = columns.ids.index_select(0, rows.left_out) != rows.ids
    sums = sums - (rows.rows * groups.sums(columns.rows)).sum(dim=1) - torch.where(apart, own, 0.0)
    return sums, count - groups.counts - apart.long()


class _SumOfAll(torch.autograd.Function):
    """A sum over the ranks that each takes its own use of: so its gradient is a sum over them, too."""

    @staticmethod
    def forward(ctx, own):  # type: ignore[no-untyped-def]
        total = own.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _SumOfAll.apply(grad)  # which can be differentiated, as what is reduced in place cannot
