"""Operators that make a loss and its gradients in one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast._autograd import first_order_only, is_last_plain


def tensor_or_number(value: float | Tensor) -> tuple[Tensor | None, float]:
    """A number as operators take it: a tensor, or what it is without one."""
    return (value, 0.0) if isinstance(value, Tensor) else (None, value)


def in_one_call(
    function: str,
    operator: Any,
    rows: Tensor,
    columns: Tensor,
    constants: tuple[Any, ...],
    numbers: tuple[float | Tensor | None, ...],
    options: tuple[Any, ...] = (),
) -> Tensor:
    """The loss that an operator makes with its gradients, where one is wanted; backward multiplies them by its own.

    Args:
        function: the name that errors begin with.
        operator: takes rows, columns, constants, which gradients are needed, and options; gives the loss and those.
        rows: a side.
        columns: the other.
        constants: what gets no gradient, but for ``numbers`` that are among them.
        numbers: what the operator has further gradients of, in order; those that are no tensors need none.
        options: what stands behind the needs. Default: nothing.
    """
    settings = (function, operator, constants, options, len(numbers) + 2, torch.is_grad_enabled())
    # Every argument costs a call a fraction of a microsecond, of some thirty.
    learned = isinstance(numbers[0], Tensor) or isinstance(numbers[-1], Tensor)
    loss: Tensor = _InOneCall.apply(settings, rows, columns, *(numbers if learned else ()))
    return loss


class _InOneCall(torch.autograd.Function):
    """An operator that gives a loss and those of its gradients in its inputs that are needed."""

    @staticmethod
    def forward(ctx, settings, rows, columns, *numbers):  # type: ignore[no-untyped-def]
        ctx.function, operator, constants, options, inputs, grad_enabled = settings
        _, *needs = ctx.needs_input_grad if grad_enabled else (None,)
        needs += [False] * (inputs - len(needs))
        loss, *made = operator(rows, columns, *constants, *needs, *options)
        # What takes no gradient may be changed before backward.
        needed = [z for z, need in zip((rows, columns, *numbers), needs, strict=False) if need]
        ctx.save_for_backward(*needed, *made)
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        count = len(saved) // 2
        inputs, found = saved[:count], saved[count:]
        if not is_last_plain(grad):
            with torch.no_grad():
                found = [g * grad for g in found]
        for g, z in zip(found, inputs, strict=True):
            if g.dtype != z.dtype or g.dim() != z.dim():
                found = [_like(*each) for each in zip(found, inputs, strict=True)]
                break
        if torch.is_grad_enabled():
            found = [first_order_only(ctx.function, g, *inputs, grad) for g in found]
        needs = ctx.needs_input_grad
        if count == len(needs) - 1:
            return None, *found
        rest = iter(found)
        return tuple([next(rest) if need else None for need in needs])


def _like(grad: Tensor, z: Tensor) -> Tensor:
    """A gradient of ``z``, in its dtype and shape."""
    return grad.to(z.dtype).reshape(z.shape)
