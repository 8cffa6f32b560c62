"""Rows divided by their norms, by definition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def unit_rows(z: Tensor) -> tuple[Tensor, Tensor]:
    """``F.normalize(z, dim=1)``, and what it multiplies the rows by.

    Args:
        z: (N, D), any floating dtype.

    Returns:
        ``(unit, inverse_norm)``, (N, D) and (N, 1).
    """
    return F.normalize(z, dim=1), z.norm(dim=1, keepdim=True).clamp_min(1e-12).reciprocal()
