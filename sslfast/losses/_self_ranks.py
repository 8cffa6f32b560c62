"""Rows against themselves over several ranks: what NT-Xent, the decoupled and the supervised loss share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, unit_rows, unit_rows_backward
from sslfast.distributed import exchange_shards
from sslfast.losses._blocks import blocks_over_ranks


def self_softmax_over_ranks(
    function: str, rows: Tensor, scale: float, positives: Tensor, strategy: str
) -> tuple[Tensor, Tensor]:
    """What ``self_softmax`` finds among the rows of all ranks, for this rank's rows.

    A rank makes half of the similarities of its rows with themselves, and the W / 2 blocks of its rows with those of
    the ranks ahead that :mod:`sslfast.losses._blocks` gives it, each of which serves its columns too: an equal share of
    half the matrix. The gradients are those of the sum over all ranks of whatever they make of the results. Forward and
    backward communicate: all ranks have to call both.

    Args:
        function: the name that errors begin with.
        rows: (M_rank, D), checked by the caller.
        scale: factor of the similarities.
        positives: (M_rank,) int64, another row of this rank, or -1.
        strategy: ``"all_gather"`` or ``"ring"``.

    Returns:
        ``(lse, positive_logits)``, both (M_rank,).

    Raises:
        ValueError: if D is not the same on every rank.
    """
    results: tuple[Tensor, Tensor] = _SelfSoftmaxRanks.apply(function, rows, scale, positives, strategy)
    return results


class _SelfSoftmaxRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, scale, positives, strategy):  # type: ignore[no-untyped-def]
        shards = exchange_shards(function, rows)
        unit, factor = unit_rows(rows)
        # On a GPU the tensor cores multiply in the input's dtype; the CPU multiplies in the dtype of accumulation.
        side = unit.to(rows.dtype) if rows.is_cuda else unit
        number = unit.new_full((1,), scale)
        exchange = blocks_over_ranks(strategy, shards, unit[:, 0], lse=True, symmetric=True)
        exchange.post(side)
        for distance, some, columns in exchange.blocks():
            if distance == 0:
                lse, positive_logits, _ = ops.similarity_softmax_forward(side, positives, scale, 1.0, 0)
                continue
            nobody = torch.full_like(positives[some], -1)
            row_lse, col_lse, *_ = ops.cross_softmax_forward(
                side[some], *columns, nobody, number, None, None, None, 1.0, True, 0
            )
            lse[some] = torch.logaddexp(lse[some], row_lse)
            exchange.leave(col_lse)
        lse = exchange.collect(lse)
        ctx.save_for_backward(rows, side, factor, positives, number, lse, exchange.columns)
        ctx.function, ctx.scale, ctx.strategy, ctx.shards = function, scale, strategy, shards
        return lse, positive_logits

    @staticmethod
    def backward(ctx, grad_lse, grad_positive):  # type: ignore[no-untyped-def]
        rows, side, factor, positives, number, lse, held = ctx.saved_tensors
        with torch.no_grad():
            grads = (grad_lse.contiguous(), grad_positive.contiguous())
            exchange = blocks_over_ranks(ctx.strategy, ctx.shards, lse[:, None].expand(side.shape), symmetric=True)
            exchange.post(side, torch.stack([lse, grads[0]], dim=1), held=held)
            for distance, some, columns in exchange.blocks():
                if distance == 0:
                    grad = ops.similarity_softmax_backward(side, positives, lse, *grads, lse[:0], ctx.scale, 1.0)
                    continue
                block, (block_lse, block_grad) = columns[0], columns[1].T.contiguous()
                nobody = torch.full_like(positives[some], -1)
                d_rows, d_columns = ops.cross_softmax_backward(
                    side[some],
                    block,
                    nobody,
                    lse[some],
                    block_lse,
                    grads[0][some],
                    block_grad,
                    torch.zeros_like(lse[some]),
                    number,
                    None,
                    None,
                    None,
                    number[:0],
                    True,
                    True,
                )
                grad[some].add_(d_rows, alpha=ctx.scale)
                exchange.leave(d_columns.mul_(ctx.scale))
            grad = exchange.collect(grad)
            grad = unit_rows_backward(grad, side, factor).to(rows.dtype)
        return None, first_order_only(ctx.function, grad, rows, grad_lse, grad_positive), None, None, None
