"""VICReg by definition (Bardes et al., 2022, equations 1 to 6)."""

from __future__ import annotations

import torch
from torch import Tensor


def vicreg_loss(
    z_a: Tensor,
    z_b: Tensor,
    lambda_param: float = 25.0,
    mu_param: float = 25.0,
    nu_param: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """Of (N, ..., D): the mean of the loss over the places between N and D, computed one by one."""
    places_a, places_b = (z.reshape(z.shape[0], -1, z.shape[-1]).unbind(dim=1) for z in (z_a, z_b))
    losses = []
    for a, b in zip(places_a, places_b, strict=True):
        invariance = (a - b).square().mean()
        variance = (_hinge(a, eps) + _hinge(b, eps)) / 2
        covariance = _off_diagonal(a) + _off_diagonal(b)
        losses.append(lambda_param * invariance + mu_param * variance + nu_param * covariance)
    return torch.stack(losses).mean()


def _hinge(z: Tensor, eps: float) -> Tensor:
    """How far the standard deviations fall short of 1."""
    return torch.relu(1 - (z.var(dim=0) + eps).sqrt()).mean()


def _off_diagonal(z: Tensor) -> Tensor:
    """Sum of the squared covariances of different features, over D."""
    x = z - z.mean(dim=0)
    covariance = x.T @ x / (len(x) - 1)
    off = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return (covariance * off).square().sum() / x.shape[1]
