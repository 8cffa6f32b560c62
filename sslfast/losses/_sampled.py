"""Cross-entropy against named rows of a table, differentiated in forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sslfast import ops
from sslfast._arguments import in_range
from sslfast._autograd import distinct, first_order_only
from sslfast.losses._classes import mean_of

SAME_ROW, SAME_CODES, SAME_VALUES = range(3)  # which candidates are left out: csrc/include/sslfast/sampled_softmax.h


@dataclass(frozen=True)
class Sampled:
    """What a loss has beside the tensors that it is differentiated in.

    Attributes:
        index: (R,) int64, the row of each loss, no row twice, -1 for none.
        positives: (R,) int64, the right row of the table, -1 for none.
        candidates: int32, the other rows: (R, K), or of all rows (N, K).
        corrections: (M,), what the logits of candidates are lessened by, beside ``shift``.
        codes: (M, G) int64, with ``SAME_CODES``.
    """

    index: Tensor
    positives: Tensor
    candidates: Tensor
    corrections: Tensor | None = None
    codes: Tensor | None = None
    scale: float = 1.0
    shift: float = 0.0
    cosine: bool = False
    twins: int = SAME_ROW
    of_rows: bool = False


def sampled_loss(
    function: str,
    rows: Tensor,
    table: Tensor,
    offsets: Tensor | None,
    sampled: Sampled,
    reduction: str,
    num_items: Tensor | float | None = None,
) -> Tensor:
    """Losses of rows (N, D) against a table (M, D), with offsets (M,) of the logits; (R,) where nothing is reduced.

    A mean is divided by ``num_items``, or by the number of losses where they are None.
    """
    made = _RowLosses if reduction == "none" else _TotalLoss
    s = sampled
    rows, table, offsets, *tensors = distinct(
        rows, table, offsets, s.index, s.positives, s.candidates, s.corrections, s.codes
    )
    options = (s.scale, s.shift, s.cosine, s.twins, s.of_rows)
    loss: Tensor = made.apply(function, rows, table, offsets, *tensors, options, torch.is_grad_enabled())
    if reduction == "mean":
        loss = mean_of(loss, ((s.index != -1) & (s.positives != -1)).sum() if num_items is None else num_items)
    return loss


def candidate_rows(function: str, name: str, candidates: Tensor, table_rows: int) -> Tensor:
    """Numbers of rows of a table, (..., K) integers, as the kernels read them: int32 (-1, K), contiguous.

    Raises:
        ValueError: if one names no row, on the CPU; a GPU is not waited for, and the loss is NaN there.
    """
    in_range(function, name, candidates, 0, table_rows - 1)
    if candidates.dtype != torch.int32:
        candidates = candidates.clamp(-1, table_rows).to(torch.int32) if table_rows else candidates.to(torch.int32)
    return candidates.reshape(candidates.shape[:-1].numel(), candidates.shape[-1]).contiguous()


def _run(rows: Tensor, table: Tensor, offsets: Tensor | None, rest, options, weights, needs):  # type: ignore[no-untyped-def]
    index, positives, candidates, corrections, codes = rest
    dtype = torch.promote_types(rows.dtype, table.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sides = [x.detach().to(dtype) for x in (rows, table)]
    sides = [x if x.stride(1) == 1 else x.contiguous() for x in sides]
    offsets, corrections, weights = (
        None if x is None else x.detach().to(wide).contiguous() for x in (offsets, corrections, weights)
    )
    numbers = (offsets, corrections, codes, weights)
    return ops.sampled_softmax(*sides, index, positives, candidates, *numbers, *options, *needs)


def _one_or_nan(losses: Tensor, grad: Tensor) -> Tensor | None:
    """What gradients are multiplied by: NaN where a loss is that counts, lest a scaler of gradients take the step.

    The kernels leave the gradient of a loss that names no row at 0. None on the CPU, where such a loss has raised.
    """
    if losses.is_cpu and not torch.compiler.is_compiling():
        return None
    return torch.where((losses.isnan() & (grad != 0)).any(), torch.nan, 1.0).to(losses.dtype)


class _TotalLoss(torch.autograd.Function):
    """The sum of the losses; forward makes the gradients, too."""

    @staticmethod
    def forward(ctx, function, rows, table, offsets, *args):  # type: ignore[no-untyped-def]
        *rest, options, grad_enabled = args
        needs = tuple(grad_enabled and needed for needed in ctx.needs_input_grad[1:4])
        losses, *grads = _run(rows, table, offsets, rest, options, None, needs)
        ctx.save_for_backward(
            rows, table, offsets, losses, *(g if need else None for g, need in zip(grads, needs, strict=True))
        )
        ctx.function = function
        return losses.sum()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        *sides, losses, d_rows, d_table, d_offsets = ctx.saved_tensors
        inputs = [x for x in sides if x is not None]
        with torch.no_grad():
            kept, factor = (d_rows, d_table, d_offsets), _one_or_nan(losses, grad)
            factor = grad if factor is None else grad * factor
            found = [None if g is None else (g * factor).to(x.dtype) for g, x in zip(kept, sides, strict=True)]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 7,
        )


class _RowLosses(torch.autograd.Function):
    """The losses; their gradients are made in backward, where the derivatives of the losses are known."""

    @staticmethod
    def forward(ctx, function, rows, table, offsets, *args):  # type: ignore[no-untyped-def]
        *rest, options, _ = args
        losses, *_ = _run(rows, table, offsets, rest, options, None, (False, False, False))
        ctx.save_for_backward(rows, table, offsets, losses, *rest)
        ctx.function, ctx.options = function, options
        return losses

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        rows, table, offsets, losses, *rest = ctx.saved_tensors
        inputs = [x for x in (rows, table, offsets) if x is not None]
        needs = tuple(ctx.needs_input_grad[1:4])
        with torch.no_grad():
            _, *made = _run(rows, table, offsets, rest, ctx.options, grad, needs)
            sides, factor = (rows, table, offsets), _one_or_nan(losses, grad)
            made = made if factor is None else [g.mul_(factor) for g in made]
            found = [g.to(x.dtype) if need else None for g, x, need in zip(made, sides, needs, strict=True)]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 7,
        )
