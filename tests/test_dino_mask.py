"""dino_mask: the reference bit for bit, its targets, DINOv2's collator by its published algorithm, bad input."""

from __future__ import annotations

import pytest
import torch
from oracle import all_equal

from sslfast import host, ops
from sslfast.masking import block_mask, dino_masks, mask_indices
from sslfast.reference import dino_mask as reference

# (rows, grid, options) and why it is there
SIZES = [
    (12, (14, 14), {}),  # DINOv2 at 224
    (5, (7, 9), {"mask_probability": 1.0, "mask_ratio_min_max": (0.0, 1.0)}),  # every row, all ratios
    (5, (7, 9), {"mask_probability": 0.0}),  # no row
    (5, (7, 9), {"mask_probability": 0.1}),  # int(0.5) rows
    (70, (4, 4), {"mask_ratio_min_max": (0.3, 0.3), "min_patches": 2}),  # more rows than a warp, one ratio
    (6, (20, 20), {"max_patches": 30, "shift": True}),  # several steps of a GPU block
    (0, (7, 9), {}),  # no rows
]


@pytest.mark.parametrize(("rows", "grid", "options"), SIZES)
@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("batch_number", [0, 2**40])
def test_equals_reference(device, rows, grid, options, mode, batch_number):
    draws = {"row_offset": 5, "batch_number": batch_number, **options}
    ours = dino_masks(rows, grid, generator=7, mode=mode, device=device, **draws)
    expected = reference.dino_masks(rows, grid, upperbound=ours.upperbound, seed=7, exact=mode == "exact", **draws)
    assert ours.upperbound == expected[3]
    assert all_equal(ours[:3] + ours[4:], expected[:3] + expected[4:])
    arrays = host.dino_masks(rows, grid, seed=7, mode=mode, threads=2, **draws)
    assert arrays.upperbound == ours.upperbound
    assert all_equal([torch.from_numpy(a) for a in arrays[:3] + arrays[4:]], expected[:3] + expected[4:])


def test_lists_are_those_of_the_masks(device):
    masks, indices, weights, upperbound, n_masked = dino_masks(40, (14, 14), device=device)
    counts = masks.sum(1)
    assert (counts > 0).sum() == 20
    total = int(n_masked)
    assert total == int(counts.sum()) <= upperbound == len(indices) == len(weights)
    assert torch.equal(indices[:total], mask_indices(masks).indices[:total])
    assert torch.equal(weights[:total], 1 / counts[indices[:total] // 196].float())
    assert (indices[total:] == -1).all()
    assert (weights[total:] == 0).all()
    torch.testing.assert_close(weights.sum().cpu(), torch.tensor(20.0))


def test_ratios_are_stratified():
    masks = dino_masks(64, (14, 14), generator=5).masks
    counts = masks.sum(1)[masks.any(1)].sort().values.tolist()
    assert len(counts) == 32
    for i, count in enumerate(counts):
        low, high = (196 * (0.1 + 0.4 * (i + k) / 32) for k in (0, 1))
        assert int(low) <= count <= int(high)


def test_upperbound_is_that_of_dinov2():
    probabilities = torch.linspace(0.1, 0.5, 33)
    expected = sum(int(196 * p) for p in probabilities[1:])
    assert abs(dino_masks(64, (14, 14)).upperbound - expected) <= 1  # DINOv2 rounds in float32


def test_blocks_are_those_of_block_mask():
    """A row's blocks depend on its number alone: what the batch decides is how many patches."""
    masks = dino_masks(16, (14, 14), generator=3, row_offset=8).masks.view(16, 14, 14)
    targets = reference.dino_targets(16, 196, (0.1, 0.5), 0.5, seed=3, row_offset=8)
    assert torch.equal(masks, block_mask(16, (14, 14), targets, generator=3, row_offset=8))


def test_the_batch_number_changes_who_is_masked():
    first, again, other = (dino_masks(64, (8, 8), generator=3, batch_number=n).masks.any(1) for n in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_opcheck(device):
    like = torch.empty((), device=device)
    options = (4.0, 12.0, -1.0, 1.0, True, False, 2, 0.1, 0.5, 40, 0, 0)
    torch.library.opcheck(ops.dino_mask, (like, torch.tensor(1), None, 4, 6, 7, *options))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": -1}, ValueError, "batch_size must be in [0, 2147483647], got -1"),
        ({"grid": None}, TypeError, "grid must be (H, W), got NoneType"),
        ({"mask_ratio_min_max": 0.5}, TypeError, "mask_ratio_min_max must be a pair of numbers, got float"),
        ({"mask_ratio_min_max": (0.1,)}, ValueError, "mask_ratio_min_max must be a pair of numbers, got (0.1,)"),
        (
            {"mask_ratio_min_max": (0.5, 0.1)},
            ValueError,
            "mask_ratio_min_max must be two numbers in order in [0, 1], got (0.5, 0.1)",
        ),
        ({"mask_probability": 1.5}, ValueError, "mask_probability must be a probability in [0, 1], got 1.5"),
        ({"min_patches": 100}, ValueError, "min_patches must be in [1, 64], got 100"),
        ({"batch_number": -1}, ValueError, "batch_number must be at least 0, got -1"),
        ({"mode": "x"}, ValueError, "mode must be 'exact' or 'compat', got 'x'"),
    ],
)
def test_bad_input(arguments, error, message):
    for function, seed in ((dino_masks, {}), (host.dino_masks, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "grid": (8, 8), **arguments, **seed})
        assert str(raised.value) == f"dino_masks: {message}"
