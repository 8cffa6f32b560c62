"""The loss of Barlow Twins by definition (Zbontar et al., 2021, equations 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor


def barlow_twins_loss(z_a: Tensor, z_b: Tensor, lambda_param: float = 5e-3) -> Tensor:
    """Squared distance of the cross-correlation from the identity, off the diagonal times ``lambda_param``."""
    a, b = ((z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + 1e-5).sqrt() for z in (z_a, z_b))
    correlation = a.T @ b / len(a)
    identity = torch.eye(correlation.shape[0], dtype=correlation.dtype, device=correlation.device)
    return ((correlation - identity).square() * (identity + lambda_param * (1 - identity))).sum()
