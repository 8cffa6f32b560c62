"""The end of a graph: a first derivative that has none."""

from __future__ import annotations

import torch
from torch import Tensor


def linked(function: str, grad: Tensor, *inputs: Tensor) -> Tensor:
    """``grad``, made to raise where it is differentiated with respect to ``inputs``; grad mode is on."""
    if not any(t.requires_grad for t in inputs):
        return grad
    found: Tensor = _FirstOrderOnly.apply(function, grad, *inputs)
    return found


class _FirstOrderOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, grad, *inputs):  # type: ignore[no-untyped-def]
        ctx.function = function
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        raise RuntimeError(f"{ctx.function}: second derivatives are not supported")
