"""Negative cosine similarity by definition (Chen and He, 2021, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def negative_cosine_similarity(x0: Tensor, x1: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Mean over the pairs of minus the product of the unit vectors."""
    unit0, unit1 = (x / torch.linalg.vector_norm(x, dim=dim, keepdim=True).clamp_min(eps) for x in (x0, x1))
    return -(unit0 * unit1).sum(dim=dim).mean()
