"""Masks by whole cells over NumPy arrays: what cell_mask.py and tube_mask.py share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import MaskOrCounted, counted

# As in sslfast.random.STREAMS, which needs torch.
GRID_CELLS, TUBE_CELLS, FRAME_CELLS = 50, 51, 52


def mask_of_cells(
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
    """What the public ``function`` gives, once its grid, cells and how many of them are masked are known."""
    return_counts = _check.boolean(function, "return_counts", return_counts)
    sample_ids, row_offset = _arguments.numbered_rows(function, sample_ids, row_offset, rows)
    threads = _arguments.threads(function, threads)
    bits = _arguments.seed_bits(function, seed)
    mask: NDArray[np.bool_] = _host.cell_mask(bits, sample_ids, stream, rows, *cells, row_offset, threads)
    if function == "grid_patch_mask":  # of one frame
        mask = mask[:, 0]
    return counted(mask, return_counts, cells[2] * math.prod(cells[1]), threads=threads)
