"""How many logits a similarity loss keeps for its gradient, which are then not made again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _check


def check_memory_budget(function: str, budget: int | None) -> int | None:
    """``budget`` as an int of bytes, or None.

    Raises:
        TypeError: if it is neither.
        ValueError: if it is negative.
    """
    return None if budget is None else _check.integer(function, "memory_budget", budget, 0)


class Kept(NamedTuple):
    """What is kept, as the operators are told.

    Attributes:
        numbers: how many.
        packed: whether they are of 16 bits, and not of the dtype of the sums.
    """

    numbers: int
    packed: bool


_PER_RANGE = 1024  # a packed number more for so many logits is room enough for the ranges of the tiles


def kept_logits(budget: int | None, logits: int, dtype: torch.dtype, *sides: Tensor, packs: bool = True) -> Kept:
    """How many of ``logits`` to keep, and in which form.

    As many as ``budget`` bytes hold; by default 2 MiB, or 8 bytes for every number of the sides (16 of float64), which
    leaves the memory O(N D). None on a GPU: there to make them again is as fast as to read them, below D of about 620.
    Those of bfloat16 sides are packed where that makes room for more.

    Args:
        budget: bytes, or None for the default.
        logits: how many there are.
        dtype: what the products are made in.
        sides: rows, and columns if they are others.
        packs: whether what packing is off by does not matter: it does where something nearly as large is taken off the
            weights. Default: True.
    """
    if sides[0].is_cuda:
        return Kept(0, False)
    size = _size(dtype)
    most = max(2 * 2**20, 2 * size * sum(side.numel() for side in sides)) if budget is None else budget
    if dtype != torch.bfloat16 or not packs or logits * size <= most:
        return Kept(min(logits, most // size), False)
    if budget is None:
        most += most // _PER_RANGE
    return Kept(min(logits + logits // _PER_RANGE, most // 2), True)


def _size(dtype: torch.dtype) -> int:
    """Bytes of a logit."""
    return 8 if dtype == torch.float64 else 4


def half_of_logits(rows: int) -> int:
    """As many as similarity_softmax makes of so many rows, or a few more: its tiles on and above the diagonal."""
    return rows * min(rows, (rows + 256) // 2 + 1)


class Budget:
    """Bytes that several groups of logits share, first come, first served; or None, the default for each of them."""

    def __init__(self, budget: int | None) -> None:
        self._left = budget

    def share(self, logits: int, dtype: torch.dtype, *sides: Tensor, packs: bool = True) -> int | None:
        """What is left for a group of logits, which take of it what they need; arguments as of :func:`kept_logits`."""
        left = self._left
        if left is not None:
            kept = kept_logits(left, logits, dtype, *sides, packs=packs)
            self._left = left - kept.numbers * (2 if kept.packed else _size(dtype))
        return left
