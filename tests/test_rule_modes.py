"""Every rule that draws takes ``mode="exact"`` and ``"compat"``: what they differ in, and that elsewhere they do
not."""

from __future__ import annotations

import inspect
import math
import types
from typing import Any

import pytest
import torch
from oracle import all_equal

from sslfast import host, masking
from sslfast.masking.drop_in.mae import random_masking
from sslfast.masking.drop_in.simmim import MaskGenerator
from sslfast.masking.drop_in.videomae import TubeMaskingGenerator

DRAWING = {
    face: sorted(name for name in face.__all__ if keyword in _parameters(getattr(face, name)))
    for face, keyword in ((masking, "generator"), (host, "seed"))
    for _parameters in [lambda f: inspect.signature(f).parameters if isinstance(f, types.FunctionType) else ()]
}
AUGMENTATIONS = {"add_feature_noise", "augment_text", "augment_tokens", "sample_audio_params", "sample_erase"}
AUGMENTATIONS |= {"sample_frames", "sample_mix", "philox_words", "step_seed"}

GOOD: dict[str, tuple[Any, ...]] = {
    "corrupt_features": (torch.rand(5, 10),),
    "drop_edges": (torch.zeros(2, 30, dtype=torch.int64),),
    "frame_mask": (3, (8, 2, 2)),
    "grid_patch_mask": (3, (8, 8), 2),
    "mask_patches": (torch.rand(3, 10, 2),),
    "random_patch_mask": (3, 10),
    "sample_negatives": (torch.ones(3, 9, dtype=torch.bool), 4),
    "sample_replacements": (torch.randn(6, 20),),
    "square_mask": (3, (8, 8)),
    "tube_mask": (3, (4, 8, 8)),
}
SAME = ("drop_edges", "sample_negatives", "sample_replacements")
COUNTED = ("frame_mask", "grid_patch_mask", "mask_patches", "random_patch_mask", "square_mask", "tube_mask")


@pytest.mark.parametrize("face", [masking, host], ids=["masking", "host"])
def test_every_rule_that_draws_has_modes(face):
    rules = [name for name in DRAWING[face] if name not in AUGMENTATIONS]
    assert len(rules) > 20
    without = [name for name in rules if "mode" not in inspect.signature(getattr(face, name)).parameters]
    assert without == []


def results(name: str, **options: Any) -> tuple[Any, ...]:
    out = getattr(masking, name)(*GOOD[name], generator=3, **options)
    return out if isinstance(out, tuple) else (out,)


def arrays(name: str, **options: Any) -> tuple[Any, ...]:
    given = [a.numpy() if isinstance(a, torch.Tensor) else a for a in GOOD[name]]
    out = getattr(host, name)(*given, seed=3, **options)
    return tuple(map(torch.from_numpy, out if isinstance(out, tuple) else (out,)))


@pytest.mark.parametrize("name", GOOD)
def test_unknown_modes(name):
    for run in (results, arrays):
        if run is results or hasattr(host, name):
            with pytest.raises(ValueError, match=f"^{name}: mode must be 'exact' or 'compat', got 'hf'$"):
                run(name, mode="hf")


@pytest.mark.parametrize("name", [*SAME, *COUNTED, "corrupt_features"])
def test_equal_bits_where_the_two_agree(name):
    assert all_equal(results(name, mode="compat"), results(name))
    if hasattr(host, name):
        assert all_equal(arrays(name, mode="compat"), results(name))


def test_tokens_are_masked_alike():
    ids, options = torch.randint(50, (20, 30)), {"mask_token_id": 4, "vocab_size": 50}
    for rule in ("mask_tokens", "mask_spans"):
        for face, given, draws in ((masking, ids, {"generator": 1}), (host, ids.numpy(), {"seed": 1})):
            compat, exact = (getattr(face, rule)(given, **options, mode=mode, **draws) for mode in ("compat", "exact"))
            assert all((a == b).all() for a, b in zip(compat, exact, strict=True))


def test_the_compat_mode_of_time_masks_is_transformers():
    lengths = torch.tensor([50, 7, 30])
    compat, hf = (masking.time_mask(3, 50, lengths=lengths, mode=mode, generator=1) for mode in ("compat", "hf"))
    assert torch.equal(compat, hf)
    assert torch.equal(torch.from_numpy(host.time_mask(3, 50, lengths=lengths.numpy(), mode="compat", seed=1)), hf)


# ---- counts in floats


def test_patches_are_counted_as_in_mae():
    for patches, ratio, keep in ((10, 0.9, 0), (100, 0.8, 19), (10, 1.0, 0), (196, 0.75, 49)):
        x = torch.rand(2, patches, 3)
        assert random_masking(x, ratio)[0].shape[1] == keep
        kept, mask, _ = masking.mask_patches(x, ratio, mode="compat", generator=1)
        assert kept.shape == (2, keep, 3)
        assert mask.sum(1).tolist() == [patches - keep] * 2
        assert masking.random_patch_mask(2, patches, ratio, mode="compat", generator=1).ids_keep.shape == (2, keep)
        assert host.random_patch_mask(2, patches, ratio, mode="compat", seed=1).ids_keep.shape == (2, keep)


def test_cells_are_counted_as_in_the_peers():
    assert math.ceil(0.07 * 100) == MaskGenerator(40, 4, 4, 0.07).mask_count == 8
    assert int(0.29 * 100) == TubeMaskingGenerator((2, 10, 10), 0.29).num_masks_per_frame == 28
    for face, draws in ((masking, {"generator": 1}), (host, {"seed": 1})):
        for mode, squares, places in (("exact", 7, 29), ("compat", 8, 28)):
            assert face.grid_patch_mask(1, (10, 10), 1, 0.07, mode=mode, **draws).sum() == squares
            assert face.tube_mask(1, (2, 10, 10), 0.29, mode=mode, **draws).sum() == 2 * places
            assert face.frame_mask(1, (100, 1, 1), 0.29, mode=mode, **draws).sum() == places
        assert face.tube_mask(2, (2, 3, 3), 1.0, mode="compat", **draws).all()
        assert face.grid_patch_mask(2, (4, 4), 2, 1.0, mode="compat", **draws).all()
        assert face.inverse_block_mask(2, (10, 10), 0.29, mode="compat", **draws).sum() == 2 * 28
        assert face.inverse_block_mask(2, (10, 10), 1.0, mode="compat", **draws).all()


def test_squares_are_counted_as_in_fairseq():
    for ratio in (0.2, 0.4, 0.8, 0.9, 1.0):  # fairseq: int(L * (1 - mask_prob)) are kept
        mask = masking.square_mask(3, (10, 10), ratio, mode="compat", generator=1)
        assert (~mask).sum((1, 2)).tolist() == [int(100 * (1 - ratio))] * 3
        assert torch.equal(mask, torch.from_numpy(host.square_mask(3, (10, 10), ratio, mode="compat", seed=1)))
    assert (~masking.square_mask(1, (10, 10), 0.8, generator=1)).sum() == 20
    assert (~masking.square_mask(1, (10, 10), 0.8, mode="compat", generator=1)).sum() == 19


# ---- SCARF


def test_scarfs_published_code_keeps_the_corruption_rate():
    x = torch.rand(4000, 20)
    options = {"source": "uniform", "selection": "bernoulli", "generator": 1}
    mask = masking.corrupt_features(x, 0.3, mode="compat", **options)[1]
    assert abs(mask.float().mean() - 0.7) < 0.01
    assert torch.equal(mask, masking.corrupt_features(x, 0.7, **options)[1])
    arrays = host.corrupt_features(x.numpy(), 0.3, source="uniform", selection="bernoulli", mode="compat", seed=1)
    assert torch.equal(mask, torch.from_numpy(arrays[1]))
    exact = masking.corrupt_features(x, 0.3, source="uniform", mode="compat", generator=1)[1]
    assert exact.sum(1).unique().tolist() == [14]
    for source in ("marginals", "rows", "permutation"):
        one = masking.corrupt_features(x[:40], 0.3, source=source, mode="compat", generator=1)
        assert all_equal(one, masking.corrupt_features(x[:40], 0.3, source=source, generator=1))
