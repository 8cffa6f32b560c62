"""The compact form of a mask, over NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sslfast import _host
from sslfast.host import _arguments


class MaskIndices(NamedTuple):
    """Where a mask is True: ``sslfast.masking.MaskIndices`` in NumPy arrays.

    Attributes:
        indices: int64 (N * L,), the flat positions in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


class CountedMask(NamedTuple):
    """A mask and its compact form: ``sslfast.masking.CountedMask`` in NumPy arrays.

    Attributes:
        mask: bool (N, ...), True where masked.
        indices: int64 (N * n,), the flat positions in ascending order, then -1; n is the most that a row may mask.
        counts: int64 (N,), how many of each row.
    """

    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


# What a rule's body gives: a mask, or with return_counts a CountedMask. Its overloads say which of the two.
MaskOrCounted: TypeAlias = NDArray[np.bool_] | Any


def counted(
    mask: NDArray[np.bool_], return_counts: bool, most: int | None = None, *, threads: int = 1
) -> MaskOrCounted:
    """The mask, and where ``return_counts`` its compact form for rows that mask at most ``most`` places."""
    return CountedMask(mask, *compact(mask, most, threads=threads)) if return_counts else mask


def compact(mask: NDArray[np.bool_], most: int | None = None, *, threads: int = 1) -> MaskIndices:
    """:func:`mask_indices` of rows that mask at most ``most`` places, in as much memory as these need."""
    indices, counts = mask_indices(mask, threads=threads)
    return MaskIndices(indices if most is None else indices[: len(mask) * most], counts)


def compact_graphs(mask: NDArray[np.bool_], ptr: NDArray[np.int64] | None, *, threads: int = 1) -> MaskIndices:
    """The compact form of a bool (N,) over the nodes or edges of graphs: its counts are those of the graphs."""
    indices, total = mask_indices(mask[None], threads=threads)
    if ptr is None:
        return MaskIndices(indices, total)
    before = np.concatenate([np.zeros(1, np.int64), mask.cumsum(dtype=np.int64)])  # of each place, how many there are
    return MaskIndices(indices, np.diff(before[ptr]))


def mask_indices(mask: NDArray[np.bool_], *, threads: int = 1) -> MaskIndices:
    """The positions that are True, in a fixed size: :func:`sslfast.masking.mask_indices` over NumPy arrays.

    What a DataLoader worker returns beside a mask, so that a batch of any masks stacks and a loss that takes positions
    needs no ``nonzero``.

    Args:
        mask: bool, shape (N, ...), any strides; what follows N counts as one row of L positions.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``MaskIndices(indices, counts)``. ``indices[: counts.sum()]`` is the short form, ``mask.reshape(-1).nonzero()``.

    Raises:
        TypeError: ``mask`` is not a bool array, or ``threads`` no integer.
        ValueError: ``mask`` has no dimension, or ``threads`` is out of range.
    """
    name = "mask_indices"
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"{name}: mask must be a bool array, got {got}")
    if mask.ndim < 1:
        raise ValueError(f"{name}: mask must have shape (N, ...), got {mask.shape}")
    rows = mask if mask.ndim == 2 else mask.reshape(len(mask), int(np.prod(mask.shape[1:])))
    return MaskIndices(*_host.mask_indices(rows, _arguments.threads(name, threads)))
