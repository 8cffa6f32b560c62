"""ELECTRA's loss, by definition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def replaced_token_loss(logits: Tensor, replaced: Tensor, tokens: Tensor) -> Tensor:
    """The mean over tokens (N, L) of the binary cross-entropy of logits (N, L) with where they were replaced (N, L)."""
    return F.binary_cross_entropy_with_logits(logits[tokens], replaced[tokens].to(logits.dtype))
