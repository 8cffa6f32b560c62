"""Cross-entropy of rows against classes by their cosine, differentiated in forward."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, is_last_plain, unit_rows, unit_rows_backward


def cosine_loss(
    function: str, rows: Tensor, classes: Tensor, targets: Tensor, at: Tensor, full: bool, temperature: float
) -> Tensor:
    """The sum over ``at`` of ``log sum_c exp(s_c) - s_y``, s_c = cos(row, class c) / temperature.

    Args:
        function: the name that errors begin with.
        rows: (T, D), of which those at flat positions ``at`` are read.
        classes: (C, D).
        targets: (R,) int64, -1 for none.
        at: (R,) int64, -1 for none, the others each once; what is neither has a target that is no class.
        full: whether there is no -1, as :func:`is_full` says.
        temperature: positive.

    Returns:
        Scalar, float32, or float64 if a side is.
    """
    total: Tensor = _CosineLoss.apply(function, rows, classes, targets, at, full, temperature, torch.is_grad_enabled())
    return total


def is_full(at: Tensor) -> bool:
    """Whether positions are known to be rows, all of them, without waiting for a GPU."""
    return at.is_cpu and not torch.compiler.is_compiling() and (not len(at) or int(at.min()) >= 0)


class _CosineLoss(torch.autograd.Function):
    """Of the rows that count alone a gradient is kept, that of the unit rows led back through their norms."""

    @staticmethod
    def forward(ctx, function, rows, classes, targets, at, full, temperature, grad_enabled):  # type: ignore[no-untyped-def]
        needs = tuple(grad_enabled and needed for needed in ctx.needs_input_grad[1:3])
        wide = torch.float64 if torch.float64 in (rows.dtype, classes.dtype) else torch.float32
        if full:
            sides = [rows.detach().index_select(0, at), classes.detach()]
        else:  # NaN in the row that stands in for none goes nowhere
            there = at.clamp(0, len(rows) - 1) if len(at) else at
            picked = rows.detach().index_select(0, there).masked_fill((at < 0).unsqueeze(1), 0.0)
            sides = [picked, classes.detach()]
        if wide == torch.float64:
            sides = [side.double() for side in sides]
        (unit, inverse), (unit_class, inverse_class) = (unit_rows(side) for side in sides)
        # Without an index a GPU is waited for, to learn which rows have a target.
        index = None if full else torch.arange(len(at), device=at.device)
        nll, _, _, _, _, d_rows, d_classes, _ = ops.linear_cross_entropy(
            unit, unit_class / temperature, targets, index, None, None, None, None, 0.0, 0.0, 0.0, *needs, False
        )
        if needs[0]:
            unit_rows_backward(d_rows, unit, inverse)
        if needs[1]:
            unit_rows_backward(d_classes.div_(temperature), unit_class, inverse_class)
        kept = [g if need else None for g, need in zip((d_rows, d_classes), needs, strict=True)]
        ctx.save_for_backward(rows, classes, at, *kept)
        ctx.function, ctx.full = function, full
        return nll.sum()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, classes, at, d_rows, d_classes = ctx.saved_tensors
        with torch.no_grad():
            as_it_is = is_last_plain(grad)
            if d_rows is not None:
                some = (d_rows if as_it_is else d_rows * grad).to(rows.dtype)
                if not ctx.full:  # what is none adds zeros, spread over the rows: no two wait for each other
                    size = max(len(rows), 1)
                    anywhere = torch.arange(len(at), device=at.device) % size
                    at = torch.where((at < 0) | (at >= size), anywhere, at)
                d_rows = torch.zeros_like(rows, memory_format=torch.contiguous_format).index_add_(0, at, some)
            if d_classes is not None:
                d_classes = (d_classes if as_it_is else d_classes * grad).to(classes.dtype)
        found = [
            None if g is None else first_order_only(ctx.function, g, rows, classes, grad) for g in (d_rows, d_classes)
        ]
        return None, *found, *[None] * 5
