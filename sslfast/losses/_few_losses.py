"""The losses of few pairs, one by one: two calls of the operator that makes their sum, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only
from sslfast.losses._few_pairs import NO_OPTIONS, Options
from sslfast.losses._in_one_call import tensor_or_number


def each_of_few_pairs(
    function: str,
    kind: int,
    share: float,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    *,
    normalize: bool,
    options: Options = NO_OPTIONS,
) -> Tensor:
    """A share of each of the softmax losses that :func:`~sslfast.losses._few_pairs.few_pairs` adds up.

    What multiplies a loss is known in backward only, which makes all logits again, the gradients with them: of few
    pairs that is less than the calls around tiles. A side without a gradient may change before that.

    Args:
        function: the name that errors begin with.
        kind: ``ROWS`` or ``TWO_WAYS``, of which a loss is the sum of its row's and its column's.
        share: what every loss is multiplied by, above 0.
        rows: (N, D), on the CPU, checked by the caller.
        columns: (N, D), or (M, D) as there.
        scale: factor of the similarities, a number or a tensor of one.
        normalize: divide rows and columns by their norms first, as F.normalize does.
        options: of the losses, without smoothing. Default: none.

    Returns:
        (N,), float32, or float64 if a side is.
    """
    given, known = tensor_or_number(scale)
    settings = (function, known, kind, share, normalize, torch.is_grad_enabled())
    losses: Tensor = _EachLoss.apply(settings, options, rows, columns, given)
    return losses


class _EachLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, settings, options, rows, columns, scale):  # type: ignore[no-untyped-def]
        function, known, *rest, grad_enabled = settings
        (losses,) = ops.few_pairs(rows, columns, scale, None, known, 0.0, *rest, *[False] * 4, *options, True)
        needs = ctx.needs_input_grad[2:]
        if grad_enabled and any(needs):
            sides = (z if need else z.clone() for z, need in zip((rows, columns), needs, strict=False))
            ctx.save_for_backward(*sides, scale, *options[3:])
            ctx.function, ctx.constants, ctx.numbers = function, (known, *rest), options[1:3]
        return losses

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, columns, scale, weights, *indices = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        with torch.no_grad():
            factors = (grad if weights is None else grad * weights).contiguous()
            made = ops.few_pairs_backward(rows, columns, scale, *ctx.constants, *needs, *ctx.numbers, factors, *indices)
        inputs = (rows, columns, scale)
        given = [z for z, need in zip(inputs, needs, strict=True) if need]
        grads = (
            first_order_only(ctx.function, g.to(z.dtype).reshape(z.shape), *given, grad) if need else None
            for g, z, need in zip(made, inputs, needs, strict=True)
        )
        return None, None, *grads
