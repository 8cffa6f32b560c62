"""How many logits a similarity loss keeps for its gradient, which are then not made again."""

from __future__ import annotations

from torch import Tensor

from sslfast import _check


def check_memory_budget(function: str, budget: int | None) -> int | None:
    """``budget`` as an int of bytes, or None.

    Raises:
        TypeError: if it is neither.
        ValueError: if it is negative.
    """
    return None if budget is None else _check.integer(function, "memory_budget", budget, 0)


def kept_logits(budget: int | None, logits: int, size: int, *sides: Tensor) -> int:
    """How many of ``logits`` to keep.

    Those that fit into ``budget`` bytes; by default into 2 MiB, or two for every number of the sides, which leaves the
    memory O(N D). None on a GPU: there to make them again is as fast as to read them, below D of about 620.

    Args:
        budget: bytes, or None for the default.
        logits: how many there are.
        size: bytes of one.
        sides: rows, and columns if they are others.
    """
    if sides[0].is_cuda:
        return 0
    most = max(2 * 2**20 // size, 2 * sum(side.numel() for side in sides)) if budget is None else budget // size
    return min(logits, most)


def half_of_logits(rows: int) -> int:
    """As many as similarity_softmax makes of so many rows, or a few more: its tiles on and above the diagonal."""
    return rows * min(rows, (rows + 256) // 2 + 1)


class Budget:
    """Bytes that several groups of logits share, first come, first served; or None, the default for each of them."""

    def __init__(self, budget: int | None) -> None:
        self._left = budget

    def share(self, logits: int, size: int, *sides: Tensor) -> int | None:
        """What is left for a group of logits, which take of it what they need; arguments as of :func:`kept_logits`."""
        left = self._left
        if left is not None:
            self._left = left - kept_logits(left, logits, size, *sides) * size
        return left
