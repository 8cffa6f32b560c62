"""The loss of masked items by definition."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.sampled_softmax import sampled_softmax


def masked_item_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    negatives: Tensor | None = None,
    log_probability: Tensor | None = None,
) -> Tensor:
    """(R,) losses.

    Args:
        hidden: (R, D), any floating dtype, the masked items' hidden states.
        weight: (V, D).
        labels: (R,) int64.
        bias: (V,).
        negatives: (R, K) drawn items; None for all items.
        log_probability: (V,), of being drawn.
    """
    if negatives is None or log_probability is None:
        return F.cross_entropy(F.linear(hidden, weight, bias), labels, reduction="none")
    shift = math.log(negatives.shape[1])
    return sampled_softmax(hidden, weight, labels, negatives, bias, log_probability, shift=shift)
