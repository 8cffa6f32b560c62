"""Strips of rows of a matrix against many columns that is never held whole, or some of its entries, in their place."""

from __future__ import annotations

from torch import Tensor

_HELD = 2**19  # numbers that are held at once; more on a GPU
_HELD_GPU = 2**23
_PAIRS = 4096  # pairs whose embeddings are held at once
_DENSE = 8  # one in so many entries a pair: products of whole rows are faster than pairs one by one


def rows_at_once(rows: Tensor, columns: int) -> int:
    """How many of the rows to take against so many columns at once, 1 at least."""
    return max(1, (_HELD_GPU if rows.is_cuda else _HELD) // columns)


def in_strips(pairs: int, rows: int, columns: int) -> bool:
    """Whether so many pairs of so many rows and columns are taken from strips, and not one by one."""
    return pairs * _DENSE > rows * columns


def parts_of_pairs(pairs: int) -> list[slice]:
    """Some of so many pairs at once, where they are taken one by one."""
    return [slice(start, min(start + _PAIRS, pairs)) for start in range(0, pairs, _PAIRS)]
