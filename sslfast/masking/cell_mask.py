"""Masks by whole cells of a grid of patches: coarse squares of an image."""

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
    return mask_of_cells(name, batch_size, cells, generator, row_offset, sample_ids, device, return_counts)
