"""VICReg: variance, invariance and covariance regularisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check
from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows
from sslfast.losses._inputs import (
    check_floating,
    check_like,
    check_two_rows,
    finite,
    not_negative,
    widened,
    without_autocast,
)
from sslfast.losses._moments import centered, second_moments


class VICRegLoss(nn.Module):
    """VICReg as a module; see :func:`vicreg_loss`.

    Args:
        lambda_param: weight of the invariance. Default: 25.
        mu_param: weight of the variance. Default: 25.
        nu_param: weight of the covariance. Default: 1.
        gather_distributed: take the samples of all ranks. Default: False.
        eps: added to each variance under the square root. Default: 1e-4.

    Raises:
        TypeError: if a weight or ``eps`` is not a number.
        ValueError: if a weight is not finite, or ``eps`` is negative or not finite.

    Example:
        >>> criterion = VICRegLoss()
        >>> loss = criterion(model(view0), model(view1))
        >>> loss.backward()
    """

    def __init__(
        self,
        lambda_param: float = 25.0,
        mu_param: float = 25.0,
        nu_param: float = 1.0,
        gather_distributed: bool = False,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        name = "VICRegLoss"
        self.lambda_param = _check.real(name, "lambda_param", lambda_param)
        self.mu_param = _check.real(name, "mu_param", mu_param)
        self.nu_param = _check.real(name, "nu_param", nu_param)
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        self.eps = not_negative(name, "eps", eps)

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return vicreg_loss(
            z_a,
            z_b,
            self.lambda_param,
            self.mu_param,
            self.nu_param,
            gather_distributed=self.gather_distributed,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        weights = f"lambda_param={self.lambda_param}, mu_param={self.mu_param}, nu_param={self.nu_param}"
        return f"{weights}, gather_distributed={self.gather_distributed}, eps={self.eps}"


def vicreg_loss(
    z_a: Tensor,
    z_b: Tensor,
    lambda_param: float = 25.0,
    mu_param: float = 25.0,
    nu_param: float = 1.0,
    *,
    gather_distributed: bool = False,
    eps: float = 1e-4,
) -> Tensor:
    """Pulls two views together, keeps the spread of every feature at 1 and above, and decorrelates the features.

    ``v = lambda z: F.relu(1 - (z.var(0) + eps).sqrt()).mean()``;
    ``c = lambda z: (torch.cov(z.T) * (1 - torch.eye(D))).square().sum() / D``;
    ``loss = lambda_param * F.mse_loss(z_a, z_b) + mu_param * (v(z_a) + v(z_b)) / 2 + nu_param * (c(z_a) + c(z_b))``

    with the value and the gradients of lightly's ``VICRegLoss``. Where D > 2 N the D x D covariances are not made: an
    N x N product gives the same sum of squares, in 4 N^2 D FLOPs a view instead of 4 N D^2; in float32 it loses digits
    where one feature has tens of times the standard deviation of the others (3 to 4 digits stay at 100 times).
    Accumulates in float32 (float64 inputs in float64). Twice differentiable.

    Args:
        z_a: embeddings of the first views, shape (N, D), floating point, any strides. Of a shape (N, ..., D) every
            place between has variances and covariances of its own, and their mean counts.
        z_b: embeddings of the second views, same shape and device.
        lambda_param: weight of the invariance. Default: 25.
        mu_param: weight of the variance. Default: 25.
        nu_param: weight of the covariance. Default: 1.
        gather_distributed: with torch.distributed initialised, the loss of the batch of all ranks, the same on every
            rank, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            (lightly's invariance is the rank's own, whose mean over equal shards this is.) Default: False.
        eps: added to each variance under the square root. Default: 1e-4.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if z_a or z_b is not a floating-point tensor, a weight or ``eps`` is not a number, or
            ``gather_distributed`` not a bool.
        ValueError: if z_a is not (N, ..., D) with all sizes >= 1 and N >= 2 (of all ranks together where gathered), z_b
            differs in shape or device, a weight is not finite, or ``eps`` is negative or not finite. Where one of
            several ranks raises, all do: the others a ValueError that names it; so do all whose options differ.

    Reference: Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    ICLR 2022.
    """
    name = "vicreg_loss"
    with JointChecks(name, gather_distributed, z_a):
        gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        for argument, z in (("z_a", z_a), ("z_b", z_b)):
            check_floating(name, argument, z)
        if z_a.dim() < 2 or 0 in z_a.shape:
            raise ValueError(f"{name}: z_a must have shape (N, ..., D) with all sizes >= 1, got {tuple(z_a.shape)}")
        check_like(name, "z_a", z_a, "z_b", z_b)
        lambda_param = finite(name, "lambda_param", lambda_param, z_a, z_b)
        mu_param = finite(name, "mu_param", mu_param, z_a, z_b)
        nu_param = finite(name, "nu_param", nu_param, z_a, z_b)
        eps = not_negative(name, "eps", eps, z_a, z_b)
    if gather_distributed:
        same = spelled(lambda_param=lambda_param, mu_param=mu_param, nu_param=nu_param, eps=eps)
        z_a, z_b = gather_rows(z_a, name, same), gather_rows(z_b, name)
    check_two_rows(name, "z_a", z_a)
    with without_autocast(z_a):
        z_a, z_b = widened(z_a, z_b)
        (hinge_a, covariance_a), (hinge_b, covariance_b) = _spread(z_a, eps), _spread(z_b, eps)
        loss = lambda_param * F.mse_loss(z_a, z_b) + mu_param * 0.5 * (hinge_a + hinge_b)
        return loss + nu_param * (covariance_a + covariance_b)


def _spread(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The variance and the covariance term of one view (N, ..., D)."""
    n, d = z.shape[0], z.shape[-1]
    x = centered(z)
    if x.dim() > 2:
        x = x.reshape(n, -1, d).transpose(0, 1)  # (places, N, D)
    diagonal, rest = second_moments(x, x)
    hinge = F.relu(1.0 - torch.sqrt(diagonal / (n - 1) + eps)).mean()
    return hinge, rest.mean() / (d * (n - 1) ** 2)
