"""Rows against themselves, the part that the decoupled loss and InfoNCE share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, product_side, side_gradient, unit_side
from sslfast.losses._kept import half_of_logits, kept_logits


def self_softmax(
    function: str,
    rows: Tensor,
    scale: float,
    positives: Tensor,
    *,
    normalize: bool = True,
    max_similarity: float = 1.0,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    side: tuple[Tensor | None, ...] = (None, None),
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the negatives of every row among the rows, and the logit of its positive.

    With ``unit = F.normalize(rows, dim=1)``, or the rows themselves, S = scale * unit @ unit.T is never stored, and
    half of it is made. The negatives of a row are all others but its positive. Gradients are exact.

    Args:
        function: the name that errors begin with.
        rows: (M, D), checked by the caller.
        scale: factor of the similarities.
        positives: (M,) int64, another row or -1.
        normalize: divide rows by their norms first. Default: True.
        max_similarity: what no similarity exceeds in absolute value. Default: 1.
        dtype: what the products are made in where the device has them in half types. Default: None, that of the rows.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :mod:`._kept`.
        side: without ``normalize``, what rows are made of and their factors, as :func:`unit_side` gives them, where
            they are multiplied without rounding. Default: None of them.

    Returns:
        ``(lse, positive_logits)``, both (M,), float32, or float64 if ``rows`` is; -inf where there is nothing to sum,
        or no positive.
    """
    results: tuple[Tensor, Tensor] = _SelfSoftmax.apply(
        function, rows, scale, positives, normalize, max_similarity, dtype or rows.dtype, memory_budget, *side
    )
    return results


class _SelfSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, rows, scale, positives, normalize, max_similarity, dtype, budget, side, factors
    ):
        norm = None
        if normalize:
            side, norm, factors = unit_side(rows, dtype)
        elif side is None:
            side = product_side(rows, dtype)
        keep = kept_logits(budget if ctx.needs_input_grad[1] else 0, half_of_logits(len(side)), side.dtype, side)
        lse, positive_logits, kept = ops.similarity_softmax_forward(
            side, positives, scale, max_similarity, keep.numbers, factors, keep.packed
        )
        ctx.save_for_backward(rows, side, norm, factors, positives, lse, kept)
        ctx.function, ctx.scale, ctx.max_similarity = function, scale, max_similarity
        return lse, positive_logits

    @staticmethod
    def backward(ctx, grad_lse, grad_positive):  # type: ignore[no-untyped-def]
        rows, side, norm, factors, positives, lse, kept = ctx.saved_tensors
        with torch.no_grad():
            grads = (grad_lse.contiguous(), grad_positive.contiguous())
            grad = ops.similarity_softmax_backward(
                side, positives, lse, *grads, kept, ctx.scale, ctx.max_similarity, factors
            )
            grad = grad.to(rows.dtype) if norm is None else side_gradient(grad, side, norm, factors, rows.dtype)
        return None, first_order_only(ctx.function, grad, rows, grad_lse, grad_positive), *[None] * 8
