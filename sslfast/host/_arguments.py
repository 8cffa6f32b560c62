"""Arguments that every operator over arrays takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check

_THREADS = 1024  # at most


def seed_bits(function: str, seed: int) -> int:
    """The bits of a signed seed, as an unsigned number.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it does not fit in 64 signed bits.
    """
    return _check.integer(function, "seed", seed, -(2**63), 2**63 - 1) & (2**64 - 1)


def threads(function: str, number: int) -> int:
    """Returns the number of OpenMP threads.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    return _check.integer(function, "threads", number, 1, _THREADS)


def numbered_rows(
    function: str, sample_ids: NDArray[np.int64] | None, row_offset: int, rows: int
) -> tuple[NDArray[np.int64] | None, int]:
    """Returns how the kernels take the rows' numbers: ids, or None and the number of row 0.

    Raises:
        TypeError: if ``sample_ids`` is no int64 array, or ``row_offset`` no integer.
        ValueError: if ``sample_ids`` has another shape than (rows,), or both are given.
    """
    row_offset = _check.integer(function, "row_offset", row_offset, 0)
    if sample_ids is None:
        return None, row_offset
    if not isinstance(sample_ids, np.ndarray) or sample_ids.dtype != np.int64:
        got = sample_ids.dtype if isinstance(sample_ids, np.ndarray) else type(sample_ids).__name__
        raise TypeError(f"{function}: sample_ids must be an int64 array, got {got}")
    if sample_ids.shape != (rows,):
        raise ValueError(f"{function}: sample_ids must have shape ({rows},), one a row, got {sample_ids.shape}")
    if row_offset != 0:
        raise ValueError(f"{function}: row_offset must be 0 beside sample_ids, got {row_offset}")
    return np.ascontiguousarray(sample_ids), 0


def row_lengths(
    function: str, lengths: NDArray[Any] | None, rows: int, longest: int | None
) -> NDArray[np.int64] | None:
    """Returns the rows' lengths as the kernels take them, contiguous int64.

    Args:
        function: the name that errors begin with.
        lengths: what the caller gave.
        rows: how many there must be.
        longest: the greatest they may be, or None where any number means something.

    Raises:
        TypeError: if ``lengths`` is no integer array.
        ValueError: if ``lengths`` has another shape than (rows,), or is out of range.
    """
    if lengths is None:
        return None
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu":
        got = lengths.dtype if isinstance(lengths, np.ndarray) else type(lengths).__name__
        raise TypeError(f"{function}: lengths must be an integer array, got {got}")
    if lengths.shape != (rows,):
        raise ValueError(f"{function}: lengths must have shape ({rows},), one a row, got {lengths.shape}")
    if longest is not None and rows > 0:
        in_range(function, "lengths", lengths, 0, longest)
    return np.ascontiguousarray(lengths, dtype=np.int64)


def in_range(function: str, name: str, values: NDArray[Any], low: int, high: int) -> None:
    """Checks that integers, at least one, are in [``low``, ``high``].

    Raises:
        ValueError: if one is not.
    """
    least, greatest = int(values.min()), int(values.max())
    if least < low or greatest > high:
        got = least if least < low else greatest
        raise ValueError(f"{function}: {name} must be in [{low}, {high}], got {got}")
