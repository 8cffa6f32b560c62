"""Rows against columns that have limits, as a margin gives them: all that a loss asks of the logits, in one pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, pair_sides, scale_gradient, scaled_
from sslfast.losses._cross import once
from sslfast.losses._kept import kept_logits


class Limited(NamedTuple):
    """What the logits that count come to.

    Attributes:
        row_lse: (N,), of every row.
        col_lse: (M,), of every column, or (0,), as all that is of columns.
        positives: (N,) logits of the positives.
        row_totals: (N,), the sums of the logits.
        col_totals: (M,).
        row_counts: (N,) int64, how many they are.
        col_counts: (M,) int64.
    """

    row_lse: Tensor
    col_lse: Tensor
    positives: Tensor
    row_totals: Tensor
    col_totals: Tensor
    row_counts: Tensor
    col_counts: Tensor


def takes_one_pass(z: Tensor) -> bool:
    """Whether the device of rows and columns has :func:`limited_softmax`.

    A GPU makes the logits once for each direction, and again for what smoothing asks.
    """
    return z.is_cpu


def limited_softmax(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    positives: Tensor,
    row_limits: Tensor,
    col_limits: Tensor | None,
    *,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    sides: tuple[Tensor | None, ...] = (None,) * 4,
    strength: float = 0.0,
) -> Limited:
    """Log-sum-exps over the negatives up to the limit of every row and of every column, and what smoothing asks for.

    What :func:`~sslfast.losses._cross.cross_softmax` with ``row_limits`` makes of the logits one way, and
    :func:`~sslfast.losses._counted.counted_sums` of as many more. The gradients of all that is no count are exact in
    rows, columns and scale; the limits are constants.

    Args:
        function: the name that errors begin with.
        rows: (N, D), on the CPU, checked by the caller.
        columns: (M, D).
        scale: factor of the similarities, a tensor of one number.
        positives: (N,) int64, a column or -1, without repetition if there are ``col_limits``.
        row_limits: (N,) in the dtype of the results; logits above that of their row do not count for it.
        col_limits: (M,), for columns; None where the rows alone are wanted.
        row_ids: (N,) int64; entries whose row and column have the same id count for neither. Default: None.
        col_ids: (M,) int64, given if ``row_ids`` is.
        dtype: what the products are made in. Default: None, the inputs'.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :mod:`._kept`.
        sides: what rows are made of and their factors, and the columns', as :func:`unit_side` gives them, where they
            are multiplied without rounding. Default: None of them.
        strength: times the similarity is added to the logit of every negative, as a constant for the gradient.
            Default: 0.

    Returns:
        float32, or float64 if an input is.
    """
    # +inf marks what counts for neither side: a margin that is infinite times the scale leaves out no more.
    most = torch.finfo(row_limits.dtype).max
    row_limits, col_limits = row_limits.clamp_max(most), None if col_limits is None else col_limits.clamp_max(most)
    rows, columns, row_ids, col_ids, row_limits, col_limits, *exact = distinct(
        rows, columns, row_ids, col_ids, row_limits, col_limits, *sides
    )
    excluded = (row_ids, col_ids, row_limits, col_limits)
    settings = (dtype, memory_budget, strength)
    results = _LimitedSoftmax.apply(function, rows, columns, scale, positives, settings, *excluded, *exact)
    return Limited(*results)


class _LimitedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, columns, scale, positives, settings, *others):  # type: ignore[no-untyped-def]
        excluded, exact = others[:4], others[4:]
        dtype, budget, strength = settings
        dtype = dtype or torch.promote_types(rows.dtype, columns.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        sides, _, factors = pair_sides(rows, columns, dtype, False, exact)
        number = scale.detach().to(wide).reshape(1)
        needed = any(ctx.needs_input_grad)
        # Packed logits could fall on the other side of a limit.
        keep = kept_logits(budget if needed else 0, len(rows) * len(columns), sides[0].dtype, *sides, packs=False)
        logit_scale = number if strength == 0.0 else number + strength
        row_lse, col_lse, positive_logits, kept, *rest = ops.limited_softmax_forward(
            *sides, positives, logit_scale, *excluded, keep.numbers, *factors
        )
        if strength != 0.0:
            positive_logits = positive_logits * (number / logit_scale)
        vectors = (positives, number, logit_scale, row_lse, col_lse, kept)
        ctx.save_for_backward(rows, columns, scale, *sides, *factors, *excluded, *vectors)
        ctx.function = function
        ctx.mark_non_differentiable(*rest[2:])
        return row_lse, col_lse, positive_logits, *rest

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        *inputs, row_side, col_side, row_factors, col_factors = ctx.saved_tensors[:7]
        *excluded, positives, number, logit_scale, row_lse, col_lse, kept = ctx.saved_tensors[7:]
        _, need_rows, need_columns, need_scale, *_ = ctx.needs_input_grad
        with torch.no_grad():
            d_rows, d_columns = ops.limited_softmax_backward(
                row_side,
                col_side,
                positives,
                row_lse,
                col_lse,
                *(grad.contiguous() for grad in grads[:5]),
                logit_scale,
                *excluded,
                kept,
                need_rows or need_scale,
                need_columns,
                row_factors,
                col_factors,
            )
            # d loss / d scale = sum_ij G_ij <q_i, k_j>, where the product with the columns has been taken.
            d_scale = scale_gradient(d_rows, row_side, row_factors) if need_scale else None
            found = [
                scaled_(d_rows, number, inputs[0].dtype) if need_rows else None,
                scaled_(d_columns, number, inputs[1].dtype) if need_columns else None,
                d_scale,
            ]
        return None, *once(ctx.function, found, inputs, *grads[:5]), *[None] * 10
