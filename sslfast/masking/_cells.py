"""Masks by whole cells of a grid of patches, each with its own draws: what cell_mask.py and tube_mask.py share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.masking.mask_indices import MaskOrCounted, counted
from sslfast.random import STREAMS, Generator, seed_tensor

_STREAMS = {"grid_patch_mask": "grid_cells", "tube_mask": "tube_cells", "frame_mask": "frame_cells"}


def mask_of_cells(
    function: str,
    rows: int,
    cells: _block_ranges.Cells,
    generator: Generator,
    row_offset: int,
    sample_ids: Tensor | None,
    device: torch.device | str | None,
    return_counts: bool,
) -> MaskOrCounted:
    """What the public ``function`` gives, once its grid, cells and how many of them are masked are known."""
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
