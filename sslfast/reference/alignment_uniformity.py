"""Alignment and uniformity by definition (Wang and Isola, 2020, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def _unit(z: Tensor) -> Tensor:
    return z / torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(1e-12)


def alignment_loss(x: Tensor, y: Tensor, alpha: float = 2, *, normalize: bool = False) -> Tensor:
    """Mean over the samples of the distance of its two views to the power ``alpha``."""
    x, y = (_unit(x), _unit(y)) if normalize else (x, y)
    return torch.linalg.vector_norm(x - y, dim=1).pow(alpha).mean()


def uniformity_loss(x: Tensor, t: float = 2, *, normalize: bool = False) -> Tensor:
    """Log of the mean over the pairs i < j of exp(-t |x_i - x_j|^2)."""
    x = _unit(x) if normalize else x
    i, j = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    square = (x[i] - x[j]).square().sum(dim=1)
    return torch.logsumexp(-t * square, dim=0) - torch.tensor(float(len(i)), dtype=x.dtype, device=x.device).log()


def hypersphere_loss(z_a: Tensor, z_b: Tensor, t: float = 1.0, lam: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Alignment of the unit vectors plus ``lam`` times the mean of their uniformities."""
    x, y = _unit(z_a), _unit(z_b)
    return alignment_loss(x, y, alpha) + lam * (uniformity_loss(x, t) + uniformity_loss(y, t)) / 2
