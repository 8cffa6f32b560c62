"""Masks by whole cells of a grid of patches: coarse squares, tubes through all frames, and frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.masking.mask_indices import CountedMask, MaskOrCounted, counted
from sslfast.random import STREAMS, Generator, seed_tensor


@overload
def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
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
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


def grid_patch_mask(
    batch_size: int,
    grid: Sequence[int],
    cell_size: int | Sequence[int],
    mask_ratio: float = 0.6,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks coarse squares of patches, as SimMIM does.

    The grid of patches is cut into cells of ``cell_size`` patches. In every row the same number of cells, ``cells *
    mask_ratio`` rounded up, is masked, every subset of that size equally likely, and a patch is masked with its
    cell. SimMIM's ``MaskGenerator(192, 32, 4, 0.6)`` is ``grid=(48, 48), cell_size=8, mask_ratio=0.6``, equal in
    distribution but where SimMIM rounds up a float's error (``ceil(0.07 * 100)`` is 8), and always with
    ``mode="compat"``. The draws depend on (seed,
    number of the row, cell) alone. No host synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W).
        cell_size: patches along a side of a cell, or along its height and width; must divide the grid.
        mask_ratio: share of the cells that is masked, in [0, 1). Default: 0.6.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it, see above; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the cells do not tile the grid, the ratio leaves no
            cell, there is no such mode, or the generator is on another GPU.

    Reference: Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022, section 3.2.
    """
    name = "grid_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.grid_cells(name, grid, cell_size, mask_ratio, mode)
    return _cell_mask(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedMask: ...


@overload
def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


def tube_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.9,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks the same random places in all frames of a video, as VideoMAE does.

    In every row the same number of places, ``H * W * mask_ratio`` rounded down, is masked in every frame, every subset
    of that size equally likely: what is masked cannot be copied from another frame. In distribution this is VideoMAE's
    ``TubeMaskingGenerator``, but where that rounds down a float's error (``int(0.29 * 100)`` is 28), and always with
    ``mode="compat"``; and V-JEPA's random tubes. The draws depend on (seed, number of the row, cell) alone. No host
    synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along time, height and width, (T, H, W).
        mask_ratio: share of the places that is masked, in [0, 1). Default: 0.9.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it, see above; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (N, T, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no place, there is no such mode, or the
            generator is on another GPU.

    Reference: Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
    Pre-Training", NeurIPS 2022, section 3.3.
    """
    name = "tube_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.tube_cells(name, grid, mask_ratio, mode)
    return _cell_mask(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedMask: ...


@overload
def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


def frame_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.5,
    *,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks whole random frames of a video.

    In every row the same number of frames, ``T * mask_ratio`` rounded down, is masked, every subset of that size
    equally likely: the frame masking that VideoMAE compares tubes with, whose code is not published; ``mode="compat"``
    rounds as its tubes do, in floats. The draws depend on (seed, number of the row,
    cell) alone. No host synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along time, height and width, (T, H, W).
        mask_ratio: share of the frames that is masked, in [0, 1). Default: 0.5.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it, see above; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (N, T, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no frame, there is no such mode, or the
            generator is on another GPU.

    Reference: Tong et al., "VideoMAE", NeurIPS 2022, section 4.3 (frame masking).
    """
    name = "frame_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    cells = _block_ranges.frame_cells(name, grid, mask_ratio, mode)
    return _cell_mask(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)


_STREAMS = {"grid_patch_mask": "grid_cells", "tube_mask": "tube_cells", "frame_mask": "frame_cells"}


def _cell_mask(
    function: str,
    rows: int,
    cells: _block_ranges.Cells,
    generator: Generator,
    row_offset: int,
    sample_ids: Tensor | None,
    device: torch.device | str | None,
    return_counts: bool,
) -> MaskOrCounted:
    return_counts = _check.boolean(function, "return_counts", return_counts)
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(function, sample_ids, row_offset, rows, like.device)
    seed = seed_tensor(generator, function=function, device=like.device)
    stream = STREAMS[_STREAMS[function]]
    grid, cell, masked = cells
    mask: Tensor = ops.cell_mask(like, seed, sample_ids, stream, rows, *grid, *cell, masked, row_offset)
    if function == "grid_patch_mask":  # of one frame
        mask = mask[:, 0]
    return counted(mask, return_counts, masked * math.prod(cell))
