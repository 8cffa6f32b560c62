"""The supervised contrastive loss by definition (Khosla et al., 2020, equation 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def supcon_loss(embeddings: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean, over rows that share their label, of the negative mean log-probability of the rows they share it with."""
    z = F.normalize(embeddings, dim=1)
    logits = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_probability = logits - torch.logsumexp(logits.masked_fill(itself, float("-inf")), dim=1, keepdim=True)
    same = (labels[:, None] == labels[None, :]) & ~itself
    count = same.sum(dim=1)
    terms = -torch.where(same, log_probability, 0.0).sum(dim=1)[count > 0] / count[count > 0]
    return terms.mean() if len(terms) else 0.0 * embeddings.sum()
