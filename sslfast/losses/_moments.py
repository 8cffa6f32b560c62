"""Second moments over a batch without the D x D matrix where the batch is small."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._autograd import traced_once
from sslfast.losses._inputs import without_autocast


def centered(z: Tensor) -> Tensor:
    """``z - z.mean(dim=0)``, twice differentiable, with fewer passes over a gradient."""
    x: Tensor = _Centered.apply(z)
    return x


def second_moments(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal of ``m = a.mT @ b``, and the sum of the squares of its other entries.

    Where D > 2 N, the squares come from N x N matrices: ``(m * m).sum() == (a @ a.mT * (b @ b.mT)).sum()``. That is
    less work, and of features of like variance the diagonal that is subtracted is the smaller part: m has rank N at
    most, so the sum of its squares is at least the square of its trace over N. The rounding is relative to that sum:
    where one feature has nearly all the variance, the rest loses digits.

    Args:
        a: (..., N, D), float32 or float64.
        b: of the same shape and dtype; ``a`` itself for a symmetric m, which saves a third of the work.

    Returns:
        ``(diagonal, rest)`` of shapes (..., D) and (...). Twice differentiable.
    """
    n, d = a.shape[-2:]
    if d <= 2 * n:
        moments: tuple[Tensor, Tensor] = _Moments.apply(a, None if b is a else b)
        return moments
    rows_a: Tensor = _Gram.apply(a)
    rows_b: Tensor = rows_a if b is a else _Gram.apply(b)
    diagonal = (a * b).sum(dim=-2)
    everything = (rows_a * rows_b).sum(dim=(-2, -1), dtype=torch.float64)
    return diagonal, (everything - diagonal.double().square().sum(dim=-1)).to(a.dtype)


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a.mT @ b``, twice differentiable, whose backward autocast leaves alone."""
    m: Tensor = _Product.apply(a, b)
    return m


class _Centered(torch.autograd.Function):
    """Its backward is of differentiable operations on what it was given: second derivatives are right."""

    @staticmethod
    def forward(ctx, z):  # type: ignore[no-untyped-def]
        return z - z.mean(dim=0)

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad - grad.mean(dim=0)


class _Moments(torch.autograd.Function):
    """The two of :func:`second_moments` from the D x D matrix, whose gradient needs no other; ``b`` None stands for
    ``a``, whose backward is then one product instead of two.

    A first derivative takes the matrix that forward made; for a second one it is made again, differentiably.
    """

    @staticmethod
    def forward(ctx, a, b):  # type: ignore[no-untyped-def]
        m = a.mT @ (a if b is None else b)
        diagonal = m.diagonal(dim1=-2, dim2=-1).clone()
        m.diagonal(dim1=-2, dim2=-1).zero_()
        ctx.save_for_backward(a, b, m)
        return diagonal, m.square().sum(dim=(-2, -1))

    @staticmethod
    @traced_once
    def backward(ctx, grad_diagonal, grad_rest):  # type: ignore[no-untyped-def]
        a, b, rest = ctx.saved_tensors
        with without_autocast(a):  # backward may be called where autocast is on
            both = 2.0 if b is None else 1.0  # a symmetric m has a's gradient from either side
            factor = (2.0 * both * grad_rest)[..., None, None]
            if torch.is_grad_enabled():
                m = product(a, a if b is None else b)
                rest = m - torch.diag_embed(m.diagonal(dim1=-2, dim2=-1))
                grad = rest * factor + torch.diag_embed(both * grad_diagonal)
            else:
                grad = rest * factor
                grad.diagonal(dim1=-2, dim2=-1).copy_(both * grad_diagonal)
            if b is None:
                return a @ grad, None
            return (
                b @ grad.mT if ctx.needs_input_grad[0] else None,
                a @ grad if ctx.needs_input_grad[1] else None,
            )


class _Gram(torch.autograd.Function):
    """``x @ x.mT`` with one product in backward instead of two.

    Its backward is of differentiable operations on what forward was given: second derivatives are right.
    """

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x @ x.mT

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        with without_autocast(x):  # backward may be called where autocast is on
            return (grad + grad.mT) @ x


class _Product(torch.autograd.Function):
    """``a.mT @ b`` whose backward autocast leaves alone."""

    @staticmethod
    def forward(ctx, a, b):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(a, b)
        return a.mT @ b

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        a, b = ctx.saved_tensors
        with without_autocast(a):  # a gradient lies as its input does: passes over both are over neighbours
            found_a = found_b = None
            if ctx.needs_input_grad[0]:
                found_a = b @ grad.mT if a.stride(-1) == 1 else (grad @ b.mT).mT
            if ctx.needs_input_grad[1]:
                found_b = a @ grad if b.stride(-1) == 1 else (grad.mT @ a.mT).mT
            return found_a, found_b
