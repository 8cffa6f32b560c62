"""The NT-Xent loss by definition (Chen et al., 2020, equation 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent_loss(z0: Tensor, z1: Tensor, temperature: float = 0.5) -> Tensor:
    """Mean over 2N views of the cross-entropy of picking the other view of the same sample among 2N - 1."""
    views = F.normalize(torch.cat([z0, z1]), dim=1)
    logits = views @ views.T / temperature
    logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    targets = torch.arange(len(views), device=views.device).roll(len(z0))
    return F.cross_entropy(logits, targets)
