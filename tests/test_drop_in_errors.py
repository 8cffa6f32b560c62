"""Whatever a drop-in refuses, its error begins with its own name and speaks of its own arguments, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sslfast.masking.drop_in import (
    dinov2,
    fairseq,
    ijepa,
    lightly,
    mae,
    simmim,
    t5,
    timm,
    torchaudio,
    videomae,
    vjepa,
    wav2vec2,
)
from sslfast.masking.drop_in import transformers as hf

X, IDS, TOKEN = torch.zeros(2, 9, 4), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(1, 1, 4)
SPEC = torch.zeros(2, 20, 30)
CFG = {"spatial_scale": (0.2, 0.8), "temporal_scale": (1.0, 1.0), "aspect_ratio": (0.3, 3.0), "num_blocks": 2}


class Tokenizer:
    """What the collators ask of a tokenizer."""

    mask_token, mask_token_id, pad_token_id, eos_token_id, all_special_ids = "[MASK]", 4, 0, 1, (0, 1, 4)
    padding_side = "right"

    def __len__(self) -> int:
        return 50

    def get_vocab(self) -> dict[str, int]:
        return {"a": 5, "##b": 6}

    def get_special_tokens_mask(self, ids: list[int], already_has_special_tokens: bool) -> list[int]:
        return [int(i in self.all_special_ids) for i in ids]


def tokens(inputs: Any = IDS, **options: Any) -> Any:
    return hf.torch_mask_tokens(inputs, tokenizer=Tokenizer(), **options)


def language(**options: Any) -> Any:
    return hf.DataCollatorForLanguageModeling(Tokenizer(), **options)


def permutation(**options: Any) -> Any:
    return hf.DataCollatorForPermutationLanguageModeling(Tokenizer(), **options)


def flax(**options: Any) -> Any:
    sizes = {"noise_density": 0.15, "mean_noise_span_length": 3.0, "input_length": 30, "target_length": 9}
    return t5.FlaxDataCollatorForT5MLM(
        Tokenizer(), **sizes | {"pad_token_id": 0, "decoder_start_token_id": 0} | options
    )


def flipped(array: bool) -> Any:
    inputs = torch.zeros(2, 2, 3, dtype=torch.int64)
    return language().numpy_mask_tokens(inputs.numpy()) if array else language().torch_mask_tokens(inputs)


def spec(**options: Any) -> Any:
    numbers = {"n_time_masks": 1, "time_mask_param": 3, "n_freq_masks": 1, "freq_mask_param": 3}
    return torchaudio.SpecAugment(**numbers | options)


def spans(shape: Any = (2, 50), **options: Any) -> Any:
    return fairseq.compute_mask_indices(shape, None, **{"mask_prob": 0.5, "mask_length": 5} | options)


CASES: list[tuple[Callable[[], Any], str]] = [
    # transformers
    (lambda: tokens([1]), "torch_mask_tokens: inputs must be a tensor, got list"),
    (lambda: tokens(X), "torch_mask_tokens: inputs must be int64, int32 or int16, whose labels hold -100, got torch.f"),
    (lambda: tokens(torch.zeros(2, 2, 2).long()), "torch_mask_tokens: inputs must have shape (N, L) or (L,), got"),
    (lambda: tokens(mlm_probability=2), "torch_mask_tokens: mlm_probability must be a probability in [0, 1], got 2"),
    (lambda: tokens(special_tokens_mask=torch.zeros(3, 3)), "torch_mask_tokens: special_tokens_mask must be a bool or"),
    (
        lambda: tokens(whole_word_mask=True, offset_mapping=IDS),
        "torch_mask_tokens: offset_mapping must have shape (2, 3, 2)",
    ),
    (lambda: flipped(True), "numpy_mask_tokens: inputs must have shape (N, L) or (L,), got (2, 2, 3)"),
    (lambda: flipped(False), "torch_mask_tokens: inputs must have shape (N, L) or (L,), got (2, 2, 3)"),
    (lambda: language(mlm_probability=2), "DataCollatorForLanguageModeling: mlm_probability must be a probability"),
    (lambda: language()([]), "DataCollatorForLanguageModeling: examples must not be empty, got []"),
    (lambda: hf.DataCollatorForWholeWordMask(Tokenizer(), mlm=False), "DataCollatorForWholeWordMask: mlm must be True"),
    (lambda: permutation(plm_probability=2), "DataCollatorForPermutationLanguageModeling: plm_probability must be"),
    (lambda: permutation()([[5, 6, 7]]), "DataCollatorForPermutationLanguageModeling: inputs must have"),
    (lambda: flax(noise_density=2), "FlaxDataCollatorForT5MLM: noise_density must be in (0, 1), got 2"),
    (lambda: flax(decoder_start_token_id=-1), "FlaxDataCollatorForT5MLM: decoder_start_token_id must be at least 0"),
    (lambda: flax()([["a"]]), "FlaxDataCollatorForT5MLM: "),
    (lambda: flax().set_epoch(-1), "FlaxDataCollatorForT5MLM: epoch must be at least 0, got -1"),
    (lambda: flax(pad_token_id=49)([list(range(2, 34))]), "FlaxDataCollatorForT5MLM: pad_token_id must be none of the"),
    (
        lambda: t5.compute_input_and_target_lengths(1, 0.15, 3.0),
        "compute_input_and_target_lengths: inputs_length must be at least 4, got 1",
    ),
    # wav2vec 2.0, fairseq
    (lambda: wav2vec2._compute_mask_indices((2, 50), 2, 5), "_compute_mask_indices: mask_prob must be a probability"),
    (lambda: wav2vec2._compute_mask_indices((2, 0), 0.5, 1), "_compute_mask_indices: mask_length must be in [1, 0]"),
    (lambda: wav2vec2._compute_mask_indices((2, 50), 0.5, 5, min_masks=-1), "_compute_mask_indices: min_masks must be"),
    (lambda: wav2vec2._sample_negative_indices((2, 5), 0), "_sample_negative_indices: num_negatives must be in"),
    (lambda: spans((2, 0)), "compute_mask_indices: shape must be in [1, 4294967295], got 0"),
    (lambda: spans((-1, 5)), "compute_mask_indices: shape must be at least 0, got -1"),
    (lambda: spans(mask_prob=-1), "compute_mask_indices: mask_prob must be a probability in [0, 1], got -1"),
    (lambda: spans(mask_type="x"), "compute_mask_indices: mask_type must be 'static', 'uniform', 'normal' or"),
    (lambda: spans(seed=1.5, epoch=0, indices=[0, 1]), "compute_mask_indices: seed must be"),
    (lambda: spans(seed=1, epoch=-1, indices=[0, 1]), "compute_mask_indices: epoch must be at least 0, got -1"),
    # torchaudio
    (lambda: torchaudio.mask_along_axis([1], 3, 0.0, 1), "mask_along_axis: specgram must be a tensor, got list"),
    (lambda: torchaudio.mask_along_axis_iid(SPEC[0], 3, 0.0, 1), "mask_along_axis_iid: specgrams must have at least 3"),
    (lambda: torchaudio.mask_along_axis_iid(SPEC.long(), 3, 0.0, 1), "mask_along_axis_iid: specgrams must be"),
    (lambda: torchaudio.mask_along_axis(SPEC, 3, "no", 1), "mask_along_axis: mask_value must be"),
    (lambda: torchaudio.mask_along_axis(SPEC, 1.5, 0.0, 1), "mask_along_axis: mask_param must be an int, got float"),
    (lambda: spec(n_time_masks=40), "SpecAugment: n_time_masks must be in [0, 32], got 40"),
    (lambda: spec(iid_masks=3), "SpecAugment: iid_masks must be a bool, got 3"),
    (lambda: spec()(SPEC.long()), "SpecAugment: specgram must be"),
    # patches
    (lambda: mae.random_masking(X, 1.5), "random_masking: mask_ratio must be a probability in [0, 1], got 1.5"),
    (lambda: mae.random_masking(X, 0.5, X), "random_masking: noise must have shape (2, 9), one number a patch"),
    (lambda: timm.patch_dropout_forward(X, 1.0, 1, False, True), "patch_dropout_forward: prob must be in [0, 1), got"),
    (lambda: timm.PatchDropout(2.0), "PatchDropout: prob must be a probability in [0, 1], got 2.0"),
    (lambda: simmim.MaskGenerator(mask_ratio=2), "MaskGenerator: mask_ratio must be a probability in [0, 1], got 2"),
    (lambda: videomae.TubeMaskingGenerator((8, 14, 14), 2), "TubeMaskingGenerator: mask_ratio must be a probability"),
    (lambda: dinov2.MaskingGenerator((0, 3)), "MaskingGenerator: input_size must be in [1, 512], got 0"),
    (lambda: dinov2.MaskingGenerator(14, min_aspect=0), "MaskingGenerator: min_aspect must be in [1e-06, 1000000.0]"),
    (lambda: ijepa.MaskCollator(nenc=0), "MaskCollator: nenc must be in [1, 16], got 0"),
    (lambda: ijepa.MaskCollator(enc_mask_scale=(2, 3)), "MaskCollator: enc_mask_scale must be two numbers in order in"),
    (lambda: ijepa.MaskCollator()([]), "MaskCollator: batch must not be empty, got []"),
    (lambda: vjepa.MaskCollator([CFG | {"num_blocks": 0}]), "MaskCollator: num_blocks must be in [1, 16], got 0"),
    (lambda: vjepa.MaskCollator([CFG | {"spatial_scale": 3}]), "MaskCollator: spatial_scale must be a pair of numbers"),
    # lightly
    (lambda: lightly.get_at_index(X[0], IDS), "get_at_index: tokens must have shape (N, L, D), got (9, 4)"),
    (lambda: lightly.get_at_index(X, IDS.int()), "get_at_index: index must be an int64 tensor, got torch.int32"),
    (
        lambda: lightly.get_at_index(X, IDS + 9),
        "get_at_index: index must be in [0, L) with L = 9, or -1 for none, got 9",
    ),
    (lambda: lightly.apply_masks(X, []), "apply_masks: masks must hold at least one tensor, got an empty list"),
    (lambda: lightly.apply_masks(X, [IDS, IDS[:, :1]]), "apply_masks: masks[1] must have shape (2, 3), like ids[0]"),
    (lambda: lightly.mask_bool(X[0, 0], X[0, :, 0], TOKEN), "mask_bool: "),
    (
        lambda: lightly.mask_bool(X.to(torch.complex128), X[..., 0], TOKEN),
        "mask_bool: tokens must have elements of at most 8 bytes",
    ),
    (lambda: lightly.mask_bool(X, X[:, :3, 0], TOKEN), "mask_bool: mask must have shape (2, 9)"),
    (lambda: lightly.mask_at_index(X, IDS, TOKEN[..., :2]), "mask_at_index: mask_token must have shape (4,)"),
    (lambda: lightly.mask_at_index(X, IDS, 3), "mask_at_index: mask_token must be a tensor, got int"),
    (lambda: lightly.mask_at_index(X, IDS - 1, TOKEN), "mask_at_index: index must be in [0, 8], got -1"),
    (lambda: lightly.set_at_index(X, IDS + 9, X[:, :3]), "set_at_index: index must be in [0, 8], got 9"),
    (lambda: lightly.random_token_mask((2, 0)), "random_token_mask: size[1] must be in [1, 4294967295], got 0"),
    (lambda: lightly.random_block_mask((2, 0, 4)), "random_block_mask: size must be in [1, 512], got 0"),
    (
        lambda: lightly.random_block_mask((2, 4, 4), max_attempts_per_block=0),
        "random_block_mask: max_attempts_per_block must be in [1, 1000], got 0",
    ),
    (
        lambda: lightly.random_inverse_block_mask((2, 65), 0.5, min_aspect=0),
        "random_inverse_block_mask: min_aspect must",
    ),
]


@pytest.mark.parametrize(
    ("call", "text"), CASES, ids=[text.partition(" must")[0] + str(i) for i, (_, text) in enumerate(CASES)]
)
def test_in_its_own_name(call, text):
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert str(raised.value).startswith(text)
    assert "\n" not in str(raised.value)


def test_the_compiled_drop_ins_are_one_graph():
    """What speaks in the drop-in's name does not break a graph."""
    index = torch.tensor([[1, 4], [0, 8]])
    for function, arguments in (
        (lightly.get_at_index, (X, index)),
        (lightly.apply_masks, (X, [index, index])),
        (lightly.mask_at_index, (X, index, TOKEN)),
        (lightly.mask_bool, (X, torch.ones(2, 9, dtype=torch.bool), TOKEN)),
        (torchaudio.SpecAugment(1, 3, 1, 3, zero_masking=True), (SPEC,)),
    ):
        compiled = torch.compile(function, fullgraph=True)
        torch.manual_seed(0)
        out = compiled(*arguments)
        torch.manual_seed(0)
        assert torch.equal(out, function(*arguments))


def test_numpy_results_are_arrays():
    assert isinstance(spans(), np.ndarray)
