"""Masks of blocks and cells as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import numpy as np
from scipy import stats

from sslfast.masking import frame_mask, grid_patch_mask, tube_mask

ALPHA = 1e-4  # of each test

# ---- cell_mask


def test_every_subset_of_cells_is_equally_likely():
    rows = 42_000
    for cells in (
        grid_patch_mask(rows, (2, 7), (2, 1), 3 / 7, generator=1)[:, 0],
        tube_mask(rows, (3, 1, 7), 3 / 7, generator=2)[:, 0, 0],
        frame_mask(rows, (7, 2, 2), 3 / 7, generator=3)[:, :, 0, 0],
    ):
        codes = np.bincount(cells.numpy() @ (1 << np.arange(7)), minlength=2**7)
        subsets = codes[codes > 0]
        assert len(subsets) == 35  # 7 choose 3
        assert stats.chisquare(subsets).pvalue > ALPHA


def test_cells_of_rows_and_seeds_are_independent():
    first, other = (tube_mask(20_000, (1, 2, 4), 0.5, generator=s).flatten(1) for s in (1, 2))
    for a, b in ((first[1:], first[:-1]), (first, other)):
        overlap = np.bincount((a & b).sum(1).numpy(), minlength=5)
        expected = stats.hypergeom(8, 4, 4).pmf(np.arange(5)) * len(a)
        assert stats.chisquare(overlap, expected).pvalue > ALPHA
