"""Rows against columns that take no gradient: a queue, or the embeddings of a locked tower."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, first_order_only, is_last, product_side


def queue_softmax(
    function: str,
    rows: Tensor,
    queue: Tensor,
    scale: Tensor,
    *,
    positives: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    dtype: torch.dtype | None = None,
    sides: tuple[Tensor | None, ...] = (None,) * 4,
    strength: float = 0.0,
) -> Tensor:
    """Log-sum-exp over the negatives of every row among the queue.

    S = scale * rows @ queue.T is never stored, and read once: forward makes the mean of the queue under every row's
    softmax, which is all that the gradients in rows and scale need. The queue may change before the backward pass.

    Args:
        function: the name that errors begin with.
        rows: (N, D), checked by the caller.
        queue: (K, D), on the same device; gets no gradient.
        scale: tensor of one number, which may require a gradient and is not waited for.
        positives: (N,) int64, an entry that is no negative of the row, or -1. Default: None, none.
        row_ids: (N,) int64; entries of the same id are no negatives. Default: None.
        col_ids: (K,) int64, given if ``row_ids`` is.
        row_limits: (N,) of the result's dtype; logits above that of their row are no negatives. Default: None.
        dtype: what the products are made in where the device has them in half types. Default: None, that of the rows.
        sides: what rows are made of and their factors, and the queue's, as :func:`unit_side` gives them, where they
            are multiplied without rounding. Default: None of them.
        strength: times the similarity is added to every logit, which then is (scale + strength) times it, as a constant
            for the gradient. Default: 0.

    Returns:
        (N,), float32, or float64 if ``rows`` is; -inf where there is nothing to sum.
    """
    rows, queue, row_ids, col_ids, *exact = distinct(rows, queue, row_ids, col_ids, *sides)
    excluded = (positives, row_ids, col_ids, row_limits)
    lse: Tensor = _QueueSoftmax.apply(
        function, rows, queue, scale, dtype, strength, torch.is_grad_enabled(), *excluded, *exact
    )
    return lse


class _QueueSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, rows, queue, scale, dtype, strength, grad_enabled, *rest
    ):
        *excluded, row_side, row_factors, col_side, col_factors = rest
        dtype = dtype or rows.dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        number = scale.to(wide).reshape(1)
        need_mean = grad_enabled and (ctx.needs_input_grad[1] or ctx.needs_input_grad[3])
        row_side = product_side(rows, dtype) if row_side is None else row_side
        col_side = product_side(queue.detach(), dtype) if col_side is None else col_side
        logit_scale = number if strength == 0.0 else number + strength
        lse, mean = ops.queue_softmax(row_side, col_side, logit_scale, *excluded, need_mean, row_factors, col_factors)
        ctx.save_for_backward(rows, scale, number, mean)
        ctx.function = function
        return lse

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, scale, number, mean = ctx.saved_tensors
        grad_rows = grad_scale = None
        with torch.no_grad():
            if ctx.needs_input_grad[3]:
                along = (mean * rows.to(mean.dtype)).sum(dim=1)
                grad_scale = (along * grad).sum().to(scale.dtype).reshape(scale.shape)
            if ctx.needs_input_grad[1]:
                times = torch.Tensor.mul_ if is_last(grad) else torch.mul
                grad_rows = times(mean, (number * grad).unsqueeze(1)).to(rows.dtype)
        grad_rows, grad_scale = (
            None if g is None else first_order_only(ctx.function, g, rows, scale, grad) for g in (grad_rows, grad_scale)
        )
        return None, grad_rows, None, grad_scale, *[None] * 11
