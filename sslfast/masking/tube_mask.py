"""Masks by whole cells of a video's grid of patches: tubes through all frames, and frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from sslfast import _block_ranges, _check
from sslfast.masking._cells import mask_of_cells
from sslfast.masking.mask_indices import CountedMask, MaskOrCounted
from sslfast.random import Generator


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
    return mask_of_cells(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)


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
    return mask_of_cells(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)
