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


def row_lengths(function: str, lengths: NDArray[Any] | None, rows: int, longest: int) -> NDArray[np.int64] | None:
    """Returns the rows' lengths as the kernels take them, contiguous int64.

    Raises:
        TypeError: if ``lengths`` is no integer array.
        ValueError: if ``lengths`` has another shape than (rows,), or is outside [0, ``longest``].
    """
    if lengths is None:
        return None
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu":
        got = lengths.dtype if isinstance(lengths, np.ndarray) else type(lengths).__name__
        raise TypeError(f"{function}: lengths must be an integer array, got {got}")
    if lengths.shape != (rows,):
        raise ValueError(f"{function}: lengths must have shape ({rows},), one a row, got {lengths.shape}")
    in_range(function, "lengths", lengths, 0, longest)
    return np.ascontiguousarray(lengths, dtype=np.int64)


def in_range(function: str, name: str, values: NDArray[Any], low: int, high: int) -> None:
    """Checks that integers are in [``low``, ``high``].

    Raises:
        ValueError: if one is not.
    """
    if values.size == 0:
        return
    least, greatest = int(values.min()), int(values.max())
    if least < low or greatest > high:
        got = least if least < low else greatest
        raise ValueError(f"{function}: {name} must be in [{low}, {high}], got {got}")


def moved(function: str, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Returns an array as the kernels that only move elements take it; a copy if its strides are no whole elements.

    Raises:
        TypeError: if its elements are objects, or not of 1, 2, 4 or 8 bytes.
    """
    size = array.dtype.itemsize
    if array.dtype.hasobject or size not in (1, 2, 4, 8):
        raise TypeError(f"{function}: {name} must have elements of 1, 2, 4 or 8 bytes, got {array.dtype}")
    whole = array.flags.aligned and all(stride % size == 0 for stride in array.strides)
    return array if whole else np.ascontiguousarray(array)


def image_size(function: str, size: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of images; raises TypeError or ValueError."""
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{function}: image_size must be (height, width), got {size}")
    height, width = (_check.integer(function, "image_size", side, 1, 2**24) for side in size)
    return height, width


def image_batch(
    function: str, images: NDArray[Any], inplace: bool, more: tuple[type, ...] = ()
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns a contiguous batch of images of floats or ``more``, and where the result goes: the same array in place.

    TypeError: if it is no array of these types.
    ValueError: if it has another shape than (N, C, H, W), or cannot be changed where ``inplace``.
    """
    if not isinstance(images, np.ndarray) or images.dtype not in (np.float16, np.float32, np.float64, *more):
        got = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        types = "float16, float32, float64 or uint8" if more else "float16, float32 or float64"
        raise TypeError(f"{function}: images must be a {types} array, got {got}")
    if images.ndim != 4 or 0 in images.shape[2:] or max(images.shape) > 2**24:
        raise ValueError(f"{function}: images must have shape (N, C, H, W), got {images.shape}")
    if inplace and not (images.flags.writeable and images.flags.c_contiguous):
        raise ValueError(f"{function}: images must be writeable and contiguous where inplace")
    images = np.ascontiguousarray(images)
    return images, images if inplace else np.empty_like(images)


def image_params(function: str, params: NDArray[Any], rows: int, columns: int) -> NDArray[np.float32]:
    """Returns the parameters of a batch, contiguous.

    TypeError: if they are no float32 array.
    ValueError: if they have another shape than (``rows``, ``columns``).
    """
    if not isinstance(params, np.ndarray) or params.dtype != np.float32:
        got = params.dtype if isinstance(params, np.ndarray) else type(params).__name__
        raise TypeError(f"{function}: params must be a float32 array, got {got}")
    if params.shape != (rows, columns):
        raise ValueError(f"{function}: params must have shape ({rows}, {columns}), got {params.shape}")
    return np.ascontiguousarray(params)
