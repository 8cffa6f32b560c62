"""Drop-ins for masks of blocks and cells: what the peers return, and lightly's own functions as oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peer_oracle import peer
from scipy import stats
from torch.utils.data import DataLoader

from sslfast.masking.drop_in import dinov2, ijepa, lightly, simmim, videomae, vjepa
from sslfast.random import seed_tensor
from sslfast.reference import block_mask as reference

ALPHA = 1e-4


def alike(ours, theirs):
    """p-value of two samples of small counts being of one distribution; rare counts are one."""
    size = max(ours.max(), theirs.max()) + 1
    tables = [np.bincount(counts, minlength=size) for counts in (ours, theirs)]
    common = tables[0] + tables[1] >= 10
    table = np.stack([np.append(t[common], t[~common].sum()) for t in tables])
    return stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue


# ---- DINOv2


def test_masking_generator():
    torch.manual_seed(0)
    generator = dinov2.MaskingGenerator((14, 12), max_num_patches=0.5 * 14 * 12)
    assert generator.get_shape() == (14, 12)
    assert repr(generator) == "MaskingGenerator(14, 12, blocks of 4.0 to 84.0, log aspects -1.204 to 1.204)"
    for asked in (0, 3, 58, 10**6):
        mask = generator(asked)
        assert isinstance(mask, np.ndarray)
        assert mask.dtype == np.bool_
        assert mask.shape == (14, 12)
        assert mask.sum() <= asked
    assert generator().sum() == generator(-1).sum() == 0
    counts = np.array([generator(58).sum() for _ in range(2000)])
    assert 0.9 < (counts == 58).mean() < 0.96
    ends = dinov2.MaskingGenerator(14, 3)  # blocks of 3 at most, of 4 at least: of 3 to 4
    assert 40 < ends(50).sum() <= 50


def crops(images=6):
    return [
        (
            {
                "global_crops": [torch.full((3, 4, 4), float(i)) for _ in range(2)],
                "local_crops": [torch.ones(3, 2, 2)] * 3,
            },
            0,
        )
        for i in range(images)
    ]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_collate_data_and_cast(one_by_one):
    torch.manual_seed(0)
    generator = dinov2.MaskingGenerator((14, 14))
    call = (lambda n: generator(n)) if one_by_one else generator
    batch = dinov2.collate_data_and_cast(crops(), (0.1, 0.5), 0.5, torch.half, n_tokens=196, mask_generator=call)
    assert batch["collated_global_crops"].shape == (12, 3, 4, 4)
    assert batch["collated_global_crops"].dtype == torch.half
    assert batch["collated_global_crops"][:, 0, 0, 0].tolist() == [*range(6), *range(6)]
    assert batch["collated_local_crops"].shape == (18, 3, 2, 2)
    masks = batch["collated_masks"]
    assert masks.shape == (12, 196)
    assert masks.dtype == torch.bool
    assert masks.any(1).sum() == 6
    found = masks.flatten().nonzero().flatten()
    assert torch.equal(batch["mask_indices_list"], found)
    weights = (1 / masks.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(masks)[masks]
    assert torch.equal(batch["masks_weight"], weights)
    assert batch["upperbound"] == sum(int(196 * p) for p in torch.linspace(0.1, 0.5, 7)[1:])
    assert batch["n_masked_patches"].tolist() == [len(found)]
    assert len(found) <= batch["upperbound"]


def test_collate_needs_a_generator():
    with pytest.raises(TypeError, match="collate_data_and_cast: n_tokens and mask_generator must be given, got None"):
        dinov2.collate_data_and_cast(crops(), (0.1, 0.5), 0.5, torch.float)


# ---- I-JEPA


def test_ijepa_collator_returns_what_the_peer_does():
    options = {"input_size": (112, 96), "npred": 3, "nenc": 2, "min_keep": 2}
    theirs = peer("lightly.data.ijepa_collate").IJEPAMaskCollator(**options)
    ours = ijepa.MaskCollator(**options)
    batch = [(torch.ones(3), i) for i in range(4)]
    for got, expected in zip(ours(batch), theirs(batch), strict=True):
        assert type(got) is type(expected)
        assert len(got) == len(expected)
        assert all(a.dtype == b.dtype for a, b in zip(got, expected, strict=True))
        assert all(a.shape[0] == b.shape[0] for a, b in zip(got, expected, strict=True))


def test_ranks_of_ijepa_draw_equal_sizes():
    first, second = ijepa.MaskCollator(224, npred=4), ijepa.MaskCollator(224, npred=4)
    for _ in range(5):
        (_, _, a), (_, _, b) = first([0] * 4), second([0] * 4)
        assert a[0].shape == b[0].shape
        assert not torch.equal(a[0], b[0])


def test_ijepa_in_workers():
    collator = ijepa.MaskCollator(64, 8)
    loader = DataLoader(list(range(16)), 4, num_workers=2, collate_fn=collator)
    assert sorted(i for images, _, _ in loader for i in images.tolist()) == list(range(16))
    assert collator.step() == 4  # of both workers


# ---- V-JEPA

SETTINGS = [
    {"spatial_scale": (0.15, 0.15), "temporal_scale": (1.0, 1.0), "aspect_ratio": (0.75, 1.5), "num_blocks": 8},
    {"spatial_scale": (0.7, 0.7), "temporal_scale": (1.0, 1.0), "aspect_ratio": (0.75, 1.5), "num_blocks": 2},
]


def test_vjepa_collator():
    first, second = vjepa.MaskCollator(SETTINGS), vjepa.MaskCollator(SETTINGS, 224, 16, 16, 2)
    assert first.grid == second.grid == (8, 14, 14)
    videos, contexts, targets = first([torch.ones(2)] * 3)
    assert videos.shape == (3, 2)
    assert [len(lists) for lists in (contexts, targets)] == [2, 2]
    for context, target in zip(contexts, targets, strict=True):
        for c, t in zip(context, target, strict=True):
            assert not set(c.tolist()) & set(t.tolist())
            assert int(torch.cat([c, t]).max()) < 1568
    (_, _, a), (_, _, b) = first([0] * 3), second([0] * 3)
    assert not torch.equal(a[0][:, :50], b[0][:, :50])
    limited = vjepa.MaskCollator([{**SETTINGS[0], "max_temporal_keep": 0.5, "max_keep": 7}])([0] * 3)
    assert limited[1][0].shape == (3, 7)
    assert limited[1][0].max() < 4 * 196


# ---- SimMIM, VideoMAE


def test_simmim():
    generator = simmim.MaskGenerator()
    assert (generator.rand_size, generator.scale, generator.token_count, generator.mask_count) == (6, 8, 36, 22)
    mask = generator()
    assert isinstance(mask, np.ndarray)
    assert mask.dtype == np.int64
    assert mask.shape == (48, 48)
    cells = mask.reshape(6, 8, 6, 8).transpose(0, 2, 1, 3).reshape(36, 64)
    assert set(cells.sum(1).tolist()) == {0, 64}
    assert cells[:, 0].sum() == 22
    assert simmim.MaskGenerator(mask_ratio=1.0)().all()
    with pytest.raises(ValueError, match="MaskGenerator: mask_patch_size must divide input_size 192, got 40"):
        simmim.MaskGenerator(mask_patch_size=40)
    with pytest.raises(ValueError, match="MaskGenerator: model_patch_size must divide mask_patch_size 32, got 5"):
        simmim.MaskGenerator(model_patch_size=5)


def test_videomae():
    generator = videomae.TubeMaskingGenerator((8, 14, 14), 0.9)
    assert (generator.total_patches, generator.num_masks_per_frame, generator.total_masks) == (1568, 176, 1408)
    assert repr(generator) == "TubeMaskingGenerator(1408 of 1568 patches are masked)"
    mask = generator()
    assert isinstance(mask, np.ndarray)
    assert mask.dtype == np.float64
    assert mask.shape == (1568,)
    frames = mask.reshape(8, 196)
    assert (frames == frames[0]).all()
    assert frames[0].sum() == 176


# ---- lightly


def test_random_block_mask_is_distributed_as_lightly():
    utils = peer("lightly.models.utils")
    torch.manual_seed(0)
    import random

    random.seed(0)
    theirs = utils.random_block_mask((1500, 14, 14))
    ours = lightly.random_block_mask((1500, 14, 14))
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    counts = [m.sum((1, 2)).numpy() for m in (ours, theirs)]
    assert (counts[0] == 0).sum() == (counts[1] == 0).sum() == 750
    assert stats.ks_2samp(*counts).pvalue > ALPHA
    heights = [m[m.any(2).any(1)].any(2).sum(1).numpy() for m in (ours, theirs)]
    assert alike(*heights) > ALPHA


def test_random_block_mask_image():
    mask = lightly.random_block_mask_image((14, 10), 40)
    assert mask.shape == (14, 10)
    assert 0 < mask.sum() <= 40
    with pytest.raises(ValueError, match="max_num_masks_per_block must be at least min_num_masks_per_block 4, got 3"):
        lightly.random_block_mask_image((14, 10), 3)
    with pytest.raises(
        ValueError, match=r"random_block_mask_image: max_attempts_per_block must be in \[1, 1000\], got 0"
    ):
        lightly.random_block_mask_image((14, 10), 30, max_attempts_per_block=0)
    with pytest.raises(ValueError, match="random_block_mask_image: min_block_aspect_ratio must be in"):
        lightly.random_block_mask_image((14, 10), 30, min_block_aspect_ratio=0)


@pytest.mark.parametrize("tries", [1, 3, 16, 40])
def test_attempts_per_block(device, tries):
    """More attempts reach what is asked for more often."""
    grid, wanted, found = (9, 8), 40, []
    for seed in range(30):
        torch.manual_seed(seed)
        mask = lightly.random_block_mask_image(grid, wanted, max_attempts_per_block=tries, device=device)
        torch.manual_seed(seed)
        drawn = int(seed_tensor())
        expected = reference.block_mask(1, grid, wanted, max_patches=wanted, exact=False, tries=tries, seed=drawn)
        assert torch.equal(mask.cpu(), expected[0])
        found.append(int(mask.sum()))
    assert (sum(found) > 30 * 38) == (tries > 1), found
    masks = lightly.random_block_mask((64, *grid), max_attempts_per_block=tries)
    assert masks.shape == (64, *grid)


@pytest.mark.parametrize(
    ("ratio", "prefix", "cell"), [(0.75, 1, 4), (0.6, 0, 2), (0.3, 5, 1), (1.0, 1, 4), (0.0, 1, 4)]
)
def test_random_grid_token_mask(device, ratio, prefix, cell):
    utils = peer("lightly.models.utils")
    size = (30, prefix + 64)
    theirs = utils.random_grid_token_mask(size, ratio, cell, prefix)
    ours = lightly.random_grid_token_mask(size, ratio, cell, prefix, device=device)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
    keep, masked = (t.cpu() for t in ours)
    assert torch.equal(keep[:, :prefix], torch.arange(prefix).expand(30, prefix))
    assert torch.equal(torch.cat([keep, masked], 1).sort().values, torch.arange(prefix + 64).expand(30, -1))
    grid = torch.zeros(30, prefix + 64).scatter_(1, masked, 1.0)[:, prefix:].view(30, 8 // cell, cell, 8 // cell, cell)
    assert torch.equal(grid.amax((2, 4)), grid.amin((2, 4)))


@pytest.mark.parametrize(("ratio", "roll"), [(0.65, True), (0.65, False), (0.0, True), (1.0, False), (0.95, True)])
def test_random_inverse_block_mask(device, ratio, roll):
    utils = peer("lightly.models.utils")
    torch.manual_seed(0)
    size = (2000, 50)
    theirs = utils.random_inverse_block_mask(size, ratio, roll=roll)
    ours = lightly.random_inverse_block_mask(size, ratio, roll=roll, device=device)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a.diff(dim=1) > 0).all()
    for position in range(1, 50, 6):
        counts = [int((keep == position).sum()) for keep, _ in (ours, theirs)]
        assert stats.fisher_exact([[c, 2000 - c] for c in counts]).pvalue > ALPHA


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("random_block_mask", {"size": (4, 14)}, ValueError, "size must be (batch size, H, W), got (4, 14)"),
        (
            "random_block_mask",
            {"size": (4, 14, 14), "max_image_mask_ratio": 0.05},
            ValueError,
            "max_image_mask_ratio must be at least min_image_mask_ratio 0.1, got 0.05",
        ),
        (
            "random_grid_token_mask",
            {"size": (4, 66)},
            ValueError,
            "the patches behind the prefix must be a square number, got 65",
        ),
        (
            "random_grid_token_mask",
            {"size": (4, 65), "grid_size": 3},
            ValueError,
            "grid_size must divide the grid's side 8, got 3",
        ),
        ("random_inverse_block_mask", {"size": 5}, ValueError, "size must be (batch size, sequence length), got 5"),
    ],
)
def test_lightly_bad_input(name, arguments, error, message):
    with pytest.raises(error) as raised:
        getattr(lightly, name)(**arguments)
    assert str(raised.value) == f"{name}: {message}"
