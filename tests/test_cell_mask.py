"""cell_mask: the reference bit for bit, exact counts, whole cells, and the peers' own rules for the counts."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import frame_mask, grid_patch_mask, tube_mask
from sslfast.reference import cell_mask as reference

# (function, rows, its sizes) and why it is there
SIZES = [
    ("grid_patch_mask", 4, ((48, 48), 8, 0.6)),  # SimMIM
    ("grid_patch_mask", 3, ((1, 1), 1, 0.0)),  # one cell, which stays
    ("grid_patch_mask", 3, ((6, 15), (2, 3), 0.3)),  # cells that are no squares
    ("grid_patch_mask", 2, ((8, 8), 8, 0.0)),  # one cell of many patches
    ("grid_patch_mask", 300, ((4, 4), 2, 0.75)),  # many rows
    ("grid_patch_mask", 2, ((70, 70), 1, 0.5)),  # more cells than a GPU block keeps keys of
    ("grid_patch_mask", 0, ((4, 4), 2, 0.5)),  # no rows
    ("tube_mask", 4, ((8, 14, 14), 0.9)),  # VideoMAE
    ("tube_mask", 3, ((1, 5, 3), 0.5)),  # one frame
    ("tube_mask", 0, ((2, 5, 3), 0.5)),
    ("frame_mask", 4, ((8, 14, 14), 0.5)),
    ("frame_mask", 3, ((5, 1, 3), 0.75)),
]
FUNCTIONS = {"grid_patch_mask": grid_patch_mask, "tube_mask": tube_mask, "frame_mask": frame_mask}


def reference_of(name, rows, sizes, **draws):
    if name == "grid_patch_mask":
        grid, cell, ratio = sizes
        sizes = (grid, (cell, cell) if isinstance(cell, int) else cell, ratio)
    return getattr(reference, name)(rows, *sizes, **draws)


@pytest.mark.parametrize(("name", "rows", "sizes"), SIZES)
@pytest.mark.parametrize(("seed", "row_offset"), [(7, 0), (-1, 2**40)])
def test_equals_reference(device, name, rows, sizes, seed, row_offset):
    expected = reference_of(name, rows, sizes, seed=seed, row_offset=row_offset)
    ours = FUNCTIONS[name](rows, *sizes, generator=seed, row_offset=row_offset, device=device)
    assert all_equal([ours], [expected])
    array = getattr(host, name)(rows, *sizes, seed=seed, row_offset=row_offset, threads=2)
    assert all_equal([torch.from_numpy(array)], [expected])


def test_grid_masks_whole_cells_exactly():
    mask = grid_patch_mask(500, (12, 20), (3, 4), 0.35)
    cells = mask.view(500, 4, 3, 5, 4).transpose(2, 3).flatten(3)
    assert torch.equal(cells.all(3), cells.any(3))
    assert (cells.all(3).sum((1, 2)) == 7).all()  # 20 * 0.35


def test_tubes_and_frames():
    tubes = tube_mask(50, (8, 14, 14), 0.9)
    assert (tubes.sum((2, 3)) == 176).all()  # 176.4
    assert torch.equal(tubes.all(1), tubes.any(1))
    frames = frame_mask(50, (8, 3, 5), 0.6).flatten(2)
    assert torch.equal(frames.all(2), frames.any(2))
    assert (frames.any(2).sum(1) == 4).all()  # 4.8


def test_counts_are_those_of_exact_arithmetic():
    for cells in range(2, 120):
        for percent in range(0, 100, 7):
            exact = cells * Fraction(percent, 100)
            if math.ceil(exact) < cells:
                assert grid_patch_mask(1, (1, cells), 1, percent / 100).sum() == math.ceil(exact)
                assert tube_mask(1, (1, 1, cells), percent / 100).sum() == int(exact)


def test_sample_ids(device):
    ids = torch.tensor([5, -3, 2**62, 0, 5])
    for name, _, sizes in (SIZES[0], SIZES[7], SIZES[10]):
        expected = reference_of(name, 5, sizes, seed=3, sample_ids=ids)
        ours = FUNCTIONS[name](5, *sizes, generator=3, sample_ids=ids.to(device), device=device)
        assert all_equal([ours], [expected])
        array = getattr(host, name)(5, *sizes, seed=3, sample_ids=ids.numpy())
        assert np.array_equal(array, expected.numpy())


def test_opcheck(device):
    like = torch.empty((), device=device)
    torch.library.opcheck(ops.cell_mask, (like, torch.tensor(1), None, 50, 2, 4, 6, 8, 2, 3, 4, 3, 0))


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("grid_patch_mask", {"batch_size": -1}, ValueError, "batch_size must be at least 0, got -1"),
        ("grid_patch_mask", {"grid": 8}, TypeError, "grid must be (H, W), got int"),
        ("grid_patch_mask", {"grid": (8, 8, 8)}, ValueError, "grid must be (H, W), got (8, 8, 8)"),
        ("grid_patch_mask", {"grid": (8, 0)}, ValueError, "grid must be in [1, 32768], got 0"),
        ("grid_patch_mask", {"grid": (8, 2.0)}, TypeError, "grid must be an int, got float"),
        ("grid_patch_mask", {"cell_size": 3}, ValueError, "cell_size must divide the grid (8, 8), got (3, 3)"),
        ("grid_patch_mask", {"cell_size": "2"}, TypeError, "cell_size must be an int, got str"),
        ("grid_patch_mask", {"mask_ratio": 1.0}, ValueError, "mask_ratio must be in [0, 1), got 1.0"),
        ("grid_patch_mask", {"mask_ratio": 0.99}, ValueError, "mask_ratio must keep at least 1 of 16 cells, got 0.99"),
        ("grid_patch_mask", {"mask_ratio": None}, TypeError, "mask_ratio must be a number, got NoneType"),
        ("grid_patch_mask", {"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
        ("tube_mask", {"grid": (8, 8)}, ValueError, "grid must be (T, H, W), got (8, 8)"),
        ("tube_mask", {"mask_ratio": -0.1}, ValueError, "mask_ratio must be in [0, 1), got -0.1"),
        ("frame_mask", {"grid": "abc"}, TypeError, "grid must be (T, H, W), got str"),
        ("frame_mask", {"mask_ratio": float("nan")}, ValueError, "mask_ratio must be finite, got nan"),
    ],
)
def test_bad_input(name, arguments, error, message):
    valid = {"grid": (8, 8), "cell_size": 2} if name == "grid_patch_mask" else {"grid": (4, 8, 8)}
    for function, seed in ((FUNCTIONS[name], {}), (getattr(host, name), {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, **valid, **arguments, **seed})
        assert str(raised.value) == f"{name}: {message}"
