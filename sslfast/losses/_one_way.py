"""Rows that have to pick their positive among columns with a gradient: a sum of losses, differentiated in forward."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, first_order_only, is_last, product_side, scale_gradient

_STRIP = 2**23  # logits of 1,024 rows, 32 MiB in float32: they stay in the L2 cache of an H100
_WIDE = 768  # from here on, by estimate, logits of half types are read from memory faster than they are made again


def in_one_pass(rows: Tensor, columns: Tensor, dtype: torch.dtype) -> bool:
    """Whether :func:`one_way_softmax` is the fastest way of rows against columns on their device.

    Always on the CPU. A GPU holds the logits of 1,024 rows (256 in float32): where these leave its cache, it has to be
    slow at making them again.
    """
    if not rows.is_cuda or dtype == torch.float32 or rows.shape[1] >= _WIDE:
        return True
    return min(len(rows), 1024) * len(columns) <= _STRIP


def one_way_softmax(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    positives: Tensor,
    *,
    weights: Tensor | None = None,
    known_lse: Tensor | None = None,
    known_positive: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    dtype: torch.dtype | None = None,
    sides: tuple[Tensor | None, ...] = (None,) * 4,
    strength: float = 0.0,
) -> Tensor:
    """The weighted sum of the losses ``softplus(lse - positive)`` of all rows.

    S = scale * rows @ columns.T is made once, a strip of rows with all columns at a time: their softmax is known whole,
    and the weights of both gradients follow in forward: 6 N M D FLOPs, or 4 if one side needs none. Backward multiplies
    by the gradient of the sum. Small losses keep their relative precision.

    Args:
        function: the name that errors begin with.
        rows: (N, D), checked by the caller, in the dtype of accumulation.
        columns: (M, D), on the same device.
        scale: tensor of one number, which may require a gradient and is not waited for.
        positives: (N,) int64, a column or -1, which is no negative.
        weights: (N,) of the dtype of accumulation, without a gradient. Default: None, 1.
        known_lse: (N,), log-sum-exps of further negatives. Default: None.
        known_positive: (N,), logits of the positives. Default: None, those of ``positives``.
        row_ids: (N,) int64; entries of the same id are no negatives. Default: None.
        col_ids: (M,) int64, given if ``row_ids`` is.
        row_limits: (N,) of the dtype of accumulation; logits above that of their row are no negatives. Default: None.
        dtype: what the products are made in where the device has them in half types. Default: None, that of the rows.
        sides: what rows are made of and their factors, and the columns', as :func:`unit_side` gives them, where they
            are multiplied without rounding. Default: None of them.
        strength: times the similarity is added to the logit of every negative, as a constant for the gradient. Then
            every row has a positive, or a known one. Default: 0.

    Returns:
        A scalar, float32, or float64 if ``rows`` is.
    """
    rows, columns, row_ids, col_ids, *exact = distinct(rows, columns, row_ids, col_ids, *sides)
    excluded = (positives, row_ids, col_ids, row_limits)
    inputs = (rows, columns, scale, known_lse, known_positive)
    total: Tensor = _OneWaySoftmax.apply(
        function, *inputs, weights, dtype, strength, torch.is_grad_enabled(), *excluded, *exact
    )
    return total


class _OneWaySoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, rows, columns, scale, known_lse, known_positive, weights, dtype, strength, grad_enabled, *rest
    ):
        positives, row_ids, col_ids, row_limits, row_side, row_factors, col_side, col_factors = rest
        dtype = dtype or rows.dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        number = scale.detach().to(wide).reshape(1)
        need_rows, need_columns, need_scale = (grad_enabled and needed for needed in ctx.needs_input_grad[1:4])
        row_side = product_side(rows, dtype) if row_side is None else row_side
        col_side = product_side(columns, dtype) if col_side is None else col_side
        known = [None if z is None else z.detach().contiguous() for z in (known_lse, known_positive)]
        chosen = None
        if strength > 0.0 and known_positive is None:  # the logits of the positives have another scale
            chosen = columns.index_select(0, positives)
            known[1] = number * (rows * chosen).sum(dim=1)
        losses, lse, shares, d_rows, d_columns = ops.one_way_softmax(
            row_side,
            col_side,
            positives,
            number if strength == 0.0 else number + strength,
            row_ids,
            col_ids,
            row_limits,
            *known,
            weights,
            need_rows or need_scale,
            need_columns,
            row_factors,
            col_factors,
        )
        if chosen is not None:
            if need_rows or need_scale:
                d_rows.addcmul_(chosen, shares.unsqueeze(1), value=-1)
            if need_columns:
                # A column may be the positive of many rows: sorted on a GPU, where index_add_ would take atomics.
                d_columns.index_put_((positives,), rows * shares.neg().unsqueeze(1), accumulate=True)
        # d total / d scale = sum_ij G_ij <q_i, k_j>: the product with the columns has been taken.
        d_scale = scale_gradient(d_rows, row_side, row_factors) if need_scale else None
        if not need_rows:
            d_rows = None
        ctx.save_for_backward(
            rows, columns, scale, known_lse, known_positive, number, lse, shares, d_rows, d_columns, d_scale
        )
        ctx.function = function
        return (losses if weights is None else losses * weights).sum()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        *inputs, number, lse, shares, d_rows, d_columns, d_scale = ctx.saved_tensors
        rows, columns, scale, known_lse, _ = inputs
        need_rows, need_columns, need_scale, need_lse, need_positive = ctx.needs_input_grad[1:6]
        with torch.no_grad():
            factor = number * grad
            times = torch.Tensor.mul_ if is_last(grad) else torch.mul
            found = [
                times(d_rows, factor).to(rows.dtype) if need_rows else None,
                times(d_columns, factor).to(columns.dtype) if need_columns else None,
                (d_scale * grad).to(scale.dtype).reshape(scale.shape) if need_scale else None,
                # Where there is no negative at all the share is 0, and so is the gradient.
                shares * grad * torch.exp(known_lse - lse.clamp_min(torch.finfo(lse.dtype).min)) if need_lse else None,
                -shares * grad if need_positive else None,
            ]
        given = [z for z in inputs if z is not None]
        grads = (None if g is None else first_order_only(ctx.function, g, *given, grad) for g in found)
        return None, *grads, *[None] * 12
