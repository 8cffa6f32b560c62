"""Rows against columns over several ranks: what CLIP and InfoNCE share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import pair_sides, scale_gradient, unit_of
from sslfast._verdict import Options
from sslfast.distributed import exchange_shards
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._cross import input_gradients, once, split_saved


def cross_softmax_over_ranks(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    positives: Tensor,
    *,
    two_way: bool,
    normalize: bool,
    strategy: str,
    max_similarity: float = math.inf,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    dtype: torch.dtype | None = None,
    sides: tuple[Tensor | None, ...] = (None,) * 4,
    strength: float = 0.0,
    options: Options,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``cross_softmax`` finds for the rows and columns of all ranks, for this rank's rows and columns.

    A rank takes its rows against all columns; the columns' log-sum-exps are merged over the ranks, and so are their
    gradients. These are those of the sum over all ranks of whatever they make of the results; that of ``scale``, which
    every rank has, is this rank's part: give :func:`~sslfast.distributed.mean_gradient_over_ranks` of it. Forward and
    backward communicate: all ranks have to call both, and to agree on what requires a gradient.

    Args:
        function: the name that errors begin with.
        rows: (N_rank, D), checked by the caller.
        columns: (M_rank, D), on the same device.
        scale: factor of the similarities; a tensor of one number may require a gradient and is not waited for.
        positives: (N_rank,) int64, a column of this rank or -1, without repetition if ``two_way``.
        two_way: whether the columns' log-sum-exps are wanted.
        normalize: divide rows and columns by their norms first, as F.normalize does.
        strategy: ``"all_gather"`` or ``"ring"``.
        max_similarity, row_ids, col_ids, row_limits, dtype, sides, strength: as in ``cross_softmax``, ids and sides of
            this rank's columns; all ranks give them, or none.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it.

    Returns:
        ``(row_lse, col_lse, positive_logits)``, (N_rank,), (M_rank,) or (0,), and (N_rank,).

    Raises:
        ValueError: if D, the dtype that columns travel in or an option is not the same on every rank.
    """
    if not isinstance(scale, Tensor):
        scale = rows.new_full((), scale, dtype=torch.float64)
    results: tuple[Tensor, Tensor, Tensor] = _CrossSoftmaxRanks.apply(
        function,
        rows,
        columns,
        scale,
        positives,
        two_way,
        normalize,
        strategy,
        options,
        max_similarity,
        dtype,
        strength,
        row_ids,
        col_ids,
        row_limits,
        *sides,
    )
    return results


class _CrossSoftmaxRanks(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        function,
        rows,
        columns,
        scale,
        positives,
        two_way,
        normalize,
        strategy,
        options,
        max_similarity,
        dtype,
        strength,
        row_ids,
        col_ids,
        row_limits,
        *exact,
    ):
        dtype = dtype or torch.promote_types(rows.dtype, columns.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        sides, norms, factors = pair_sides(rows, columns, dtype, normalize, exact)
        (row_side, col_side), (row_factors, col_factors) = sides, factors
        shards = exchange_shards(function, col_side, options)
        number = scale.detach().to(wide).reshape(1)
        logit_scale = number if strength == 0.0 else number + strength
        bound = 1.0 if normalize else max_similarity
        ids = [] if col_ids is None else [col_ids]
        results = number.expand(len(columns)) if two_way else None
        exchange = blocks_over_ranks(strategy, shards, results, lse=True)
        exchange.post(col_side, col_factors, *ids)
        nobody = torch.full_like(positives, -1)
        for distance, _, (block, block_factors, *block_ids) in exchange.blocks():
            picks = nobody if distance else positives
            excluded = (row_ids, block_ids[0] if block_ids else None, row_limits)
            found, block_lse, logits, _ = ops.cross_softmax_forward(
                row_side, block, picks, logit_scale, *excluded, bound, two_way, 0, row_factors, block_factors
            )
            if distance == 0:
                row_lse, positive_logits = found, logits
            else:
                row_lse = torch.logaddexp(row_lse, found)
            if two_way:
                exchange.leave(block_lse)
        if strength != 0.0:
            positive_logits = positive_logits * (number / logit_scale)
        col_lse = exchange.collect() if two_way else row_lse[:0]
        vectors = (positives, number, logit_scale, row_lse, col_lse, *exchange.held, row_ids, col_ids, row_limits)
        ctx.save_for_backward(rows, columns, scale, *sides, *norms, *factors, *vectors)
        ctx.function, ctx.strategy, ctx.shards = function, strategy, shards
        return row_lse, col_lse, positive_logits

    @staticmethod
    def backward(ctx, grad_row, grad_col, grad_positive):  # type: ignore[no-untyped-def]
        inputs, sides, norms, factors, vectors = split_saved(ctx.saved_tensors)
        positives, number, logit_scale, row_lse, col_lse, *held, row_ids, col_ids, row_limits = vectors
        _, need_rows, need_columns, need_scale, *_ = ctx.needs_input_grad
        with torch.no_grad():
            grads = [g.contiguous() for g in (grad_row, grad_col, grad_positive)]
            d_rows: Tensor | None = None
            d_columns: Tensor | None = None
            results = number.expand(sides[1].shape) if need_columns else None
            exchange = blocks_over_ranks(ctx.strategy, ctx.shards, results)
            two_way = len(col_lse) > 0
            of_columns = [] if col_ids is None else [col_ids]
            of_columns += [torch.stack([col_lse, grads[1]], dim=1)] if two_way else []
            exchange.post(sides[1], factors[1], *of_columns, held=tuple(held))
            nobody = torch.full_like(positives, -1)
            for distance, _, (block, block_factors, *of_block) in exchange.blocks():
                block_lse, block_grad = of_block[-1].T.contiguous() if two_way else (col_lse, col_lse)
                block_ids = None if col_ids is None else of_block[0]
                found_rows, found_columns = ops.cross_softmax_backward(
                    sides[0],
                    block,
                    nobody if distance else positives,
                    row_lse,
                    block_lse,
                    grads[0],
                    block_grad,
                    grads[2],
                    logit_scale,
                    row_ids,
                    block_ids,
                    row_limits,
                    number[:0],
                    need_rows or need_scale,
                    need_columns,
                    factors[0],
                    block_factors,
                )
                d_rows = found_rows if d_rows is None else d_rows.add_(found_rows)
                if need_columns:
                    exchange.leave(found_columns)
            if need_columns:
                d_columns = exchange.collect()
            grad_scale = None
            if need_scale and d_rows is not None:
                # d loss / d scale = sum_ij G_ij <q_i, k_j>, where the product with the columns has been taken.
                grad_scale = scale_gradient(d_rows, sides[0], factors[0])
            units = [None if n is None else unit_of(*side) for n, *side in zip(norms, sides, factors, strict=True)]
            needs = (need_rows, need_columns)
            found = (*input_gradients((d_rows, d_columns), number, units, norms, inputs[:2], needs), grad_scale)
        return None, *once(ctx.function, found, inputs, grad_row, grad_col, grad_positive), *[None] * 15
