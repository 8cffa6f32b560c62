"""How often each item is drawn as a negative: by its rank, or by counts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _check
from sslfast._arguments import of_dtype, strided
from sslfast.losses._inputs import check_floating

_DRAWS = 2**62  # csrc/shared/item_draw.h


class ItemSampling(NamedTuple):
    """How often each item is drawn, as :func:`masked_item_loss` takes it.

    Attributes:
        thresholds: int64 (V,), the cumulative probabilities in units of 2^-62.
        log_probability: float64 (V,), -inf for items that are never drawn.
    """

    thresholds: Tensor
    log_probability: Tensor


def item_sampling(
    distribution: str | Tensor, num_items: int | None = None, *, device: torch.device | str | None = None
) -> ItemSampling:
    """Makes the distribution that negatives are drawn from.

    Args:
        distribution: ``"log_uniform"``, item j with probability log((j + 2) / (j + 1)) / log(V + 1), for items that
            are numbered by falling popularity; or (V,) counts or weights, integers or floating point, at least 0 and
            not all 0: an item of weight 0 is never drawn.
        num_items: V, for ``"log_uniform"``; with weights None. Default: None.
        device: of the result, for ``"log_uniform"``. Default: None, torch's default device.

    Returns:
        :class:`ItemSampling`. Keep it: it costs a pass over V numbers.

    Raises:
        TypeError: if an argument has another type.
        ValueError: if there is no such distribution, the number of items is out of range, or a weight is negative, not
            finite, or all are 0 (read on the CPU only).
    """
    name = "item_sampling"
    if not isinstance(device, (str, int, torch.device, type(None))):
        raise TypeError(f"{name}: device must be a torch.device, a str or None, got {type(device).__name__}")
    if isinstance(distribution, Tensor):
        strided(name, "distribution", distribution)
        if distribution.dtype == torch.bool or distribution.is_complex():
            raise TypeError(f"{name}: distribution must be of numbers, got {distribution.dtype}")
        if distribution.dim() != 1 or len(distribution) < 1:
            raise ValueError(f"{name}: distribution must have shape (V,), got {tuple(distribution.shape)}")
        if num_items is not None:
            raise ValueError(f"{name}: num_items must be None with weights, got {num_items}")
        weights = distribution.detach().double()
        if weights.is_cpu and not torch.compiler.is_compiling():
            low, high = (float(end) for end in weights.aminmax())
            if not (low >= 0 and 0 < high < math.inf):
                expected = "finite, at least 0 and not all 0"
                raise ValueError(f"{name}: distribution must be {expected}, got {low} to {high}")
        probability = weights / weights.sum()
    else:
        if not isinstance(distribution, str) or distribution != "log_uniform":
            got = _check.shown(distribution)
            raise ValueError(f"{name}: distribution must be 'log_uniform' or a tensor of weights, got {got}")
        number = _check.integer(name, "num_items", 0 if num_items is None else num_items, 1, 2**31 - 2)
        ranks = torch.arange(number, dtype=torch.float64, device=device)
        probability = torch.log1p(1 / (ranks + 1)) / math.log1p(number)
    thresholds = (probability.cumsum(0) * _DRAWS).long().clamp_max(_DRAWS)
    # The sum ends near 1: what is left belongs to the last item that can be drawn, and to none behind it.
    last = probability > 0
    behind = last.flip(0).cumsum(0).flip(0) <= last.long()
    return ItemSampling(thresholds.masked_fill(behind, _DRAWS), probability.log())


def given_sampling(function: str, sampling: str | ItemSampling, num_negatives: int | None) -> ItemSampling | None:
    """What a loss with so many negatives is given to draw them by: None for the uniform distribution.

    Raises:
        TypeError: if its tensors are not int64 and floating point.
        ValueError: if it is something else, or goes without negatives.
    """
    if not isinstance(sampling, ItemSampling):
        if not isinstance(sampling, str) or sampling != "uniform":
            got = _check.shown(sampling)
            raise ValueError(f"{function}: sampling must be 'uniform' or an ItemSampling, got {got}")
        return None
    if num_negatives is None:
        raise ValueError(f"{function}: sampling goes with num_negatives, got an ItemSampling without")
    thresholds, logarithms = sampling
    of_dtype(function, "sampling.thresholds", thresholds, torch.int64)
    check_floating(function, "sampling.log_probability", logarithms)
    if thresholds.dim() != 1 or logarithms.shape != thresholds.shape:
        got = f"{tuple(thresholds.shape)} and {tuple(logarithms.shape)}"
        raise ValueError(f"{function}: sampling must have two vectors (V,), got {got}")
    return sampling
