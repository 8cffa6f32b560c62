"""One iteration of Sinkhorn-Knopp by the potentials of the prototypes, by definition (Cuturi, 2013)."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn_peaks(scores: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The largest score of each prototype, and the sum of the samples' exponentials relative to it."""
    tops = scores.amax(dim=0)
    shift = torch.where(tops == -torch.inf, 0.0, tops)
    return tops, torch.exp((scores - shift) * scale).sum(dim=0)


def sinkhorn_assign(scores: Tensor, potentials: Tensor, scale: float) -> Tensor:
    """Rows that sum to 1."""
    return torch.softmax((scores - scores.amax(dim=1, keepdim=True)) * scale + potentials, dim=1)


def sinkhorn_masses(scores: Tensor, potentials: Tensor, scale: float) -> Tensor:
    """What each prototype has of all samples."""
    return sinkhorn_assign(scores, potentials, scale).sum(dim=0)
