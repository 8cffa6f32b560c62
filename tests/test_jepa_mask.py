"""jepa_mask: the reference bit for bit, contexts without targets, what the modes differ in, fixed sizes, bad input."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from oracle import all_equal

from sslfast import _jepa_rules, host, ops
from sslfast.masking import ijepa_masks, vjepa_masks
from sslfast.reference import jepa_mask as reference

IN1K = {
    "enc_mask_scale": (0.85, 1.0),
    "pred_mask_scale": (0.15, 0.2),
    "aspect_ratio": (0.75, 1.5),
    "npred": 4,
    "min_keep": 10,
}

# (rows, grid, options) and why it is there
IMAGES = [
    (5, (14, 14), IN1K),  # I-JEPA on ImageNet
    (5, (14, 14), {}),  # the defaults of its collator
    (4, (14, 14), {**IN1K, "nenc": 3}),  # several contexts, of one size
    (4, (6, 9), {"allow_overlap": True, "npred": 3}),  # contexts of one size to begin with
    (4, (5, 5), {"pred_mask_scale": (0.6, 0.9), "min_keep": 12, "npred": 3}),  # targets that leave too little: retries
    (3, (5, 5), {"pred_mask_scale": (1, 1), "enc_mask_scale": (1, 1), "min_keep": 25}),  # never enough
    (3, (1, 1), {"enc_mask_scale": (0, 1), "min_keep": 0}),  # one patch
    (2, (3, 130), {"aspect_ratio": (0.01, 0.2)}),  # words of bits
    (2, (66, 66), {}),  # more patches than a GPU block keeps keys of
    (90, (4, 4), {"min_keep": 1}),  # many rows
    (0, (14, 14), IN1K),  # no rows
]


@pytest.mark.parametrize(("rows", "grid", "options"), IMAGES)
@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("pad", [False, True])
def test_ijepa_equals_reference(device, rows, grid, options, mode, pad):
    draws = {"row_offset": 2**33, "batch_number": 5, "pad": pad, **options}
    context = options.get("enc_mask_scale", (0.2, 0.8))
    target, aspect = options.get("pred_mask_scale", (0.2, 0.8)), options.get("aspect_ratio", (0.3, 3.0))
    capacities = (
        _jepa_rules.block_capacity(*grid, context, (1.0, 1.0)),
        _jepa_rules.block_capacity(*grid, target, aspect),
    )
    exact = mode == "exact"
    contexts, targets, sizes = reference.ijepa_masks(rows, grid, seed=7, exact=exact, capacities=capacities, **draws)
    nenc = len(contexts)
    sizes = sizes[nenc - 1 :]
    fixed = ijepa_masks(rows, grid, generator=7, mode=mode, device=device, fixed_size=True, **draws)
    assert all_equal(fixed.masks_enc, contexts)
    assert all_equal(fixed.masks_pred, targets)
    assert all_equal([fixed.sizes], [sizes])
    ours = ijepa_masks(rows, grid, generator=7, mode=mode, device=device, **draws)
    assert all_equal(ours.masks_enc, [c[:, : sizes[0]] for c in contexts])
    assert all_equal(ours.masks_pred, [t[:, : sizes[1]] for t in targets])
    assert all(t.is_contiguous() for t in ours.masks_enc + ours.masks_pred)
    for size in (False, True):
        arrays = host.ijepa_masks(rows, grid, seed=7, mode=mode, threads=2, fixed_size=size, **draws)
        for found, expected in zip(arrays[:2], (fixed if size else ours)[:2], strict=True):
            assert all_equal([torch.from_numpy(a) for a in found], expected)
        assert all_equal([torch.from_numpy(arrays.sizes)], [sizes])


VIDEOS = [
    (4, (8, 14, 14), {"spatial_scale": (0.15, 0.15), "aspect_ratio": (0.75, 1.5), "npred": 8}),  # V-JEPA, short range
    (4, (8, 14, 14), {"spatial_scale": (0.7, 0.7), "aspect_ratio": (0.75, 1.5), "npred": 2}),  # long range
    (4, (4, 6, 5), {"temporal_scale": (0.3, 0.8), "npred": 3}),  # blocks in time
    (4, (6, 5, 5), {"max_context_frames_ratio": 0.5, "max_keep": 9}),  # later frames are targets
    (5, (1, 3, 3), {"spatial_scale": (0.6, 0.6), "npred": 6}),  # blocks that leave no context
    (2, (3, 4, 130), {}),  # words of bits
    (2, (8, 24, 24), {}),  # more patches than a GPU block keeps keys of
    (0, (2, 4, 4), {}),
]


@pytest.mark.parametrize(("rows", "grid", "options"), VIDEOS)
@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize("pad", [False, True])
def test_vjepa_equals_reference(device, rows, grid, options, mode, pad):
    draws = {"row_offset": 2**33, "batch_number": 5, "pad": pad, **options}
    lists, sizes = reference.vjepa_masks(rows, grid, seed=7, exact=mode == "exact", **draws)
    fixed = vjepa_masks(rows, grid, generator=7, mode=mode, device=device, fixed_size=True, **draws)
    assert all_equal(fixed, [*lists, sizes])
    ours = vjepa_masks(rows, grid, generator=7, mode=mode, device=device, **draws)
    assert all_equal(ours, [lists[0][:, : sizes[0]], lists[1][:, : sizes[1]], sizes])
    for size in (False, True):
        arrays = host.vjepa_masks(rows, grid, seed=7, mode=mode, threads=2, fixed_size=size, **draws)
        assert all_equal([torch.from_numpy(a) for a in arrays], fixed if size else ours)


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_contexts_have_no_target(device, mode):
    contexts, targets, sizes = ijepa_masks(64, (14, 14), mode=mode, device=device, **{**IN1K, "nenc": 2})
    assert sizes.tolist() == [contexts[0].shape[1], targets[0].shape[1]]
    for context in contexts:
        assert context.shape == contexts[0].shape
        assert (context.diff(dim=1) > 0).all()  # ascending, none twice
        assert context.min() >= 0
        for target in targets:
            assert not (context[:, :, None] == target[:, None]).any()


def test_video_lists_are_a_partition():
    contexts, targets, _ = vjepa_masks(20, (4, 6, 6), npred=2, pad=True, spatial_scale=(0.3, 0.3))
    for context, target in zip(contexts, targets, strict=True):
        both = torch.cat([context[context >= 0], target[target >= 0]]).sort().values
        assert torch.equal(both, torch.arange(144))


def test_a_target_is_a_block_of_one_size():
    _, targets, _ = ijepa_masks(50, (14, 14), **IN1K)
    first = targets[0][0]
    for target in targets:
        rows, columns = target // 14, target % 14
        height, width = rows[:, -1] - rows[:, 0] + 1, columns.amax(1) - columns.amin(1) + 1
        assert (height * width == target.shape[1]).all()
        assert (height == first[-1] // 14 - first[0] // 14 + 1).all()


def test_retries_end_with_an_unconstrained_block():
    """Targets that are everything: the context avoids one after the other, at last none."""
    everything = {"pred_mask_scale": (1, 1), "aspect_ratio": (1, 1), "enc_mask_scale": (1, 1)}
    contexts, targets, _ = ijepa_masks(4, (6, 6), **everything)
    assert torch.equal(contexts[0], torch.arange(36).expand(4, 36))
    assert torch.equal(targets[0], contexts[0])


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_every_context_has_a_patch(mode):
    """Also beside targets that leave none: the tries are bounded, and the last avoids no target."""
    for grid, enc in (((6, 6), (0.01, 0.02)), ((4, 9), (1.0, 1.0)), ((2, 2), (0.0, 0.3)), ((1, 7), (0.2, 0.8))):
        options = {"enc_mask_scale": enc, "pred_mask_scale": (1.0, 1.0), "npred": 4, "nenc": 2, "mode": mode}
        for least in (0, grid[0] * grid[1]):
            masks = ijepa_masks(50, grid, **options, min_keep=least, generator=2)
            assert int(masks.sizes[0]) >= 1
            assert all((context >= 0).all() for context in masks.masks_enc)


def test_batch_number_draws_sizes_and_nothing_else():
    sizes = {tuple(ijepa_masks(2, (14, 14), generator=1, batch_number=n).sizes.tolist()) for n in range(30)}
    assert len(sizes) > 10
    first, second = (
        ijepa_masks(
            2,
            (14, 14),
            generator=1,
            batch_number=n,
            enc_mask_scale=(0.5, 0.5),
            pred_mask_scale=(0.2, 0.2),
            aspect_ratio=(1, 1),
        )
        for n in (1, 2)
    )
    assert all_equal(first.masks_pred, second.masks_pred)


def test_opcheck(device):
    like, seed = torch.empty((), device=device), torch.tensor(1)
    torch.library.opcheck(
        ops.ijepa_mask,
        (like, seed, None, 3, 6, 7, 0.2, 0.8, 0.2, 0.5, 0.5, 2.0, 2, 3, 4, False, True, True, 42, 42, 0, 0),
    )
    torch.library.opcheck(
        ops.vjepa_mask, (like, seed, None, 3, 2, 6, 7, 1.0, 1.0, 0.2, 0.5, 0.5, 2.0, 2, 2, 0, True, True, 0, 0)
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 1.0}, TypeError, "batch_size must be an int, got float"),
        ({"grid": (14, 14, 14)}, ValueError, "grid must be (H, W), got (14, 14, 14)"),
        ({"grid": (2049, 65)}, ValueError, "grid must have at most 4096 lines of 64 patches, got (2049, 65)"),
        (
            {"enc_mask_scale": (0.5, 1.5)},
            ValueError,
            "enc_mask_scale must be two numbers in order in [0, 1], got (0.5, 1.5)",
        ),
        ({"pred_mask_scale": "ab"}, TypeError, "pred_mask_scale must be a pair of numbers, got str"),
        (
            {"aspect_ratio": (0, 1)},
            ValueError,
            "aspect_ratio must be two numbers in order in [1e-06, 1000000.0], got (0, 1)",
        ),
        ({"nenc": 0}, ValueError, "nenc must be in [1, 16], got 0"),
        ({"npred": 17}, ValueError, "npred must be in [1, 16], got 17"),
        ({"min_keep": -1}, ValueError, "min_keep must be in [0, 196], got -1"),
        ({"min_keep": 197}, ValueError, "min_keep must be in [0, 196], got 197"),
        ({"allow_overlap": 0}, TypeError, "allow_overlap must be a bool, got 0"),
        ({"pad": "no"}, TypeError, "pad must be a bool, got 'no'"),
        ({"fixed_size": None}, TypeError, "fixed_size must be a bool, got None"),
        ({"mode": "peer"}, ValueError, "mode must be 'exact' or 'compat', got 'peer'"),
        ({"batch_number": -2}, ValueError, "batch_number must be at least 0, got -2"),
    ],
)
def test_ijepa_bad_input(arguments, error, message):
    for function, seed in ((ijepa_masks, {}), (host.ijepa_masks, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, **arguments, **seed})
        assert str(raised.value) == f"ijepa_masks: {message}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"grid": (8, 14)}, ValueError, "grid must be (T, H, W), got (8, 14)"),
        ({"grid": (400, 14, 14)}, ValueError, "grid must have at most 4096 lines of 64 patches, got (400, 14, 14)"),
        (
            {"temporal_scale": (1, 0.5)},
            ValueError,
            "temporal_scale must be two numbers in order in [0, 1], got (1, 0.5)",
        ),
        (
            {"spatial_scale": (0.5, 1.0)},
            ValueError,
            "spatial_scale and temporal_scale must leave context beside a block, got (0.5, 1.0) and (1.0, 1.0)",
        ),
        ({"npred": 0}, ValueError, "npred must be in [1, 16], got 0"),
        (
            {"max_context_frames_ratio": 2},
            ValueError,
            "max_context_frames_ratio must be a probability in [0, 1], got 2",
        ),
        ({"max_keep": 0}, ValueError, "max_keep must be at least 1, got 0"),
        ({"mode": 1}, ValueError, "mode must be 'exact' or 'compat', got 1"),
    ],
)
def test_vjepa_bad_input(arguments, error, message):
    for function, seed in ((vjepa_masks, {}), (host.vjepa_masks, {"seed": 1})):
        with pytest.raises(error) as raised:
            function(**{"batch_size": 2, "grid": (4, 8, 8), **arguments, **seed})
        assert str(raised.value) == f"vjepa_masks: {message}"


def test_vjepa_refuses_exactly_what_may_leave_no_context():
    """All small grids: whether some share and aspect of the range make one block the whole grid."""
    aspects = [(0.01, 0.01), (0.1, 0.1), (1.0, 1.0), (0.3, 3.0), (4.0, 9.0)]
    scales = [(0.0, 0.0), (0.0, 0.6), (0.3, 0.3), (0.34, 0.34), (0.2, 0.8), (0.9, 0.95), (1.0, 1.0)]
    verdicts = []
    for height, width, scale, aspect in product(range(1, 6), range(1, 9), scales, aspects):
        area = max(int(height * width * scale[1]), 1)
        steps = [(height - 0.5) ** 2 / area, area / (width - 0.5) ** 2]  # where a side is rounded up to the grid's
        drawn = [min(max(end * near, aspect[0]), aspect[1]) for end in steps for near in (0.999, 1.001)] + [*aspect]
        sides = {reference._side(scale[1], ratio, height, width, False) for ratio in drawn}
        covered = (height, width) in sides
        arguments = {"spatial_scale": scale, "aspect_ratio": aspect, "seed": 1}
        try:
            masks = host.vjepa_masks(3, (1, height, width), **arguments)
        except ValueError:
            assert covered
        else:
            assert not covered
            assert masks.masks_enc.shape[1] > 0
        verdicts.append(covered)
    assert 200 < sum(verdicts) < len(verdicts) - 200
    for grid, scale, aspect in (((4, 1, 8), 0.3, 0.01), ((2, 1, 3), 0.34, 0.1), ((1, 1, 1), 0.6, 1.0)):
        message = "spatial_scale and temporal_scale must leave context beside a block"
        with pytest.raises(ValueError, match=message):
            vjepa_masks(2, grid, spatial_scale=(scale, scale), aspect_ratio=(aspect, aspect))
        frames = vjepa_masks(2, (4, *grid[1:]), spatial_scale=(scale, scale), temporal_scale=(0, 0.5))
        assert frames.masks_enc.shape[1] > 0
    with pytest.raises(ValueError, match="must leave context"):  # the context's only frame is a block's least
        vjepa_masks(2, (4, 1, 1), temporal_scale=(0, 0), max_context_frames_ratio=0.0)
