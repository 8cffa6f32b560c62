"""Masks of blocks and cells as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from count_tables import alike
from distributions import follows
from peer_oracle import peer
from scipy import stats

from sslfast.masking import (
    MaskedPatchCollator,
    block_mask,
    dino_masks,
    frame_mask,
    grid_patch_mask,
    inverse_block_mask,
    square_mask,
    tube_mask,
)

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


# ---- block_mask


def dinov2_mask(random: np.random.Generator, height: int, width: int, masked: float, least: float = 4) -> np.ndarray:
    """The published algorithm: rectangles of random area and aspect until nothing can be added in ten tries."""
    mask = np.zeros((height, width), dtype=bool)
    count = 0
    while count < masked:
        missing, added = masked - count, 0
        for _ in range(10):
            area = least + (missing - least) * random.random()  # less is missing than the least at last
            aspect = math.exp(random.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
                new = h * w - int(mask[top : top + h, left : left + w].sum())
                if 0 < new <= missing:
                    mask[top : top + h, left : left + w] = True
                    added = new
                    break
        if added == 0:
            break
        count += added
    return mask


@pytest.mark.parametrize(("masked", "least"), [(58, 4), (75, 16), (10, 4)])
def test_compat_is_distributed_as_dinov2(masked, least):
    random, rows = np.random.default_rng(1), 3000
    theirs = np.stack([dinov2_mask(random, 14, 14, masked, least) for _ in range(rows)])
    ours = block_mask(rows, (14, 14), masked, min_patches=least, mode="compat", generator=2).numpy()
    counts = [np.bincount(m.sum((1, 2)), minlength=masked + 1) for m in (ours, theirs)]
    assert alike(*counts) > ALPHA
    # of patches, which are not independent of one another: each by itself
    for position in range(0, 196, 13):
        a, b = (int(m.reshape(rows, -1)[:, position].sum()) for m in (ours, theirs))
        assert stats.fisher_exact([[a, rows - a], [b, rows - b]]).pvalue > ALPHA
    edges = [np.bincount((m[:, 1:] != m[:, :-1]).sum((1, 2)), minlength=200)[:200] for m in (ours, theirs)]
    assert alike(*edges) > ALPHA  # how ragged the masks are


def test_a_shift_makes_every_patch_equally_likely():
    rows = 40_000
    shifted = block_mask(rows, (6, 5), 9, shift=True, generator=3).numpy().reshape(rows, -1)
    for position in range(30):
        assert stats.binomtest(int(shifted[:, position].sum()), rows, 0.3).pvalue > ALPHA
    plain = block_mask(rows, (6, 5), 9, generator=3).numpy().mean(0)
    assert plain[2:4, 2].min() > 1.5 * plain[0, 0]  # what the shift is for


def test_exact_completes_uniformly():
    """Blocks of one patch alone and none that fits: what completes the mask is a uniform subset."""
    rows = 40_000
    mask = block_mask(rows, (2, 3), 3, min_patches=6, max_patches=6, min_aspect=1e5, max_aspect=1e5, generator=4)
    codes = np.bincount(mask.flatten(1).numpy() @ (1 << np.arange(6)), minlength=64)
    assert (codes > 0).sum() == 20  # 6 choose 3
    assert stats.chisquare(codes[codes > 0]).pvalue > ALPHA


def test_numbers_of_rows_are_uniform():
    rows = 20_000
    counts = block_mask(rows, (6, 6), (5, 14), mask_probability=0.7, generator=5).sum((1, 2)).numpy()
    numbers = np.bincount(counts, minlength=15)
    assert numbers[1:5].sum() == 0
    assert stats.binomtest(int(numbers[0]), rows, 0.3).pvalue > ALPHA
    assert stats.chisquare(numbers[5:]).pvalue > ALPHA


def test_compat_of_pairs_is_distributed_as_ibot():
    """Its loader: half of the images are masked, each up to a real number of patches that is uniform."""
    random, rows = np.random.default_rng(1), 6000
    targets = [random.uniform(0.1, 0.5) * 196 if random.random() < 0.5 else 0 for _ in range(rows)]
    theirs = np.stack([dinov2_mask(random, 14, 14, target, least=16) for target in targets])
    ours = MaskedPatchCollator((14, 14), "ibot", mode="compat", seed=3)([0] * rows)["mask"].numpy()
    counts = [np.bincount(m.sum((1, 2)), minlength=197) for m in (ours, theirs)]
    assert alike(*counts) > ALPHA
    assert counts[0][98:].sum() == 0
    edges = [np.bincount((m[:, 1:] != m[:, :-1]).sum((1, 2)), minlength=200)[:200] for m in (ours, theirs)]
    assert alike(*edges) > ALPHA
    exact = MaskedPatchCollator((14, 14), "ibot", seed=3)([0] * rows)["mask"].flatten(1).sum(1)
    assert {int(exact[exact > 0].min()), int(exact.max())} == {19, 98}  # whole numbers, both ends included


# ---- inverse_block_mask


def capi_mask(random: np.random.Generator, side: int, visible: int) -> np.ndarray:
    """The published algorithm, without a shift: the first patches of a rectangle stay."""
    low = max(math.log(0.5), math.log(visible / side**2))
    high = min(math.log(2), math.log(side**2 / (visible + 1e-5)))
    aspect = math.exp(random.uniform(low, high))
    h, w = min(side, math.ceil(math.sqrt(visible * aspect))), min(side, math.ceil(math.sqrt(visible / aspect)))
    top, left = random.integers(0, side - h + 1), random.integers(0, side - w + 1)
    block = np.zeros((side, side), dtype=bool)
    block[top : top + h, left : left + w] = True
    mask = np.ones(side * side, dtype=bool)
    mask[block.flatten().nonzero()[0][:visible]] = False
    return mask.reshape(side, side)


def test_compat_is_distributed_as_capi():
    random, rows = np.random.default_rng(1), 5000
    visible = 196 - int(196 * 0.65)
    theirs = np.stack([capi_mask(random, 14, visible) for _ in range(rows)])
    ours = inverse_block_mask(rows, (14, 14), 0.65, shift=False, mode="compat", generator=2).numpy()
    for position in range(0, 196, 5):
        a, b = (int(m.reshape(rows, -1)[:, position].sum()) for m in (ours, theirs))
        assert stats.fisher_exact([[a, rows - a], [b, rows - b]]).pvalue > ALPHA
    heights = [np.bincount((~m).any(2).sum(1), minlength=15) for m in (ours, theirs)]
    assert alike(*heights) > ALPHA


def test_compat_is_distributed_as_lightly():
    """The real function: where the visible block lies, shifted."""
    utils = peer("lightly.models.utils")
    torch.manual_seed(0)
    _, masked = utils.random_inverse_block_mask((4000, 50), num_prefix_tokens=1)
    theirs = torch.zeros(4000, 50, dtype=torch.bool).scatter_(1, masked, True)[:, 1:].view(-1, 7, 7).numpy()
    ours = inverse_block_mask(4000, (7, 7), 0.65, mode="compat", generator=2).numpy()
    assert ours.sum() == theirs.sum()
    for axis in (1, 2):
        occupied = [np.bincount((~m).any(axis).sum(1), minlength=8) for m in (ours, theirs)]
        assert alike(*occupied) > ALPHA


def law_of_inverse_blocks(height: int, width: int, visible: int, mode: str) -> np.ndarray:
    """Probability of every mask's code for aspects from 1/2 to 2, by the definition."""
    law = np.zeros(2 ** (height * width))
    turns = [a for k in range(1, 9) for a in (k * k / visible, visible / (k * k)) if 0.5 < a < 2]  # another size begins
    edges = np.unique(np.log([0.5, *turns, 2]))
    for low, high in itertools.pairwise(edges):
        aspect = math.exp((low + high) / 2)
        h, w = math.ceil(math.sqrt(visible * aspect)), math.ceil(math.sqrt(visible / aspect))
        block = (np.arange(h * w) >= visible).reshape(h, w)
        forms = [block, block[::-1], block[:, ::-1], block[::-1, ::-1]] if mode == "exact" else [block]
        places = list(itertools.product(range(height - h + 1), range(width - w + 1), forms))
        for top, left, form in places:
            mask = np.ones((height, width), dtype=bool)
            mask[top : top + h, left : left + w] = form
            law[mask.reshape(-1) @ (1 << np.arange(height * width))] += (high - low) / math.log(4) / len(places)
    return law


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("ratio", [0.7, 0.65])
def test_every_inverse_block_is_as_likely_as_its_aspect(mode, ratio):
    mask = inverse_block_mask(40_000, (5, 4), ratio, shift=False, mode=mode, generator=4).flatten(1).numpy()
    visible = 20 - round(20 * ratio)
    assert follows(mask @ (1 << np.arange(20)), law_of_inverse_blocks(5, 4, visible, mode))


def test_a_shifted_inverse_block_leaves_every_patch_alike():
    rows = 40_000
    for mode in ("exact", "compat"):
        mask = inverse_block_mask(rows, (5, 6), 0.6, mode=mode, generator=3).numpy().reshape(rows, -1)
        for position in range(30):
            assert stats.binomtest(int(mask[:, position].sum()), rows, 0.6).pvalue > ALPHA


# ---- square_mask


def data2vec_mask(random: np.random.Generator, side: int, kept: int, squares: int) -> np.ndarray:
    """The published algorithm for squares of 3: patches around random ones, thinned or completed at random."""
    marked = np.zeros((side, side), dtype=bool)
    for centre in random.integers(0, side * side, squares):
        y, x = divmod(int(centre), side)
        marked[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    flat = marked.reshape(-1)
    wrong = int(flat.sum()) - kept
    if wrong:
        flat[random.choice(np.flatnonzero(flat == (wrong > 0)), abs(wrong), replace=False)] = wrong < 0
    return ~marked


@pytest.mark.parametrize("adjust", [0.0, 0.07, 0.3])
def test_squares_are_distributed_as_data2vec(adjust):
    random, rows = np.random.default_rng(1), 4000
    kept, squares = int(196 * (1 - 0.8)), int(196 * ((1 - 0.8 + adjust) / 9))
    theirs = np.stack([data2vec_mask(random, 14, kept, squares) for _ in range(rows)])
    ours = square_mask(rows, (14, 14), 0.8, adjust=adjust, generator=2).numpy()
    assert (ours.sum((1, 2)) == 196 - kept).all()
    for position in range(0, 196, 13):
        a, b = (int(m.reshape(rows, -1)[:, position].sum()) for m in (ours, theirs))
        assert stats.fisher_exact([[a, rows - a], [b, rows - b]]).pvalue > ALPHA
    edges = [np.bincount((m[:, 1:] != m[:, :-1]).sum((1, 2)), minlength=200)[:200] for m in (ours, theirs)]
    assert alike(*edges) > ALPHA


# ---- dino_mask


def test_every_row_of_a_batch_is_masked_alike():
    chosen = torch.stack([dino_masks(8, (4, 4), generator=1, batch_number=n).masks.any(1) for n in range(8000)])
    codes = np.bincount(chosen.numpy() @ (1 << np.arange(8)), minlength=256)
    assert (codes > 0).sum() == 70  # 8 choose 4
    assert stats.chisquare(codes[codes > 0]).pvalue > ALPHA


def test_ratios_are_uniform_within_the_range():
    counts = torch.cat([dino_masks(4, (20, 20), generator=s, mask_probability=1).masks.sum(1) for s in range(3000)])
    bins = np.bincount(((counts - 40) // 20).numpy(), minlength=8)
    assert len(bins) == 8  # 0.1 to 0.5 of 400
    assert stats.chisquare(bins).pvalue > ALPHA
