"""MSN by definition (Assran et al., 2022, equations 1 to 3, with Sinkhorn-Knopp over the targets)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def msn_loss(
    anchors: Tensor,
    targets: Tensor,
    prototypes: Tensor,
    sharpen: float = 0.25,
    temperature: float = 0.1,
    iterations: int = 3,
    regularization_weight: float = 1.0,
) -> Tensor:
    """Mean cross-entropy with the targets' assignments, and log K minus the entropy of the mean prediction."""
    a, t, w = (torch.nn.functional.normalize(z, dim=1) for z in (anchors, targets, prototypes))
    q = torch.softmax(t.detach() @ w.detach().T / temperature, dim=1) ** (1 / sharpen)
    q = q / q.sum(dim=1, keepdim=True)
    for _ in range(iterations):
        q = q / q.sum(dim=0, keepdim=True)
        q = q / q.sum(dim=1, keepdim=True)
    log_p = torch.log_softmax(a @ w.T / temperature, dim=1)
    loss = -(q.repeat(len(a) // len(t), 1) * log_p).sum(dim=1).mean()
    mean = log_p.exp().mean(dim=0)
    return loss + regularization_weight * (math.log(len(w)) + torch.special.xlogy(mean, mean).sum())
