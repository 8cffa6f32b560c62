"""Cross-entropy against the classes of a linear layer, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    class_weights: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
) -> Tensor:
    """(N,) losses of rows with a target each.

    Args:
        hidden: (N, D), any floating dtype.
        weight: (V, D).
        targets: (N,) int64 in [0, V).
        bias: (V,), added to the logits.
        class_weights: (V,), as ``weight`` of ``F.cross_entropy``.
        label_smoothing: the share of the uniform distribution in the target, in [0, 1].
        softcap: logits become ``softcap * tanh(logits / softcap)``.
        z_loss: factor of the squared log-sum-exp.
    """
    logits = hidden @ weight.T
    if bias is not None:
        logits = logits + bias
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    loss = F.cross_entropy(logits, targets, class_weights, reduction="none", label_smoothing=label_smoothing)
    return loss + z_loss * torch.logsumexp(logits, dim=1).square()
