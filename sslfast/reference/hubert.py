"""HuBERT's loss by definition (Hsu et al., 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def hubert_loss(
    hidden: Tensor, label_embs: Tensor, targets: Tensor, counted: Tensor, temperature: float = 0.1
) -> Tensor:
    """The sum over the frames that count.

    Args:
        hidden: (B, T, D), any floating dtype.
        label_embs: (C, D).
        targets: (B, T) int64, in [0, C) where a frame counts.
        counted: bool (B, T).
        temperature: what cosines are divided by.
    """
    frames, embs = F.normalize(hidden[counted], dim=1), F.normalize(label_embs, dim=1)
    return F.cross_entropy(frames @ embs.T / temperature, targets[counted], reduction="sum")
