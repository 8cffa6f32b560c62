"""ELECTRA's loss, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def replaced_token_loss(logits: Tensor, replaced: Tensor, tokens: Tensor, reduction: str = "mean") -> Tensor:
    """The binary cross-entropy of logits (N, L) with where tokens (N, L) were replaced (N, L).

    Args:
        reduction: ``"mean"`` over the tokens, ``"sum"``, or ``"none"``, (N, L) with 0 where there is no token.
    """
    labels = replaced[tokens].to(logits.dtype)
    if reduction != "none":
        return F.binary_cross_entropy_with_logits(logits[tokens], labels, reduction=reduction)
    losses = F.binary_cross_entropy_with_logits(logits[tokens], labels, reduction="none")
    return torch.zeros_like(logits).masked_scatter(tokens, losses)
