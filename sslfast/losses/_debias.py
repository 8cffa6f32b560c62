"""The correction of debiased contrastive learning."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import _check
from sslfast.losses._negatives import Negatives
from sslfast.losses._query_sums import softplus_losses


def debiased(lse: Tensor, positive: Tensor, count: int, tau_plus: float, scale: float | Tensor) -> Tensor:
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
    size = scale.abs() if isinstance(scale, Tensor) else abs(scale)
    least = lse.new_full((), math.log(count)) - size
    return torch.maximum(torch.where(some_left, lse + rest - math.log1p(-tau_plus), least), least)


def debiased_losses(negatives: Negatives, at: Tensor | None, tau_plus: float, symmetric: bool) -> Tensor:
    """(N,) losses of the queries, averaged with those of their keys if ``symmetric``."""
    lse, positive = negatives.lse, negatives.positive
    of_query, of_key = negatives.counts() if tau_plus > 0.0 else (0, 0)
    losses = softplus_losses(debiased(lse, positive, of_query, tau_plus, negatives.scale), positive)
    if not symmetric:
        return losses
    assert negatives.of_keys is not None
    of_keys = negatives.of_keys if at is None else negatives.of_keys.index_select(0, at)
    of_keys = debiased(of_keys, positive, of_key, tau_plus, negatives.scale)
    return (losses + softplus_losses(of_keys, positive)) / 2


def check_tau_plus(function: str, tau_plus: float, normalize: bool = True) -> float:
    """``tau_plus`` as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not in [0, 1), or is above 0 where similarities have no bound.
    """
    number = _check.real(function, "tau_plus", tau_plus)
    if not 0.0 <= number < 1.0 or (number > 0.0 and not normalize):
        expected = "in [0, 1)" if normalize else "0 without normalize"
        raise ValueError(f"{function}: tau_plus must be {expected}, got {tau_plus}")
    return number
