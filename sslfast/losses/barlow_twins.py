"""The loss of Barlow Twins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._autograd import traced_once
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows
from sslfast.losses._inputs import check_two_rows, check_views, finite, widened, without_autocast
from sslfast.losses._moments import second_moments


class BarlowTwinsLoss(nn.Module):
    """The loss of Barlow Twins as a module; see :func:`barlow_twins_loss`.

    Args:
        lambda_param: weight of the redundancy reduction. Default: 0.005.
        gather_distributed: correlate over the samples of all ranks. Default: False.

    Raises:
        TypeError: if ``lambda_param`` is not a number.
        ValueError: if ``lambda_param`` is not finite.

    Example:
        >>> criterion = BarlowTwinsLoss()
        >>> loss = criterion(model(view0), model(view1))
        >>> loss.backward()
    """

    def __init__(self, lambda_param: float = 5e-3, gather_distributed: bool = False) -> None:
        super().__init__()
        self.lambda_param = _check.real("BarlowTwinsLoss", "lambda_param", lambda_param)
        self.gather_distributed = _check.boolean("BarlowTwinsLoss", "gather_distributed", gather_distributed)

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return barlow_twins_loss(z_a, z_b, self.lambda_param, gather_distributed=self.gather_distributed)

    def extra_repr(self) -> str:
        return f"lambda_param={self.lambda_param}, gather_distributed={self.gather_distributed}"


def barlow_twins_loss(
    z_a: Tensor, z_b: Tensor, lambda_param: float = 5e-3, *, gather_distributed: bool = False
) -> Tensor:
    """Pulls the cross-correlation of two views, feature by feature over the batch, to the identity.

    ``a, b = (F.batch_norm(z, None, None, training=True) for z in (z_a, z_b))``; ``c = a.T @ b / N``;
    ``loss = ((c - I)**2 * torch.where(I == 1, 1, lambda_param)).sum()`` with ``I = torch.eye(D)``

    with the value and the gradients of lightly's ``BarlowTwinsLoss``. Where D > 2 N the D x D correlations are not
    made: N x N products give the same sum of squares in 8 N^2 D FLOPs instead of 6 N D^2. Accumulates in float32
    (float64 inputs in float64). Twice differentiable.

    Args:
        z_a: projections of the first views, shape (N, D), floating point, any strides; need not be normalised.
        z_b: projections of the second views, same shape and device.
        lambda_param: weight of the redundancy reduction, the off-diagonal part. Default: 0.005.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Features are normalised over the batch of all ranks, as the paper's code does with synchronised batch
            norm. (lightly normalises each rank by itself.) Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if z_a or z_b is not a floating-point tensor, ``lambda_param`` is not a number, or
            ``gather_distributed`` not a bool.
        ValueError: if z_a is not (N, D) with D >= 1 and N >= 2 (of all ranks together where gathered), z_b differs in
            shape or device, or ``lambda_param`` is not finite. Where one of several ranks raises, all do: the others a
            ValueError that names it; so do all whose options differ.

    Reference: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021.
    """
    name = "barlow_twins_loss"
    with JointChecks(name, gather_distributed, z_a):
        gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        check_views(name, "z_a", z_a, "z_b", z_b)
        lambda_param = finite(name, "lambda_param", lambda_param, z_a, z_b)
    if gather_distributed:
        z_a, z_b = gather_rows(z_a, name, spelled(lambda_param=lambda_param)), gather_rows(z_b, name)
    check_two_rows(name, "z_a", z_a)
    with without_autocast(z_a):
        a, b = widened(z_a, z_b)
        if a.shape[1] <= 2 * len(a):
            loss: Tensor = _BarlowTwins.apply(a, b, lambda_param)
            return loss
        return _from_moments(a, b, lambda_param)


_EPS = 1e-5  # of F.batch_norm


def _from_moments(a: Tensor, b: Tensor, lambda_param: float) -> Tensor:
    """The loss as torch differentiates it, any number of times."""
    a, b = (F.batch_norm(z, None, None, training=True, eps=_EPS) for z in (a, b))
    diagonal, rest = second_moments(a, b)
    return (diagonal / len(a) - 1.0).square().sum() + lambda_param / len(a) ** 2 * rest


class _BarlowTwins(torch.autograd.Function):
    """The loss from the D x D matrix c, with its first derivative in few passes.

    With G = dloss/dc / N and x, y the normalised features, that of z_a is ``(y @ G.T - x * (c * G).sum(1)) / std``: of
    the two means that the derivative of a normalisation takes off, one is 0, because y has mean 0, and the other is a
    sum over c. Second derivatives are those of :func:`_from_moments`.
    """

    @staticmethod
    def forward(ctx, z_a, z_b, lambda_param):  # type: ignore[no-untyped-def]
        (x, scale_x), (y, scale_y) = _standardized(z_a), _standardized(z_b)
        c = (x.mT @ y).div_(len(x))
        diagonal = c.diagonal().clone()
        c.diagonal().zero_()
        ctx.save_for_backward(z_a, z_b, x, y, scale_x, scale_y, c, diagonal)
        ctx.lambda_param = lambda_param
        return (diagonal - 1.0).square().sum() + lambda_param * c.square().sum()

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        z_a, z_b, x, y, scale_x, scale_y, c, diagonal = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        with without_autocast(z_a):  # backward may be called where autocast is on
            if torch.is_grad_enabled():
                again = _from_moments(z_a, z_b, ctx.lambda_param)
                needed = [z for z, is_wanted in zip((z_a, z_b), wanted, strict=True) if is_wanted]
                found = iter(torch.autograd.grad(again, needed, grad, create_graph=True))
                return (*(next(found) if is_wanted else None for is_wanted in wanted), None)
            share = grad * (2.0 / len(x))
            grad_c = c * (share * ctx.lambda_param)
            grad_diagonal = (diagonal - 1.0) * share
            own = grad_diagonal * diagonal
            products = grad_c * c
            grad_c.diagonal().copy_(grad_diagonal)
            grad_a = grad_b = None
            if wanted[0]:
                along = (products.sum(dim=1) + own).mul_(scale_x)
                grad_a = (y @ (grad_c * scale_x.unsqueeze(1)).mT).addcmul_(x, along, value=-1.0)
            if wanted[1]:
                along = (products.sum(dim=0) + own).mul_(scale_y)
                grad_b = (x @ (grad_c * scale_y)).addcmul_(y, along, value=-1.0)
        return grad_a, grad_b, None


def _standardized(z: Tensor) -> tuple[Tensor, Tensor]:
    """``F.batch_norm(z, None, None, training=True)`` and the factors (D,) that do it."""
    centered = z - z.mean(dim=0)
    scale = centered.square().mean(dim=0).add_(_EPS).rsqrt_()
    return centered.mul_(scale), scale
