"""The decoupled contrastive loss by definition (Yeh et al., 2022, equation 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dcl_loss(z0: Tensor, z1: Tensor, temperature: float = 0.1, weights: Tensor | None = None) -> Tensor:
    """Mean over 2N views of the negatives' log-sum-exp minus the (weighted) logit of the positive."""
    views = F.normalize(torch.cat([z0, z1]), dim=1)
    logits = views @ views.T / temperature
    index = torch.arange(len(views), device=views.device)
    positives = index.roll(len(z0))
    excluded = torch.eye(len(views), dtype=torch.bool, device=views.device)
    excluded[index, positives] = True
    lse = torch.logsumexp(logits.masked_fill(excluded, float("-inf")), dim=1)
    positive = logits[index, positives]
    return (lse - (positive if weights is None else weights * positive)).mean()
