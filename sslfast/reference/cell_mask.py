"""Masks by whole cells of a grid: SimMIM's coarse squares (Xie et al., 2022), VideoMAE's tubes (Tong et al., 2022)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

GRID_CELLS, TUBE_CELLS, FRAME_CELLS = 50, 51, 52


def random_subset(words: Tensor, candidates: Tensor, wanted: int) -> Tensor:
    """Bool (L,): the ``wanted`` candidates with the smallest (word, index); words (ceil(L / 4), 4) of one row."""
    keys = words.flatten()[: len(candidates)]
    order = [int(i) for i in torch.argsort(keys, stable=True) if candidates[i]]
    chosen = torch.zeros(len(candidates), dtype=torch.bool)
    chosen[order[:wanted]] = True
    return chosen


def _cell_mask(
    stream: int,
    rows: int,
    grid: tuple[int, int, int],
    cell: tuple[int, int, int],
    masked: int,
    seed: int,
    **numbers: Any,
) -> Tensor:
    cells = [g // c for g, c in zip(grid, cell, strict=True)]
    total = math.prod(cells)
    words = philox_rows(seed, stream, rows, -(-total // 4), **numbers)
    everything = torch.ones(total, dtype=torch.bool)
    mask = torch.zeros(rows, total, dtype=torch.bool)
    for row in range(rows):
        mask[row] = random_subset(words[row], everything, masked)
    mask = mask.view(rows, *cells)
    for axis, repeats in enumerate(cell):
        mask = mask.repeat_interleave(repeats, axis + 1)
    return mask


def grid_patch_mask(
    batch_size: int,
    grid: tuple[int, int],
    cell: tuple[int, int],
    mask_ratio: float = 0.6,
    *,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.grid_patch_mask`` with an int seed; the ratio is read as the decimal that it prints as."""
    cells = grid[0] // cell[0] * (grid[1] // cell[1])
    masked = math.ceil(cells * Fraction(str(mask_ratio)))
    numbers: dict[str, Any] = {"row_offset": row_offset, "sample_ids": sample_ids}
    return _cell_mask(GRID_CELLS, batch_size, (1, *grid), (1, *cell), masked, seed, **numbers)[:, 0]


def tube_mask(
    batch_size: int,
    grid: tuple[int, int, int],
    mask_ratio: float = 0.9,
    *,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.tube_mask`` with an int seed."""
    masked = int(grid[1] * grid[2] * Fraction(str(mask_ratio)))
    numbers: dict[str, Any] = {"row_offset": row_offset, "sample_ids": sample_ids}
    return _cell_mask(TUBE_CELLS, batch_size, grid, (grid[0], 1, 1), masked, seed, **numbers)


def frame_mask(
    batch_size: int,
    grid: tuple[int, int, int],
    mask_ratio: float = 0.5,
    *,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.frame_mask`` with an int seed."""
    masked = int(grid[0] * Fraction(str(mask_ratio)))
    numbers: dict[str, Any] = {"row_offset": row_offset, "sample_ids": sample_ids}
    return _cell_mask(FRAME_CELLS, batch_size, grid, (1, *grid[1:]), masked, seed, **numbers)
