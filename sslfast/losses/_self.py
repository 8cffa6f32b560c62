"""Rows against themselves, the part that the decoupled and the supervised contrastive losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, unit_of, unit_rows_backward, unit_side
from sslfast.losses._kept import half_of_logits, kept_logits


def self_softmax(function: str, rows: Tensor, scale: float, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the negatives of every row among the rows, and the logit of its positive.

    With ``unit = F.normalize(rows, dim=1)``, S = scale * unit @ unit.T is never stored, and half of it is made. The
    negatives of a row are all others but its positive. Gradients are exact.

    Args:
        function: the name that errors begin with.
        rows: (M, D), checked by the caller.
        scale: factor of the similarities.
        positives: (M,) int64, another row or -1.

    Returns:
        ``(lse, positive_logits)``, both (M,), float32, or float64 if ``rows`` is; -inf where there is nothing to sum,
        or no positive.
    """
    results: tuple[Tensor, Tensor] = _SelfSoftmax.apply(function, rows, scale, positives)
    return results


class _SelfSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, scale, positives):  # type: ignore[no-untyped-def]
        side, norm, factors = unit_side(rows, rows.dtype)
        keep = kept_logits(None, half_of_logits(len(side)), norm.element_size(), side) if ctx.needs_input_grad[1] else 0
        lse, positive_logits, kept = ops.similarity_softmax_forward(side, positives, scale, 1.0, keep, factors)
        ctx.save_for_backward(rows, side, norm, factors, positives, lse, kept)
        ctx.function, ctx.scale = function, scale
        return lse, positive_logits

    @staticmethod
    def backward(ctx, grad_lse, grad_positive):  # type: ignore[no-untyped-def]
        rows, side, norm, factors, positives, lse, kept = ctx.saved_tensors
        with torch.no_grad():
            grads = (grad_lse.contiguous(), grad_positive.contiguous())
            grad = ops.similarity_softmax_backward(side, positives, lse, *grads, kept, ctx.scale, 1.0, factors)
            grad = unit_rows_backward(grad, unit_of(side, factors), norm).to(rows.dtype)
        return None, first_order_only(ctx.function, grad, rows, grad_lse, grad_positive), None, None
