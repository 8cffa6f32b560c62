"""The table of bad input of docs/masking.md, line by line: what rules refuse, and what they do with what they take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sslfast import host, masking

IDS = torch.arange(40).view(2, 20) + 5
TOKENS = {"mask_token_id": 4, "vocab_size": 100}


def run(face: Any, rule: str, *arguments: Any, **options: Any) -> Any:
    """The rule over tensors or over arrays."""
    function = getattr(face, rule)
    if face is masking:
        return function(*arguments, generator=1, **options)
    given = [a.numpy() if isinstance(a, torch.Tensor) else a for a in arguments]
    named = {n: a.numpy() if isinstance(a, torch.Tensor) else a for n, a in options.items()}
    return function(*given, seed=1, **named)


def refused(rule: str, error: type[Exception], message: str, *arguments: Any, **options: Any) -> None:
    for face in (masking, host):
        with pytest.raises(error) as raised:
            run(face, rule, *arguments, **options)
        assert str(raised.value) == f"{rule}: {message if face is masking else message.replace('torch.', '')}"


SHARES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "mask_tokens": ("mlm_probability", (IDS,), TOKENS),
    "mask_words": ("mlm_probability", (IDS,), TOKENS | {"word_ids": IDS}),
    "mask_spans": ("mask_ratio", (IDS,), TOKENS),
    "corrupt_spans": ("noise_density", (IDS,), {"sentinel_id": 99}),
    "permutation_mask": ("plm_probability", (IDS,), {"mask_token_id": 4}),
    "mask_items": ("mask_ratio", (IDS,), {"mask_id": 90}),
    "random_patch_mask": ("mask_ratio", (2, 9), {}),
    "grid_patch_mask": ("mask_ratio", (2, (4, 4), 2), {}),
    "tube_mask": ("mask_ratio", (2, (2, 4, 4)), {}),
    "frame_mask": ("mask_ratio", (2, (2, 4, 4)), {}),
    "square_mask": ("mask_ratio", (2, (4, 4)), {}),
    "inverse_block_mask": ("mask_ratio", (2, (4, 4)), {}),
    "block_mask": ("mask_probability", (2, (4, 4), 7), {}),
    "dino_masks": ("mask_probability", (2, (4, 4)), {}),
    "time_mask": ("mask_prob", (2, 50), {}),
    "spec_augment": (
        "p",
        (torch.ones(2, 4, 6),),
        {"n_freq_masks": 1, "freq_mask_param": 2, "n_time_masks": 1, "time_mask_param": 2},
    ),
    "corrupt_features": ("corruption_rate", (torch.ones(4, 5),), {}),
    "mask_nodes": ("mask_rate", (torch.ones(4, 5),), {}),
    "drop_edges": ("p", (torch.zeros(2, 9, dtype=torch.int64),), {}),
}


@pytest.mark.parametrize("rule", SHARES)
def test_shares(rule):
    name, arguments, options = SHARES[rule]
    for value in (1.5, -0.1, math.inf, math.nan, "much", None):
        for face in (masking, host):
            with pytest.raises((ValueError, TypeError)) as raised:
                run(face, rule, *arguments, **options, **{name: value})
            assert str(raised.value).startswith(f"{rule}: {name} must be ")
            assert str(raised.value).endswith(
                f", got {type(value).__name__ if not isinstance(value, float) else value}"
            )
            assert "\n" not in str(raised.value)


ALL_FRAMES = 'mask_prob, mask_length and min_masks must leave a frame of 50 unmasked in mode "exact", got {}'
KEEPS_NOTHING = {
    "random_patch_mask": "mask_ratio must be in [0, 1), got 1.0",
    "grid_patch_mask": "mask_ratio must be in [0, 1), got 1.0",
    "tube_mask": "mask_ratio must be in [0, 1), got 1.0",
    "frame_mask": "mask_ratio must be in [0, 1), got 1.0",
    "square_mask": "mask_ratio must be in [0, 1), got 1.0",
    "inverse_block_mask": "mask_ratio must be in [0, 1), got 1.0",
    "mask_nodes": 'mask_rate must be below 1 in mode "exact", got 1.0',
    "mask_items": 'mask_ratio must be below 1 in mode "exact", got 1.0',
    "corrupt_spans": "noise_density must be in (0, 1), got 1.0",
    "time_mask": ALL_FRAMES.format("1.0, 1 and 0"),
}
# what the rule takes beside its share, where the share alone does not decide
ALONE: dict[str, dict[str, Any]] = {"time_mask": {"mask_length": 1}}


@pytest.mark.parametrize("rule", KEEPS_NOTHING)
def test_a_share_that_keeps_nothing_is_refused(rule):
    name, arguments, options = SHARES[rule]
    options = options | ALONE.get(rule, {})
    for face in (masking, host):
        with pytest.raises(ValueError, match=f"^{rule}: ") as raised:
            run(face, rule, *arguments, **options, **{name: 1.0})
        assert str(raised.value) == f"{rule}: {KEEPS_NOTHING[rule]}"
        if rule != "corrupt_spans":
            out = run(face, rule, *arguments, **options, **{name: 1.0}, mode="compat")
            assert (out.mask if isinstance(out, tuple) else out).all()


def test_a_share_that_keeps_nothing_masks_all_elsewhere():
    special = IDS % 7 == 0
    for rule in ("mask_tokens", "mask_words", "mask_spans", "permutation_mask"):
        name, arguments, options = SHARES[rule]
        if rule != "mask_words":
            options = options | {"special_tokens_mask": special}
        out = run(masking, rule, *arguments, **options, **{name: 1.0})
        assert torch.equal(out[1] != -100, ~special if rule != "mask_words" else torch.ones(2, 20).bool())
    assert masking.drop_edges(SHARES["drop_edges"][1][0], 1.0).all()
    assert masking.corrupt_features(torch.ones(4, 5), 1.0)[1].all()
    message = "spatial_scale and temporal_scale must leave context beside a block, got (1.0, 1.0) and (1.0, 1.0)"
    refused("vjepa_masks", ValueError, message, 2, (2, 4, 4), spatial_scale=(1, 1))


def test_numbers_that_keep_nothing():
    """Where no share says so by itself."""
    for number in (16, (3, 16)):
        message = f'num_masked must be below all 16 patches in mode "exact", got {number}'
        refused("block_mask", ValueError, message, 2, (4, 4), number)
    assert masking.block_mask(2, (4, 4), torch.tensor([16, 3])).flatten(1).sum(1).tolist() == [16, 3]
    masking.block_mask(2, (4, 4), 16, mode="compat")
    message = 'mask_ratio_min_max must begin below 1 in mode "exact", got (1.0, 1.0)'
    refused("dino_masks", ValueError, message, 2, (4, 4), mask_ratio_min_max=(1, 1))
    assert masking.dino_masks(64, (4, 4), mask_ratio_min_max=(0.9, 1), generator=1).masks.flatten(1).sum(1).max() < 16
    masking.dino_masks(2, (4, 4), mask_ratio_min_max=(1, 1), mode="compat")
    for options, got in (
        ({"mask_prob": 0.65, "mask_length": 50, "min_masks": 1}, "0.65, 50 and 1"),
        ({"mask_prob": 1.0, "mask_length": 50}, "1.0, 50 and 0"),
        ({"mask_prob": 0.1, "mask_length": 1, "min_masks": 50}, "0.1, 1 and 50"),
    ):
        refused("time_mask", ValueError, ALL_FRAMES.format(got), 2, 50, **options)
        assert masking.time_mask(2, 50, **options, mode="hf").all()
    for options in ({"mask_prob": 0.99}, {"mask_length": 50}, {"mask_length": 25, "min_masks": 2}):
        assert not masking.time_mask(40, 50, **options).all(1).any()


def test_spans_longer_than_the_row():
    assert not masking.time_mask(3, 5).any()
    assert not masking.time_mask(3, 10).any()
    lengths = torch.tensor([4, 30, 3])
    hf = masking.time_mask(3, 30, mode="hf", lengths=lengths, min_masks=1, generator=1)
    assert hf[[0, 2]].sum(1).tolist() == [1, 1]
    assert hf[[0, 2], -1].all()
    refused("time_mask", ValueError, 'mask_length must be at most length (5) in mode "hf", got 10', 3, 5, mode="hf")
    fairseq = masking.time_mask(200, 5, mode="fairseq", mask_prob=1.0, generator=1).sum(1)
    assert set(fairseq.tolist()) <= {0, 4, 5}
    assert masking.mask_spans(IDS, **TOKENS, min_span=40, max_span=60).mask.sum(1).tolist() == [3, 3]
    assert masking.corrupt_spans(IDS, sentinel_id=99, mean_noise_span_length=300).inputs.shape == (2, 19)
    short = masking.permutation_mask(IDS[:, :3], mask_token_id=4, max_span_length=64, generator=1).mask
    assert (short.sum(1) >= 1).all()
    assert masking.square_mask(2, (4, 4), 0.5, side=99).flatten(1).sum(1).tolist() == [8, 8]
    bands = {"n_freq_masks": 32, "freq_mask_param": 99, "n_time_masks": 0, "time_mask_param": 0}
    assert (masking.spec_augment(torch.ones(1, 4, 6), **bands) == 0).all()
    refused("block_mask", ValueError, "min_patches must be in [1, 16], got 17", 2, (4, 4), 7, min_patches=17)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.float32])
def test_types_of_ids(dtype):
    ids = IDS.to(dtype)
    for rule in ("mask_tokens", "mask_words"):
        _, _, options = SHARES[rule]
        if dtype == torch.int16:
            assert run(masking, rule, ids, **options)[1].dtype == torch.int16
            assert run(host, rule, ids, **options)[1].dtype == np.int16
        else:
            message = f"ids must be int64, int32 or int16, whose labels hold -100, got {dtype}"
            refused(rule, TypeError, message, ids, **options)
    for rule in ("mask_spans", "corrupt_spans", "permutation_mask", "mask_items"):
        name = "items" if rule == "mask_items" else "ids"
        refused(rule, TypeError, f"{name} must be int64 or int32, got {dtype}", ids, **SHARES[rule][2])


def test_ids_without_a_vocabulary():
    ids = IDS * 10**9 - 10**10
    for rule in ("corrupt_spans", "permutation_mask", "mask_items"):
        out = run(masking, rule, ids, **SHARES[rule][2])
        written = torch.cat([out[0].flatten(), out[1].flatten()])
        assert torch.isin(ids, written).all()


# ---- tensors that are not elements in memory

_IMAGES = torch.ones(2, 4, 3)
_KINDS = {
    "one of torch.sparse_coo": lambda t: t.to_sparse(),
    "one of torch.sparse_csr": lambda t: (t if t.dim() == 2 else t[0]).to_sparse_csr(),
    "a nested one": lambda t: torch.nested.nested_tensor(list(t)),
    "one of torch.jagged": lambda t: torch.nested.nested_tensor(list(t), layout=torch.jagged),
}


@pytest.mark.parametrize("got", _KINDS)
@pytest.mark.parametrize(
    ("rule", "name", "tensor", "options"),
    [
        ("mask_tokens", "ids", IDS, TOKENS),
        ("mask_patches", "x", _IMAGES, {}),
        ("mask_items", "items", IDS, {"mask_id": 90}),
        ("mask_nodes", "x", _IMAGES[0], {}),
        ("permutation_mask", "ids", IDS, {"mask_token_id": 4}),
        ("mask_spans", "ids", IDS, TOKENS),
        ("sample_replacements", "logits", _IMAGES[0], {}),
        ("mask_indices", "mask", IDS > 9, {}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, that these are beta
def test_tensors_of_other_layouts(rule, name, tensor, options, got):
    with pytest.raises(TypeError) as raised:
        getattr(masking, rule)(_KINDS[got](tensor), **options)
    found = "a nested one" if got == "one of torch.jagged" else got
    assert str(raised.value) == f"{rule}: {name} must be a plain strided tensor, got {found}"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_tensors():
    quantised = torch.quantize_per_tensor(torch.ones(2, 4, 3), 0.1, 0, torch.quint8)
    expected = "must be a plain strided tensor, got a quantised one, torch.quint8"
    for rule, arguments in (("mask_patches", (quantised,)), ("apply_mask_token", (quantised, IDS > 9, torch.ones(3)))):
        with pytest.raises(TypeError) as raised:
            getattr(masking, rule)(*arguments)
        assert str(raised.value) == f"{rule}: x {expected}"


@pytest.mark.parametrize("face", [masking, host])
@pytest.mark.parametrize(
    ("rule", "name", "arguments", "options"),
    [
        ("mask_tokens", "mlm_probability", (IDS,), TOKENS),
        ("time_mask", "mask_prob", (2, 50), {}),
        ("block_mask", "min_aspect", (2, (4, 4), 3), {}),
    ],
)
def test_numbers_larger_than_floats(face, rule, name, arguments, options):
    with pytest.raises(ValueError, match=f"^{rule}: {name} must fit in a float, got a larger int$"):
        run(face, rule, *arguments, **options, **{name: 10**400})
