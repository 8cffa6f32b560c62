"""Alignment and uniformity on the hypersphere."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._autograd import first_order_only, normalized
from sslfast.losses._inputs import check_rows, check_two_rows, check_views, finite, positive, widened, without_autocast

_BLOCK_ROWS = 128  # rows whose distances to the batch are held at once


class AlignmentLoss(nn.Module):
    """The alignment of two views as a module; see :func:`alignment_loss`.

    Args:
        alpha: power of the distances. Default: 2.
        normalize: divide rows by their norms first, as F.normalize does. Default: False.

    Raises:
        TypeError: if ``alpha`` is not a number, or ``normalize`` not a bool.
        ValueError: if ``alpha`` is not positive and finite.

    Example:
        >>> criterion = AlignmentLoss(normalize=True)
        >>> loss = criterion(model(view0), model(view1))
    """

    def __init__(self, alpha: float = 2.0, *, normalize: bool = False) -> None:
        super().__init__()
        self.alpha = positive("AlignmentLoss", "alpha", alpha)
        self.normalize = _check.boolean("AlignmentLoss", "normalize", normalize)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The alignment of two views, (N, D) each: ``x`` and ``y`` of :func:`alignment_loss`."""
        return alignment_loss(x, y, self.alpha, normalize=self.normalize)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, normalize={self.normalize}"


class UniformityLoss(nn.Module):
    """The uniformity of a batch as a module; see :func:`uniformity_loss`.

    Args:
        t: sharpness of the potential. Default: 2.
        normalize: divide rows by their norms first, as F.normalize does. Default: False.

    Raises:
        TypeError: if ``t`` is not a number, or ``normalize`` not a bool.
        ValueError: if ``t`` is not positive and finite.

    Example:
        >>> criterion = UniformityLoss(normalize=True)
        >>> loss = criterion(model(view))
    """

    def __init__(self, t: float = 2.0, *, normalize: bool = False) -> None:
        super().__init__()
        self.t = positive("UniformityLoss", "t", t)
        self.normalize = _check.boolean("UniformityLoss", "normalize", normalize)

    def forward(self, x: Tensor) -> Tensor:
        """The uniformity of a batch, (N, D): ``x`` of :func:`uniformity_loss`."""
        return uniformity_loss(x, self.t, normalize=self.normalize)

    def extra_repr(self) -> str:
        return f"t={self.t}, normalize={self.normalize}"


class HypersphereLoss(nn.Module):
    """Alignment plus uniformity as a module; see :func:`hypersphere_loss`.

    Args:
        t: sharpness of the uniformity. Default: 1.
        lam: weight of the uniformity. Default: 1.
        alpha: power of the distances of the alignment. Default: 2.

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if ``t`` or ``alpha`` is not positive and finite, or ``lam`` is not finite.

    Example:
        >>> criterion = HypersphereLoss()
        >>> loss = criterion(model(view0), model(view1))
        >>> loss.backward()
    """

    def __init__(self, t: float = 1.0, lam: float = 1.0, alpha: float = 2.0) -> None:
        super().__init__()
        name = "HypersphereLoss"
        self.t = positive(name, "t", t)
        self.lam = _check.real(name, "lam", lam)
        self.alpha = positive(name, "alpha", alpha)

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return hypersphere_loss(z_a, z_b, self.t, self.lam, self.alpha)

    def extra_repr(self) -> str:
        return f"t={self.t}, lam={self.lam}, alpha={self.alpha}"


def hypersphere_loss(z_a: Tensor, z_b: Tensor, t: float = 1.0, lam: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Alignment of two views plus the mean of their uniformities, after normalisation.

    ``x, y = F.normalize(z_a), F.normalize(z_b)``;
    ``loss = alignment_loss(x, y, alpha) + lam * (uniformity_loss(x, t) + uniformity_loss(y, t)) / 2``

    with the value and the gradients of lightly's ``HypersphereLoss``, in O(N D) memory. Accumulates in float32 (float64
    inputs in float64).

    Args:
        z_a: embeddings of the first views, shape (N, D), floating point, any strides; need not be normalised.
        z_b: embeddings of the second views, same shape and device.
        t: sharpness of the uniformity. Default: 1.
        lam: weight of the uniformity. Default: 1.
        alpha: power of the distances of the alignment. Default: 2.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if z_a or z_b is not a floating-point tensor, or a parameter is not a number.
        ValueError: if z_a is not (N, D) with N >= 2 and D >= 1, z_b differs in shape or device, ``t`` or ``alpha`` is
            not positive and finite, or ``lam`` is not finite.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on
    the Hypersphere", ICML 2020.
    """
    name = "hypersphere_loss"
    check_views(name, "z_a", z_a, "z_b", z_b)
    check_two_rows(name, "z_a", z_a)
    t, lam = positive(name, "t", t, z_a, z_b), finite(name, "lam", lam, z_a, z_b)
    alpha = positive(name, "alpha", alpha, z_a, z_b)
    with without_autocast(z_a):
        x, y = (F.normalize(z, dim=1) for z in widened(z_a, z_b))
        return _alignment(x, y, alpha) + 0.5 * lam * (_uniformity(x, t, name) + _uniformity(y, t, name))


def alignment_loss(x: Tensor, y: Tensor, alpha: float = 2, *, normalize: bool = False) -> Tensor:
    """Mean distance of the two views of a sample, to the power ``alpha``.

    ``loss = (x - y).norm(dim=1).pow(alpha).mean()``

    Inputs are taken as they are: normalise them first, or here. Accumulates in float32 (float64 inputs in float64).
    Twice differentiable.

    Args:
        x: unit vectors of the first views, shape (N, D), floating point, any strides.
        y: unit vectors of the second views, same shape and device.
        alpha: power of the distances; below 1 the gradient of equal rows is NaN. Default: 2.
        normalize: divide rows by their norms first, as F.normalize does. Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if x or y is not a floating-point tensor, ``alpha`` is not a number, or ``normalize`` not a bool.
        ValueError: if x is not (N, D) with N, D >= 1, y differs in shape or device, or ``alpha`` is not positive and
            finite.

    Reference: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on
    the Hypersphere", ICML 2020, section 4.
    """
    name = "alignment_loss"
    check_views(name, "x", x, "y", y)
    alpha = positive(name, "alpha", alpha, x, y)
    normalize = _check.boolean(name, "normalize", normalize)
    with without_autocast(x):
        x, y = widened(x, y)
        if normalize:
            x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
        return _alignment(x, y, alpha)


def uniformity_loss(x: Tensor, t: float = 2, *, normalize: bool = False) -> Tensor:
    """Log of the mean Gaussian potential of all pairs of different rows.

    ``loss = torch.pdist(x).square().mul(-t).exp().mean().log()``

    in O(N D) memory: pairs i < j in blocks of 128 rows, whose distances come from matrix products of the centred rows,
    and the gradient in the same sweep, 3 N^2 D FLOPs together. Distances are exact to rounding relative to the largest
    row, as unit vectors want it. Finite however small the potentials are. Inputs are taken as they are: normalise
    them first, or here. Accumulates in float32 (float64 inputs in float64).

    Args:
        x: unit vectors, shape (N, D), floating point, any strides.
        t: sharpness: the potential is exp(-t d^2). Default: 2.
        normalize: divide rows by their norms first, as F.normalize does. Default: False.

    Returns:
        Scalar loss, float32, or float64 for float64 inputs.

    Raises:
        TypeError: if ``x`` is not a floating-point tensor, ``t`` is not a number, or ``normalize`` not a bool.
        ValueError: if ``x`` is not (N, D) with N >= 2 and D >= 1, or ``t`` is not positive and finite.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on
    the Hypersphere", ICML 2020, section 4.
    """
    name = "uniformity_loss"
    check_rows(name, "x", x)
    check_two_rows(name, "x", x)
    t = positive(name, "t", t, x)
    normalize = _check.boolean(name, "normalize", normalize)
    with without_autocast(x):
        (wide,) = widened(x)
        wide = normalized(name, wide) if normalize else wide
        return _uniformity(wide, t, name)


def _alignment(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    if alpha == 2.0:
        return F.mse_loss(x, y, reduction="sum") / len(x)
    return torch.linalg.vector_norm(x - y, dim=1).pow(alpha).mean()


def _uniformity(x: Tensor, t: float, function: str) -> Tensor:
    loss: Tensor = _Uniformity.apply(x, t, function)
    return loss


class _Uniformity(torch.autograd.Function):
    """log sum_{i<j} w_ij - log(number of pairs) with w_ij = exp(-t |x_i - x_j|^2).

    Its gradient in x_i is -2 t sum_{j != i} w_ij (x_i - x_j) / sum w. Both sums are carried relative to the largest
    potential so far, like a running log-sum-exp, so that nothing over- or underflows.
    """

    @staticmethod
    def forward(ctx, x, t, function):  # type: ignore[no-untyped-def]
        n = len(x)
        rows = x - x.mean(dim=0)  # the differences stay, their rounding shrinks
        height = -t * rows.square().sum(dim=1)
        grad = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        degree = torch.zeros_like(height)  # sum_j w_ij
        highest, total = rows.new_full((), -math.inf), rows.new_zeros(())
        for start in range(0, n, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, n)
            own, rest = rows[start:stop], rows[start:]
            # -t |x_i - x_j|^2 by the binomial formula, which rounding may take above 0
            w = torch.addmm(height[start:], own, rest.T, alpha=2 * t).add_(height[start:stop].unsqueeze(1))
            w.clamp_max_(0.0)
            square = w[:, : stop - start]
            square.masked_fill_(torch.ones_like(square, dtype=torch.bool).tril_(), -math.inf)  # leaves i < j
            above, highest = highest, torch.maximum(highest, w.max())
            w.sub_(highest).exp_()
            shrink = (above - highest).exp()
            of_rows = w.sum(dim=1)
            total = total * shrink + of_rows.sum()
            if grad is not None:
                if start > 0:
                    degree.mul_(shrink)
                    grad.mul_(shrink)
                degree[start:stop] += of_rows
                degree[start:] += w.sum(dim=0)
                grad[start:stop].addmm_(w, rest, alpha=-1.0)
                grad[start:].addmm_(w.T, own, alpha=-1.0)
        if grad is not None:
            grad.addcmul_(rows, degree.unsqueeze(1)).mul_(-2.0 * t / total)
        ctx.save_for_backward(x, grad)
        ctx.function = function
        return highest + total.log() - math.log(n * (n - 1) // 2)

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        x, grad = ctx.saved_tensors
        with torch.no_grad():
            scaled = grad * upstream
        return first_order_only(ctx.function, scaled, x, upstream), None, None
