"""How similar a negative may be: a margin more than the positive."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import _check


def check_margin(function: str, margin: float | None) -> float | None:
    """``margin`` as a float, or None; raises TypeError or ValueError where it is no finite number."""
    return None if margin is None else _check.real(function, "margin", margin)


def is_readable(z: Tensor) -> bool:
    """Whether a number may be asked for: one on a GPU would be waited for, and one in a compiled graph is not there."""
    return z.is_cpu and not torch.compiler.is_compiling()


def positive_or_nan(scale: float | Tensor) -> float | Tensor:
    """A scale of logits that are compared as similarities, which only a positive one orders alike.

    Returns:
        ``scale``, which the caller has checked if it is a number or :func:`is_readable`; else NaN where it is 0 or
        less, so that the loss is.
    """
    if not isinstance(scale, Tensor) or is_readable(scale):
        return scale
    return torch.where(scale > 0.0, scale, math.nan)


def most_similar(rows: Tensor, own: Tensor, margin: float) -> Tensor:
    """What is left out above: similarities of rows with their own columns and ``margin``, and the roundings of these.

    Similarities of negatives come from products in another order: one that equals the limit, as that of a copy of the
    positive at a margin of 0, must not fall on either side by chance.

    Args:
        rows: (N, D), in the dtype of accumulation.
        own: (N, D), the column of every row that is its positive.
        margin: how much more similar a negative may be.

    Returns:
        (N,), without a gradient.
    """
    with torch.no_grad():
        sizes = torch.linalg.vector_norm(rows, dim=1) * torch.linalg.vector_norm(own, dim=1)
        slack = _sum_roundings(rows.shape[1]) * torch.finfo(rows.dtype).eps * sizes
        return (rows * own).sum(dim=1) + margin + slack


def _sum_roundings(width: int) -> float:
    """How many epsilons a sum of so many products may be off by: csrc/ops/few_pairs_options.h has the same, and why."""
    return max(16.0, width**0.5)
