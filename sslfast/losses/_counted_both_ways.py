"""Sums of the similarities that count, of rows with columns and of columns with rows, from one pass for both.

For a GPU: on the CPU they come with the log-sum-exps, see :mod:`._limited`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslfast._autograd import distinct, first_order_only
from sslfast.losses._inputs import without_autocast
from sslfast.losses._strips import rows_at_once


def counted_both_ways(
    function: str,
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    limits: Tensor,
    scale: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For every row the sum of its similarities with the columns that count, and how many; and so for every column.

    What :func:`counted_sums` gives of either, from similarities that are made once in forward, in strips of rows, and
    once in backward: 2 N^2 D FLOPs, and 6 N^2 D for both gradients.

    Args:
        function: the name that errors begin with.
        rows: (N, D).
        columns: (N, D).
        positives: (N,) int64, a permutation: the column of every row, which do not count for each other.
        row_ids: (N,) int64; rows and columns of the same id do not count for each other; or None.
        col_ids: (N,) int64; or None.
        limits: (N,), what has a logit above the row's, with that row or with its positive, does not count for it.
        scale: of the logits, a tensor of one number.

    Returns:
        (N,) in the dtype of the rows and (N,) int64, of the rows, and such of the columns.
    """
    row_sums, row_counts, col_sums, col_counts = _CountedBothWays.apply(
        function, *distinct(rows, columns), positives, *distinct(row_ids, col_ids), limits, scale
    )
    return (row_sums, row_counts), (col_sums, col_counts)


class _CountedBothWays(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, *settings):  # type: ignore[no-untyped-def]
        rows, columns, positives, *_ = settings
        row_sums, col_sums = rows.new_empty(len(rows)), rows.new_zeros(len(columns))
        row_counts, col_counts = torch.empty_like(positives), torch.zeros_like(positives)
        for part, similarities, by_row, by_column in _strips(*settings):
            row_sums[part] = torch.where(by_row, similarities, 0.0).sum(dim=1)
            row_counts[part] = by_row.sum(dim=1)
            col_sums += torch.where(by_column, similarities, 0.0).sum(dim=0)
            col_counts += by_column.sum(dim=0)
        ctx.save_for_backward(*settings)
        ctx.function = function
        ctx.mark_non_differentiable(row_counts, col_counts)
        return row_sums, row_counts, col_sums, col_counts

    @staticmethod
    def backward(ctx, of_rows, _, of_columns, __):  # type: ignore[no-untyped-def]
        rows, columns, *_ = settings = ctx.saved_tensors
        need_rows, need_columns = ctx.needs_input_grad[1:3]
        d_rows = torch.empty_like(rows) if need_rows else None
        d_columns = torch.zeros_like(columns) if need_columns else None
        with torch.no_grad(), without_autocast(rows):
            for part, weights, by_row, by_column in _strips(*settings):
                torch.mul(by_row, of_rows[part, None], out=weights)
                weights.addcmul_(by_column, of_columns)
                if d_rows is not None:
                    d_rows[part] = weights @ columns
                if d_columns is not None:
                    d_columns.addmm_(weights.T, rows[part])
        inputs = rows, columns, of_rows, of_columns
        grads = (None if g is None else first_order_only(ctx.function, g, *inputs) for g in (d_rows, d_columns))
        return None, *grads, *[None] * 5


def _strips(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    limits: Tensor,
    scale: Tensor,
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Parts of the rows, their similarities, and which of these count for the rows and for the columns."""
    col_limits = torch.empty_like(limits).index_copy_(0, positives, limits)
    step = rows_at_once(rows, len(columns))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        with without_autocast(rows):  # which would round what is compared with the limits
            similarities = rows[part] @ columns.T
        logits = similarities * scale
        by_row, by_column = logits <= limits[part, None], logits <= col_limits
        for counted in (by_row, by_column):
            if row_ids is not None:
                counted &= row_ids[part, None] != col_ids
            counted.scatter_(1, positives[part, None], False)
        yield part, similarities, by_row, by_column
