"""KoLeo by definition (Sablayrolles et al., 2019, equation 2, on unit vectors as in DINOv2)."""

from __future__ import annotations

import torch
from torch import Tensor


def koleo_loss(x: Tensor, p: float = 2, eps: float = 1e-8) -> Tensor:
    """Minus the mean log distance to the nearest neighbour; ``eps`` where torch's distance has it, and in the log."""
    unit = x / torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(eps)
    similarity = unit @ unit.T
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    nearest = similarity.masked_fill(own, -2.0).argmax(dim=1)
    distance = torch.linalg.vector_norm(unit - unit[nearest] + eps, ord=p, dim=1)
    return -(distance + eps).log().mean()
