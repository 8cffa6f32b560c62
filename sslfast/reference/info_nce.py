"""InfoNCE against a queue by definition (He et al., 2020, equation 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce_loss(query: Tensor, positive_key: Tensor, queue: Tensor, temperature: float = 0.1) -> Tensor:
    """Per query, the cross-entropy of picking its positive key among it and the K entries of the queue.

    Args:
        query: (N, D).
        positive_key: (N, D).
        queue: (K, D), taken as it is; queries and keys are normalised.
        temperature: divides the similarities.

    Returns:
        (N,) losses.
    """
    query, positive_key = F.normalize(query, dim=1), F.normalize(positive_key, dim=1)
    positives = (query * positive_key).sum(dim=1, keepdim=True)
    logits = torch.cat([positives, query @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device), reduction="none")
