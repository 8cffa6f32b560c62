"""Masks by whole cells over NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import CountedMask, MaskOrCounted, counted

# As in sslfast.random.STREAMS, which needs torch.
_GRID_CELLS, _TUBE_CELLS, _FRAME_CELLS = 50, 51, 52


@overload
def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
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
def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
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
def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
    mask_ratio: float = 0.6,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks coarse squares of patches: :func:`sslfast.masking.grid_patch_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W).
        cell_size: patches along a side of a cell, or along its height and width; must divide the grid.
        mask_ratio: share of the cells that is masked, in [0, 1). Default: 0.6.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the cells do not tile the grid, or the ratio leaves no cell.

    Reference: Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022, section 3.2.
    """
    name = "grid_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.grid_cells(name, grid, cell_size, mask_ratio, mode)
    return _cell_mask(name, _GRID_CELLS, batch_size, cells, seed, row_offset, sample_ids, threads, return_counts)


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
    return _cell_mask(name, _TUBE_CELLS, batch_size, cells, seed, row_offset, sample_ids, threads, return_counts)


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
    return _cell_mask(name, _FRAME_CELLS, batch_size, cells, seed, row_offset, sample_ids, threads, return_counts)


def _cell_mask(
    function: str,
    stream: int,
    rows: int,
    cells: _block_ranges.Cells,
    seed: int,
    row_offset: int,
    sample_ids: NDArray[np.int64] | None,
    threads: int,
    return_counts: bool,
) -> MaskOrCounted:
    return_counts = _check.boolean(function, "return_counts", return_counts)
    sample_ids, row_offset = _arguments.numbered_rows(function, sample_ids, row_offset, rows)
    threads = _arguments.threads(function, threads)
    bits = _arguments.seed_bits(function, seed)
    mask: NDArray[np.bool_] = _host.cell_mask(bits, sample_ids, stream, rows, *cells, row_offset, threads)
    if function == "grid_patch_mask":  # of one frame
        mask = mask[:, 0]
    return counted(mask, return_counts, cells[2] * math.prod(cells[1]), threads=threads)
