"""Batches so small that they wait for the calls around their products: loss and gradients in one operator."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, is_last_plain

ROWS, TWO_WAYS, SIGMOID = 0, 1, 2  # kinds of losses
_MOST = 256  # pairs: their logits, 256 KiB in float32, stay in the L2 cache beside both sides


def few(rows: Tensor, columns: Tensor) -> bool:
    """Whether :func:`few_pairs` is the fastest way of these pairs, on the CPU alone.

    A compiled graph takes the operators in tiles, which it may ask for other sizes, too.
    """
    return rows.is_cpu and columns.is_cpu and rows.shape[0] <= _MOST and not torch.compiler.is_compiling()


def few_pairs(
    function: str,
    kind: int,
    share: float,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    bias: float | Tensor = 0.0,
    *,
    normalize: bool,
) -> Tensor:
    """A share of the sum of the losses of N pairs, of which every row and column of the same number is one.

    What :mod:`._cross`, :mod:`._one_way` and :class:`SigLIPLoss` make of tiles: all logits are held at once, and the
    gradients are made in forward, where one is wanted; backward multiplies them by its own.

    Args:
        function: the name that errors begin with.
        kind: ``ROWS``, softmax losses of the rows; ``TWO_WAYS``, of rows and columns; ``SIGMOID``, those of all pairs.
        share: what the sum is multiplied by, above 0.
        rows: (N, D), on the CPU, checked by the caller.
        columns: (N, D).
        scale: factor of the similarities, a number or a tensor of one.
        bias: of kind ``SIGMOID``, added to the logits, a number or a tensor of one. Default: 0.
        normalize: divide rows and columns by their norms first, as F.normalize does.

    Returns:
        A scalar, float32, or float64 if a side is.
    """
    settings = (function, kind, share, normalize, torch.is_grad_enabled())
    loss: Tensor = _FewPairs.apply(settings, rows, columns, scale, bias)
    return loss


class _FewPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, settings, rows, columns, scale, bias):  # type: ignore[no-untyped-def]
        ctx.function, kind, share, normalize, grad_enabled = settings
        known_scale = known_bias = 0.0
        if not isinstance(scale, Tensor):
            scale, known_scale = None, scale
        if not isinstance(bias, Tensor):
            bias, known_bias = None, bias
        _, *needs = ctx.needs_input_grad if grad_enabled else (False,) * 5
        loss, *made = ops.few_pairs(rows, columns, scale, bias, known_scale, known_bias, kind, share, normalize, *needs)
        # What takes no gradient may be changed before backward.
        inputs = [z if need else None for z, need in zip((rows, columns, scale, bias), needs, strict=True)]
        ctx.save_for_backward(*inputs, *made)
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        inputs, made = saved[:4], saved[4:]
        if not is_last_plain(grad):
            with torch.no_grad():
                made = [g * grad for g in made]
        rest = iter(made)
        found = [None if z is None else _like(next(rest), z) for z in inputs]
        if torch.is_grad_enabled():
            given = [z for z in inputs if z is not None]
            found = [None if g is None else first_order_only(ctx.function, g, *given, grad) for g in found]
        return None, *found


def _like(grad: Tensor, z: Tensor) -> Tensor:
    """A gradient of ``z``, in its dtype and shape."""
    grad = grad if grad.dtype == z.dtype else grad.to(z.dtype)
    return grad if grad.dim() == z.dim() else grad.reshape(z.shape)
