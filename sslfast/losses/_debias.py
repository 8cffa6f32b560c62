"""The correction of debiased contrastive learning."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def debiased(lse: Tensor, positive: Tensor, count: int, tau_plus: float, scale: Tensor) -> Tensor:
    """The log-sum-exp over the negatives without the part that positives of the same class are expected to have in it.

    ``log(max((exp(lse) - tau_plus * count * exp(positive)) / (1 - tau_plus), count * exp(-|scale|)))``: the second is
    the least that the sum can be, since no similarity is below -1. Nothing overflows.

    Args:
        lse: (N,).
        positive: (N,), logits of the positives.
        count: number of negatives.
        tau_plus: probability of such a positive, in [0, 1).
        scale: factor of the similarities, one number.

    Reference: Chuang et al., "Debiased Contrastive Learning", NeurIPS 2020, equation 8.
    """
    if tau_plus == 0.0 or count == 0:
        return lse
    share = positive - lse + math.log(tau_plus * count)  # log of the part to take out
    some_left = share < 0.0
    rest = torch.log(-torch.expm1(torch.where(some_left, share, -1.0)))
    least = (math.log(count) - scale.abs()).to(lse.dtype).expand_as(lse)
    return torch.maximum(torch.where(some_left, lse + rest - math.log1p(-tau_plus), least), least)
