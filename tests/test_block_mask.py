"""block_mask and inverse_block_mask: the reference bit for bit, exact counts, what the modes differ in, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from oracle import all_equal

from sslfast import _block_ranges, host, ops
from sslfast.masking import block_mask, inverse_block_mask
from sslfast.reference import block_mask as reference

# (rows, grid, masked, options) and why it is there
SIZES = [
    (6, (14, 14), 58, {}),  # DINOv2 at 224
    (6, (14, 14), 75, {"min_patches": 16}),  # BEiT
    (4, (14, 14), 196, {}),  # everything
    (4, (14, 14), 190, {}),  # nearly everything: completed patch by patch
    (4, (5, 3), 7, {"min_patches": 1, "max_patches": 2.5}),  # small blocks, a limit that is no integer
    (3, (1, 1), 1, {"min_patches": 1}),  # one patch: no block fits in compat
    (3, (1, 40), 20, {}),  # one line
    (2, (6, 64), 150, {}),  # a line fills a word of bits
    (2, (5, 130), 200, {"min_aspect": 0.05, "max_aspect": 0.6}),  # blocks across words
    (2, (70, 70), 3000, {}),  # more patches than a GPU block keeps keys of
    (40, (7, 7), 20, {"max_patches": 6}),  # many rows
    (3, (8, 8), 0, {}),  # nothing
    (0, (8, 8), 5, {}),  # no rows
    (3, (8, 8), 40, {"min_aspect": 1e-6, "max_aspect": 1e6}),  # aspects that hardly ever fit
]


@pytest.mark.parametrize(("rows", "grid", "masked", "options"), SIZES)
@pytest.mark.parametrize(("mode", "shift"), [("exact", False), ("exact", True), ("compat", False), ("compat", True)])
def test_equals_reference(device, rows, grid, masked, options, mode, shift):
    if mode == "exact" and masked == grid[0] * grid[1]:
        masked = torch.full((rows,), masked)  # as a number it is refused: it keeps nothing
    draws = {"row_offset": 2**33, **options, "shift": shift}
    expected = reference.block_mask(rows, grid, masked, seed=7, exact=mode == "exact", **draws)
    wanted = masked.to(device) if isinstance(masked, torch.Tensor) else masked
    ours = block_mask(rows, grid, wanted, generator=7, mode=mode, device=device, **draws)
    assert all_equal([ours], [expected])
    wanted = masked.numpy() if isinstance(masked, torch.Tensor) else masked
    array = host.block_mask(rows, grid, wanted, seed=7, mode=mode, threads=2, **draws)
    assert all_equal([torch.from_numpy(array)], [expected])
    counts = ours.sum((1, 2)).cpu()
    assert (counts == masked).all() if mode == "exact" else (counts <= masked).all()


def test_a_number_for_each_row(device):
    targets = torch.tensor([0, 3, 58, 100, 196, -5, 10**12])
    expected = reference.block_mask(7, (14, 14), targets, seed=3)
    ours = block_mask(7, (14, 14), targets.to(device), generator=3)
    assert ours.device == torch.empty(0, device=device).device
    assert all_equal([ours], [expected])
    assert ours.sum((1, 2)).tolist() == [0, 3, 58, 100, 196, 0, 196]
    assert np.array_equal(host.block_mask(7, (14, 14), targets.numpy(), seed=3), expected.numpy())
    strided = torch.stack([targets, targets], 1).to(device)[:, 0]
    assert all_equal([block_mask(7, (14, 14), strided, generator=3)], [expected])
    for row in range(7):  # a row's mask does not depend on the targets of others
        target = int(targets[row].clamp(0, 196))
        alone = target if target < 196 else targets[row : row + 1]
        single = block_mask(1, (14, 14), alone, generator=3, row_offset=row)
        assert torch.equal(single[0], expected[row])


@pytest.mark.parametrize(
    ("numbers", "mode"),
    [
        *itertools.product([(0, 195), (20, 20), (30, 60), 40], ["exact", "compat"]),
        ((19.6, 98.0), "compat"),  # iBOT's, real numbers
        ((58.8, 58.8), "compat"),
    ],
)
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_rows_draw_their_numbers(device, numbers, mode, probability):
    draws = {"mask_probability": probability, "row_offset": 9}
    expected = reference.block_mask(12, (14, 14), numbers, seed=3, exact=mode == "exact", **draws)
    draws["mode"] = mode
    assert all_equal([block_mask(12, (14, 14), numbers, generator=3, device=device, **draws)], [expected])
    assert np.array_equal(host.block_mask(12, (14, 14), numbers, seed=3, **draws), expected.numpy())
    if probability == 0:
        assert not expected.any()


# (rows, grid, ratio, options) and why it is there
INVERSE = [
    (6, (14, 14), 0.65, {}),  # CAPI
    (6, (14, 14), 0.65, {"shift": False}),
    (4, (14, 14), 0.0, {}),  # nothing is masked: the block is the grid
    (4, (3, 5), 0.93, {}),  # one or two patches stay
    (3, (1, 1), 0.0, {}),
    (3, (2, 64), 0.5, {}),  # no aspect of the range fits
    (2, (64, 2), 0.5, {"shift": False}),
    (2, (70, 130), 0.4, {"min_aspect": 1.0}),
    (100, (6, 9), 0.5, {"min_aspect": 0.2, "max_aspect": 0.9}),  # many rows
    (0, (8, 8), 0.5, {}),
]


@pytest.mark.parametrize(("rows", "grid", "ratio", "options"), INVERSE)
@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_inverse_equals_reference(device, rows, grid, ratio, options, mode):
    masked = int(grid[0] * grid[1] * ratio + 1e-9)
    low = options.get("min_aspect", 0.5)
    log_range = math.log(low), math.log(options.get("max_aspect", 1 / low))
    exact = mode == "exact"
    visible = grid[0] * grid[1] - masked
    aspects = _block_ranges.fitting_log_aspect(*grid, visible, log_range, exact)
    shift = options.get("shift", True)
    draws = {"row_offset": 2**33}
    expected = reference.inverse_block_mask(
        rows, grid, visible, log_aspect=aspects, shift=shift, exact=exact, seed=7, **draws
    )
    ours = inverse_block_mask(rows, grid, ratio, generator=7, mode=mode, device=device, **options, **draws)
    assert all_equal([ours], [expected])
    assert ((~ours).sum((1, 2)) == visible).all()
    array = host.inverse_block_mask(rows, grid, ratio, seed=7, mode=mode, threads=2, **options, **draws)
    assert all_equal([torch.from_numpy(array)], [expected])


def test_what_stays_is_connected():
    """Without a shift, what stays lies in a rectangle of which less than a line and a column is masked."""
    for mask in ~inverse_block_mask(200, (9, 13), 0.6, shift=False):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert len(rows) == height
        assert len(columns) == width
        assert height * width - int(mask.sum()) < height + width


def test_full_width_blocks_are_possible_in_exact_alone():
    wide = {"min_patches": 28, "max_patches": 28, "min_aspect": 1 / 7, "max_aspect": 1 / 7}
    assert block_mask(20, (14, 14), 28, mode="compat", **wide).sum() == 0
    mask = block_mask(20, (14, 14), 28, mode="exact", **wide)
    assert (mask.all(2).sum(1) == 2).all()


def test_sample_ids(device):
    ids = torch.tensor([5, -3, 2**62, 0, 5])
    for shift in (False, True):
        expected = reference.block_mask(5, (14, 14), 58, seed=3, sample_ids=ids, shift=shift)
        ours = block_mask(5, (14, 14), 58, generator=3, sample_ids=ids.to(device), device=device, shift=shift)
        assert all_equal([ours], [expected])
    assert torch.equal(ours[0], ours[4])


def test_opcheck(device):
    like, seed = torch.empty((), device=device), torch.tensor(1)
    targets = torch.tensor([3, 4], device=device)
    ranges = (4.0, 12.0, -1.0, 1.0)
    torch.library.opcheck(ops.block_mask, (like, seed, None, None, 5, 7, 0.5, 2, 4, 6, *ranges, True, False, 0))
    real = (5.25, 7.5, 0.5, 2, 4, 6, *ranges, False, False, 0)
    torch.library.opcheck(ops.block_mask, (like, seed, None, None, *real))
    torch.library.opcheck(ops.block_mask, (like, seed, None, targets, 0, 0, 1.0, 2, 4, 6, *ranges, False, True, 0))
    torch.library.opcheck(ops.inverse_block_mask, (like, seed, None, 2, 4, 6, 9, -0.1, 0.2, True, True, 0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": -1}, ValueError, "batch_size must be at least 0, got -1"),
        ({"grid": (14,)}, ValueError, "grid must be (H, W), got (14,)"),
        ({"grid": (14, 513)}, ValueError, "grid must be in [1, 512], got 513"),
        ({"num_masked": 65}, ValueError, "num_masked must be in [0, 64], got 65"),
        ({"num_masked": 6.0}, TypeError, "num_masked must be an int, got float"),
        ({"num_masked": (1, 2, 3)}, ValueError, "num_masked must be a number or a pair of numbers, got (1, 2, 3)"),
        ({"num_masked": (5, 2)}, ValueError, "num_masked must be a pair in order, got (5, 2)"),
        ({"num_masked": (5, 65)}, ValueError, "num_masked must be in [0, 64], got 65"),
        ({"num_masked": (5.5, 8)}, TypeError, "num_masked must be an int, got float"),
        ({"num_masked": 6.0, "mode": "compat"}, TypeError, "num_masked must be an int, got float"),
        ({"num_masked": (5.5, 64.5), "mode": "compat"}, ValueError, "num_masked must be in [0, 64], got 64.5"),
        ({"num_masked": (5.5, 2), "mode": "compat"}, ValueError, "num_masked must be a pair in order, got (5.5, 2)"),
        ({"num_masked": (5, "6"), "mode": "compat"}, TypeError, "num_masked must be a number, got str"),
        ({"num_masked": (5, math.nan), "mode": "compat"}, ValueError, "num_masked must be finite, got nan"),
        ({"mask_probability": -1}, ValueError, "mask_probability must be a probability in [0, 1], got -1"),
        ({"min_patches": 0}, ValueError, "min_patches must be in [1, 64], got 0"),
        ({"min_patches": "4"}, TypeError, "min_patches must be a number, got str"),
        ({"max_patches": 3}, ValueError, "max_patches must be at least min_patches, got 3"),
        ({"max_patches": float("nan")}, ValueError, "max_patches must be finite, got nan"),
        ({"min_aspect": 0.0}, ValueError, "min_aspect must be in [1e-06, 1000000.0], got 0.0"),
        ({"min_aspect": 2.0}, ValueError, "min_aspect must be at most 1 where max_aspect is None, got 2.0"),
        ({"max_aspect": 0.1}, ValueError, "max_aspect must be in [min_aspect, 1000000.0], got 0.1"),
        ({"shift": 1}, TypeError, "shift must be a bool, got 1"),
        ({"mode": "fast"}, ValueError, "mode must be 'exact' or 'compat', got 'fast'"),
        ({"row_offset": -1}, ValueError, "row_offset must be at least 0, got -1"),
    ],
)
def test_bad_input(arguments, error, message):
    for function, seed in ((block_mask, {}), (host.block_mask, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "grid": (8, 8), "num_masked": 20, **arguments, **seed})
        assert str(raised.value) == f"block_mask: {message}"


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        (torch.zeros(2), TypeError, "num_masked must be an int or an int64 tensor, got torch.float32"),
        (torch.zeros(3, dtype=torch.int64), ValueError, "num_masked must have shape (2,), one a row, got (3,)"),
        (
            torch.zeros(2, dtype=torch.int64, device="meta"),
            ValueError,
            "num_masked must be on cpu, got meta",
        ),
    ],
)
def test_bad_numbers_of_rows(numbers, error, message):
    with pytest.raises(error) as raised:
        block_mask(2, (8, 8), numbers, device="cpu")
    assert str(raised.value) == f"block_mask: {message}"
    if numbers.device.type == "cpu":
        with pytest.raises(error) as raised:
            host.block_mask(2, (8, 8), numbers.numpy(), seed=1)
        array = message.replace("tensor", "array").replace("torch.", "")
        assert str(raised.value) == f"block_mask: {array}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in [0, 1), got 1.0"),
        ({"grid": 8}, TypeError, "grid must be (H, W), got int"),
        ({"min_aspect": None}, TypeError, "min_aspect must be a number, got NoneType"),
        ({"shift": None}, TypeError, "shift must be a bool, got None"),
        ({"mode": None}, ValueError, "mode must be 'exact' or 'compat', got None"),
    ],
)
def test_inverse_bad_input(arguments, error, message):
    for function, seed in ((inverse_block_mask, {}), (host.inverse_block_mask, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "grid": (8, 8), **arguments, **seed})
        assert str(raised.value) == f"inverse_block_mask: {message}"
