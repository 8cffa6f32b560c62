"""Strips of rows of a matrix against many columns that is never held whole."""

from __future__ import annotations

from torch import Tensor

_HELD = 2**19  # numbers that are held at once; more on a GPU
_HELD_GPU = 2**23


def rows_at_once(rows: Tensor, columns: int) -> int:
    """How many of the rows to take against so many columns at once, 1 at least."""
    return max(1, (_HELD_GPU if rows.is_cuda else _HELD) // columns)
