"""Masks of videos by whole tubes and frames over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check
from sslfast.host._cells import FRAME_CELLS, TUBE_CELLS, mask_of_cells
from sslfast.host.mask_indices import CountedMask, MaskOrCounted


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedMask: ...


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.9,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks the same random places in all frames of a video: :func:`sslfast.masking.tube_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along time, height and width, (T, H, W).
        mask_ratio: share of the places that is masked, in [0, 1). Default: 0.9.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, T, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no place.

    Reference: Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
    Pre-Training", NeurIPS 2022, section 3.3.
    """
    name = "tube_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.tube_cells(name, grid, mask_ratio, mode)
    return mask_of_cells(name, TUBE_CELLS, batch_size, cells, seed, row_offset, sample_ids, threads, return_counts)


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedMask: ...


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.5,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks whole random frames of a video: :func:`sslfast.masking.frame_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along time, height and width, (T, H, W).
        mask_ratio: share of the frames that is masked, in [0, 1). Default: 0.5.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, T, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no frame.

    Reference: Tong et al., "VideoMAE", NeurIPS 2022, section 4.3 (frame masking).
    """
    name = "frame_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.frame_cells(name, grid, mask_ratio, mode)
    return mask_of_cells(name, FRAME_CELLS, batch_size, cells, seed, row_offset, sample_ids, threads, return_counts)
