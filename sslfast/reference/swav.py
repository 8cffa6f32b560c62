"""SwAV by definition (Caron et al., 2020, equations 1 to 6 and their listing of Sinkhorn-Knopp)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sinkhorn_knopp(scores: Tensor, iterations: int = 3, epsilon: float = 0.05) -> Tensor:
    """Normalises the prototypes over the samples, then the samples over the prototypes, ``iterations`` times."""
    logits = scores / epsilon
    q = torch.exp(logits - logits.max())
    for _ in range(iterations):
        q = q / q.sum(dim=0, keepdim=True)
        q = q / q.sum(dim=1, keepdim=True)
    return q


def swav_loss(
    high_resolution_outputs: Sequence[Tensor],
    low_resolution_outputs: Sequence[Tensor],
    queue_outputs: Sequence[Tensor] | None = None,
    temperature: float = 0.1,
    sinkhorn_iterations: int = 3,
    sinkhorn_epsilon: float = 0.05,
) -> Tensor:
    """Mean cross-entropy over all pairs of a large crop, which assigns, and another crop, which predicts."""
    crops = [*high_resolution_outputs, *low_resolution_outputs]
    losses = []
    for i, outputs in enumerate(high_resolution_outputs):
        with torch.no_grad():
            scores = outputs if queue_outputs is None else torch.cat([outputs, queue_outputs[i]])
            codes = sinkhorn_knopp(scores, sinkhorn_iterations, sinkhorn_epsilon)[: len(outputs)]
        for v, crop in enumerate(crops):
            if v != i:
                losses.append(-(codes * torch.log_softmax(crop / temperature, dim=1)).sum(dim=1).mean())
    return torch.stack(losses).mean()
