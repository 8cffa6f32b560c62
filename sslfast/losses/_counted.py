"""Sums of the similarities of rows with the columns that count, of one rank or of all, without an N x M matrix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sslfast._autograd import distinct, first_order_only
from sslfast.distributed import exchange_shards
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import without_autocast
from sslfast.losses._labels import LabelGroups
from sslfast.losses._strips import rows_at_once


def counted_sums(
    function: str,
    rows: Tensor,
    columns: Tensor,
    left_out: Tensor | None,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    limits: Tensor | None,
    scale: Tensor,
    strategy: str,
) -> tuple[Tensor, Tensor]:
    """For every row the sum of its similarities with the columns that count, and how many these are.

    Without limits from sums by id, in O((N + M) D) work; with limits from logits that are made in strips of rows, in
    backward again: 4 N M D FLOPs in forward, and as many for the gradient of the columns. Over several ranks the
    columns travel, and in backward their gradients; all ranks have to call both.

    Args:
        function: the name that errors begin with.
        rows: (N, D).
        columns: (M, D); over several ranks this rank's.
        left_out: (N,) int64, a column of this rank for each row that does not count; None of none.
        row_ids: (N,) int64; columns with the row's id do not count. Needed where there are no limits.
        col_ids: (M,) int64.
        limits: (N,), columns with a logit above the row's do not count; or None.
        scale: of the logits, a tensor of one number.
        strategy: ``"local"``, or how the ranks exchange columns.

    Returns:
        (N,) in the dtype of the rows, and (N,) int64.
    """
    found: tuple[Tensor, Tensor] = _CountedSums.apply(
        function, *distinct(rows, columns), left_out, *distinct(row_ids, col_ids), limits, scale, strategy
    )
    return found


class _CountedSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, columns, left_out, row_ids, col_ids, limits, scale, strategy):  # type: ignore[no-untyped-def]
        near = torch.zeros_like(rows)  # the sum of the columns that count
        counts = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        ctx.shards = exchange = None
        if strategy != "local":
            ctx.shards = exchange_shards(function, columns)
            exchange = blocks_over_ranks(strategy, ctx.shards)
            exchange.post(columns, None, *([] if col_ids is None else [col_ids]))
        for block, own, block_ids in _blocks(exchange, columns, left_out, col_ids):
            if limits is None:
                groups = LabelGroups(row_ids, block_ids)
                near += block.sum(dim=0) - groups.sums(block)
                counts += len(block) - groups.counts
                if own is not None:
                    apart = block_ids.index_select(0, own) != row_ids
                    near -= torch.where(apart.unsqueeze(1), block.index_select(0, own), 0.0)
                    counts -= apart.long()
                continue
            for part, counted in _strips(rows, block, own, row_ids, block_ids, limits, scale):
                near[part].addmm_(counted, block)
                counts[part] += counted.sum(dim=1).long()
        held = (None, None) if exchange is None else exchange.held
        ctx.save_for_backward(rows, columns, near, left_out, row_ids, col_ids, limits, scale, *held)
        ctx.function, ctx.strategy = function, strategy
        ctx.mark_non_differentiable(counts)
        return (rows * near).sum(dim=1), counts

    @staticmethod
    def backward(ctx, grad, _):  # type: ignore[no-untyped-def]
        rows, columns, near, left_out, row_ids, col_ids, limits, scale, *held = ctx.saved_tensors
        found: list[Tensor | None] = [None, None]
        with torch.no_grad():
            if ctx.needs_input_grad[1]:
                found[0] = near * grad.unsqueeze(1)
            if ctx.needs_input_grad[2]:
                exchange = None
                if ctx.shards is not None:
                    exchange = blocks_over_ranks(ctx.strategy, ctx.shards, columns)
                    exchange.post(columns, None, *([] if col_ids is None else [col_ids]), held=tuple(held))
                weighted = rows * grad.unsqueeze(1)
                total = weighted.sum(dim=0)
                for block, own, block_ids in _blocks(exchange, columns, left_out, col_ids):
                    if limits is None:
                        d_block = total - LabelGroups(block_ids, row_ids).sums(weighted)
                        if own is not None:
                            apart = block_ids.index_select(0, own) != row_ids
                            d_block.index_add_(0, own, torch.where(apart.unsqueeze(1), -weighted, 0.0))
                    else:
                        d_block = torch.zeros_like(block)
                        for part, counted in _strips(rows, block, own, row_ids, block_ids, limits, scale):
                            d_block.addmm_(counted.T, weighted[part])
                    found[1] = d_block
                    if exchange is not None:
                        exchange.leave(d_block)
                if exchange is not None:
                    found[1] = exchange.collect()
        grads = (None if g is None else first_order_only(ctx.function, g, rows, columns, grad) for g in found)
        return None, *grads, *[None] * 6


def _blocks(  # type: ignore[no-untyped-def]
    exchange, columns: Tensor, left_out: Tensor | None, col_ids: Tensor | None
):
    """Columns, which of them does not count for each row, and their ids."""
    if exchange is None:
        yield columns, left_out, col_ids
        return
    for distance, _, (block, _, *ids) in exchange.blocks():
        yield block, None if distance else left_out, ids[0] if ids else None


def _strips(
    rows: Tensor,
    columns: Tensor,
    left_out: Tensor | None,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    limits: Tensor,
    scale: Tensor,
) -> Iterator[tuple[slice, Tensor]]:
    """Parts of the rows, and which columns count for them, 1 or 0 in the dtype of the rows."""
    step = rows_at_once(rows, len(columns))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        with without_autocast(rows):  # which would round what is compared with the limits
            logits = (rows[part] @ columns.T).mul_(scale)
        counted = logits <= limits[part, None]
        if row_ids is not None:
            counted &= row_ids[part, None] != col_ids
        if left_out is not None:
            counted.scatter_(1, left_out[part, None], False)
        yield part, counted.to(rows.dtype)
