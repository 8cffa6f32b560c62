"""What the autograd functions of sslfast share."""

from __future__ import annotations

import torch
from torch import Tensor


def first_order_only(function: str, grad: Tensor, *inputs: Tensor) -> Tensor:
    """``grad``, made to raise if it is differentiated with respect to ``inputs``.

    ``once_differentiable`` is not enough: it links the result to the incoming gradient only, so that a gradient
    penalty would silently lose the term through the inputs.

    Args:
        function: the name the error begins with.
        grad: a first derivative, computed without a graph.
        inputs: what it depends on.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        linked: Tensor = _FirstOrderOnly.apply(function, grad, *inputs)
        return linked
    return grad


class _FirstOrderOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, grad, *inputs):  # type: ignore[no-untyped-def]
        ctx.function = function
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        raise RuntimeError(f"{ctx.function}: second derivatives are not supported")
