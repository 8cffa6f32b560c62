"""Collators and drop-ins refuse wrong arguments when they are made, and wrong batches, in one line of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from token_examples import Tokenizer as PlainTokenizer

from sslfast.masking import (
    IJEPACollator,
    ItemCollator,
    MaskedPatchCollator,
    MLMCollator,
    SpeechCollator,
    T5Collator,
    WholeWordCollator,
)
from sslfast.masking.drop_in import dinov2, fairseq, ijepa, lightly, t5, timm, torchaudio, transformers, vjepa, wav2vec2


class Tokenizer(PlainTokenizer):
    """With what the drop-ins need beside."""

    mask_token, eos_token_id = "[MASK]", 3

    def get_special_tokens_mask(self, ids: list[int], already_has_special_tokens: bool) -> list[int]:
        return [int(i < 5) for i in ids]

    def get_vocab(self) -> dict[str, int]:
        return {"##p": 70}


VIDEO = {"spatial_scale": (0.2, 0.2), "temporal_scale": (1.0, 1.0), "aspect_ratio": (1.0, 1.0), "num_blocks": 1}
STACKING = [
    IJEPACollator(32, 8),
    MaskedPatchCollator((4, 4)),
    ijepa.MaskCollator(32, 8),
    vjepa.MaskCollator([VIDEO], 32, 4, 8),
]
OF_IDS = [
    MLMCollator(Tokenizer()),
    WholeWordCollator(Tokenizer()),
    transformers.DataCollatorForLanguageModeling(Tokenizer()),
    transformers.DataCollatorForWholeWordMask(Tokenizer()),
    transformers.DataCollatorForPermutationLanguageModeling(Tokenizer()),
    T5Collator(sentinel_id=100),
    t5.FlaxDataCollatorForT5MLM(Tokenizer(), 0.15, 3.0, 10, 5, 0, 0),
    ItemCollator(mask_id=99, max_length=4),
    SpeechCollator(num_negatives=None),
]


def error_of(call: Any) -> tuple[type[Exception], str]:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is compared
        call()
    return raised.type, raised.value.args[0]


@pytest.mark.parametrize("collator", [*STACKING, *OF_IDS], ids=lambda c: f"{type(c).__module__}.{type(c).__name__}")
@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        ([], ValueError, "must not be empty, got []"),
        ({"input_ids": [1, 2]}, TypeError, "must be a list of examples, got dict"),
        ("ab", TypeError, "must be a list of examples, got str"),
        (None, TypeError, "must be a list of examples, got NoneType"),
        (iter([1]), TypeError, "must be a list of examples, got list_iterator"),
        (torch.tensor(3), TypeError, "must be a list of examples, got a tensor of shape ()"),
    ],
)
def test_what_is_no_batch(collator, batch, error, text):
    name = "batch" if type(collator).__name__ == "MaskCollator" else "examples"
    assert error_of(lambda: collator(batch)) == (error, f"{type(collator).__name__}: {name} {text}")


@pytest.mark.parametrize("collator", STACKING, ids=lambda c: f"{type(c).__module__}.{type(c).__name__}")
@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        (
            [torch.ones(2), torch.ones(3)],
            ValueError,
            "examples must have one shape, got stack expects each tensor to be equal size, but got [2] at entry 0 and "
            "[3] at entry 1",
        ),
        ([{"a": 1, "b": 2}, {"a": 1}], KeyError, "an example has no 'b', which the first has"),
        (
            [None],
            TypeError,
            "examples must hold tensors, arrays, numbers, mappings or lists alike, got batch must contain tensors, "
            "numpy arrays, numbers, dicts or lists; found <class 'NoneType'>",
        ),
    ],
)
def test_examples_that_do_not_stack(collator, batch, error, text):
    assert error_of(lambda: collator(batch)) == (error, f"{type(collator).__name__}: {text}")


@pytest.mark.parametrize("collator", OF_IDS, ids=lambda c: f"{type(c).__module__}.{type(c).__name__}")
@pytest.mark.parametrize("batch", [[None], ["ab"], [object()], [[1, 2], {"x": 3}], [{"x": 1}], [[[1, 2], [3]]]])
def test_examples_that_are_no_rows(collator, batch):
    error, text = error_of(lambda: collator(batch))
    assert error in (TypeError, ValueError, KeyError)
    assert text.startswith((f"{type(collator).__name__}: ", "T5Collator: "))
    assert "\n" not in text


CROPS = [({"global_crops": [torch.ones(3)], "local_crops": [torch.ones(2)]}, 0)]
GRID = (14, 14)


def dino(samples=CROPS, ratios=(0.1, 0.5), dtype=torch.half, tokens=196, generator=None):
    generator = dinov2.MaskingGenerator(14) if generator is None else generator
    return lambda: dinov2.collate_data_and_cast(samples, ratios, 0.5, dtype, tokens, generator)


MAKING = [
    # arguments that are tried first
    (lambda: MLMCollator(Tokenizer(), mlm="no"), "MLMCollator: mlm must be a bool, got 'no'"),
    (lambda: MLMCollator(Tokenizer(), whole_word_mask=1), "MLMCollator: whole_word_mask must be a bool, got 1"),
    (
        lambda: MLMCollator(Tokenizer(), return_masked_indices="x"),
        "MLMCollator: return_masked_indices must be a bool, got 'x'",
    ),
    (
        lambda: MLMCollator("bert-base-uncased"),
        "MLMCollator: tokenizer must have mask_token_id, pad_token_id, all_special_ids and len(), got str",
    ),
    (
        lambda: WholeWordCollator(Tokenizer(), max_predictions=0),
        "WholeWordCollator: max_predictions must be in [1, 32767], got 0",
    ),
    (
        lambda: transformers.DataCollatorForLanguageModeling(Tokenizer(), mlm="no"),
        "DataCollatorForLanguageModeling: mlm must be a bool, got 'no'",
    ),
    (
        lambda: transformers.torch_mask_tokens(torch.ones(1, 2).long(), "ab", tokenizer=Tokenizer()),
        "torch_mask_tokens: special_tokens_mask must be a tensor, or lists of ints of one length, got str",
    ),
    (
        lambda: transformers.DataCollatorForPermutationLanguageModeling(None),
        "DataCollatorForPermutationLanguageModeling: tokenizer must have mask_token, got NoneType",
    ),
    (
        lambda: transformers.DataCollatorForPermutationLanguageModeling(Tokenizer(), plm_probability=0),
        "DataCollatorForPermutationLanguageModeling: plm_probability must be in [1e-6, 1], got 0",
    ),
    (
        lambda: transformers.DataCollatorForPermutationLanguageModeling(Tokenizer()).torch_mask_tokens([1]),
        "DataCollatorForPermutationLanguageModeling: inputs must be a tensor, got list",
    ),
    (
        lambda: transformers.DataCollatorForPermutationLanguageModeling(Tokenizer())([[5, 6]], return_tensors="np"),
        "DataCollatorForPermutationLanguageModeling: return_tensors must be 'pt', got 'np'",
    ),
    (
        lambda: t5.FlaxDataCollatorForT5MLM(None, 0.15, 3.0, 10, 5, 0, 0),
        "FlaxDataCollatorForT5MLM: tokenizer must have eos_token_id and len(), got NoneType",
    ),
    (
        lambda: t5.FlaxDataCollatorForT5MLM(Tokenizer(), 0.15, 3.0, "10", 5, 0, 0),
        "FlaxDataCollatorForT5MLM: input_length must be an int, got str",
    ),
    (lambda: SpeechCollator(conv_kernel=5), "SpeechCollator: conv_kernel must be a list of ints, got int"),
    (lambda: ItemCollator(mask_id=0, max_length=3), "ItemCollator: mask_id must not be padding_id, got 0"),
    # masks of images and videos
    (lambda: ijepa.MaskCollator(patch_size=0), "MaskCollator: patch_size must be at least 1, got 0"),
    (lambda: ijepa.MaskCollator("224"), "MaskCollator: input_size must be an int, got str"),
    (lambda: ijepa.MaskCollator([224]), "MaskCollator: input_size must be (H, W), got (224,)"),
    (lambda: ijepa.MaskCollator(8), "MaskCollator: input_size must be at least patch_size 16, got (8, 8)"),
    (lambda: ijepa.MaskCollator(nenc=0), "MaskCollator: nenc must be in [1, 16], got 0"),
    (lambda: ijepa.MaskCollator(min_keep="4"), "MaskCollator: min_keep must be an int, got str"),
    (
        lambda: ijepa.MaskCollator(enc_mask_scale=0.5),
        "MaskCollator: enc_mask_scale must be a pair of numbers, got float",
    ),
    (lambda: vjepa.MaskCollator(None), "MaskCollator: cfgs_mask must be a list of mappings, got NoneType"),
    (lambda: vjepa.MaskCollator(VIDEO), "MaskCollator: cfgs_mask must be a list of mappings, got dict"),
    (lambda: vjepa.MaskCollator([]), "MaskCollator: cfgs_mask must not be empty, got []"),
    (lambda: vjepa.MaskCollator([3]), "MaskCollator: cfgs_mask[0] must be a mapping, got int"),
    (lambda: vjepa.MaskCollator([VIDEO, {}]), "MaskCollator: cfgs_mask[1] must have 'spatial_scale', got nothing"),
    (
        lambda: vjepa.MaskCollator([VIDEO | {"num_blocks": 0}]),
        "MaskCollator: num_blocks must be in [1, 16], got 0",
    ),
    (
        lambda: vjepa.MaskCollator([VIDEO], 8),
        "MaskCollator: crop_size must be at least patch_size (16, 16), got (8, 8)",
    ),
    (
        lambda: MaskedPatchCollator(GRID, "ibot", mask_ratio=0.3),
        "MaskedPatchCollator: options of rule 'ibot' must be among mask_probability, max_aspect, max_patches, "
        "min_aspect, min_patches, mode, pred_ratio, pred_ratio_var, shift, got 'mask_ratio'",
    ),
    (
        lambda: MaskedPatchCollator(GRID, "random", shift=True),
        "MaskedPatchCollator: options of rule 'random' must be among mask_ratio, mode, got 'shift'",
    ),
    (
        lambda: MaskedPatchCollator(GRID, lambda *args, **options: 3)([1]),
        "MaskedPatchCollator: rule must return a bool tensor or a mapping, got int",
    ),
    (
        lambda: MaskedPatchCollator(GRID, lambda *args, **options: torch.ones(3, 2).bool())([1]),
        "MaskedPatchCollator: rule must return a mask of shape (1, ...), got (3, 2)",
    ),
    (
        lambda: dinov2.MaskingGenerator(14, "a"),
        "MaskingGenerator: num_masking_patches must be an int, got str",
    ),
    (dino(samples=[]), "collate_data_and_cast: samples_list must not be empty, got []"),
    (dino(samples=[1]), "collate_data_and_cast: an example must be a tuple (crops, ...), got int"),
    (
        dino(samples=[({"local_crops": []}, 0)]),
        "collate_data_and_cast: an example's crops must have 'global_crops', got 'local_crops'",
    ),
    (
        dino(samples=[*CROPS, ({"global_crops": [torch.ones(4)], "local_crops": [torch.ones(2)]}, 0)]),
        "collate_data_and_cast: global_crops must have one shape, (3,) like the first, got (4,)",
    ),
    (
        dino(samples=[*CROPS, ({"global_crops": [], "local_crops": []}, 0)]),
        "collate_data_and_cast: an example must have 1 global_crops like the first, got 0",
    ),
    (dino(ratios=0.5), "collate_data_and_cast: mask_ratio_tuple must be a pair of numbers, got float"),
    (dino(dtype="half"), "collate_data_and_cast: dtype must be a torch.dtype, got str"),
    (dino(generator=3), "collate_data_and_cast: mask_generator must be callable, got int"),
    (dino(tokens=100), "collate_data_and_cast: mask_generator must return masks of 100 patches, got 196"),
    (lambda: timm.PatchDropout(0.5, ordered="no"), "PatchDropout: ordered must be a bool, got 'no'"),
    (
        lambda: lightly.random_token_mask(5),
        "random_token_mask: size must be (batch size, sequence length), got 5",
    ),
    (
        lambda: lightly.random_token_mask((1, 4), 0.5, "no"),
        "random_token_mask: mask_class_token must be a bool, got 'no'",
    ),
    (
        lambda: lightly.random_block_mask((2, 4, 4), min_image_mask_ratio="a"),
        "random_block_mask: min_image_mask_ratio must be a number, got str",
    ),
    (
        lambda: lightly.random_inverse_block_mask((1, 17), roll="no"),
        "random_inverse_block_mask: roll must be a bool, got 'no'",
    ),
    # speech
    (
        lambda: torchaudio.mask_along_axis(torch.ones(4, 4), "a", 0.0, 1),
        "mask_along_axis: mask_param must be an int, got str",
    ),
    (lambda: torchaudio.SpecAugment(40, 1, 1, 1), "SpecAugment: n_time_masks must be in [0, 32], got 40"),
    (
        lambda: torchaudio.SpecAugment(1, 1, 1, 1, zero_masking="x"),
        "SpecAugment: zero_masking must be a bool, got 'x'",
    ),
    (
        lambda: SpeechCollator(mode="hf")([torch.zeros(5)]),
        'SpeechCollator: mask_length must be at most length (5) in mode "hf", got 10',
    ),
    (lambda: IJEPACollator(nenc=0), "IJEPACollator: nenc must be in [1, 16], got 0"),
    (lambda: wav2vec2._compute_mask_indices(5, 0.5, 3), "_compute_mask_indices: shape must be (N, T), got 5"),
    (
        lambda: wav2vec2._compute_mask_indices((2, 9), 0.5, 3, [1]),
        "_compute_mask_indices: attention_mask must be a tensor, got list",
    ),
    (
        lambda: wav2vec2._compute_mask_indices((2, 9), 0.5, 3, torch.ones(2, 30)),
        "_compute_mask_indices: attention_mask must have shape (2, 9), got (2, 30)",
    ),
    (
        lambda: wav2vec2._sample_negative_indices((2, 9), 3, np.ones((2, 8))),
        "_sample_negative_indices: mask_time_indices must be an array of shape (2, 9), got (2, 8)",
    ),
    (lambda: fairseq.compute_mask_indices(5, None, 0.5, 3), "compute_mask_indices: shape must be (N, T), got 5"),
    (
        lambda: fairseq.compute_mask_indices((2, 20), torch.zeros(3, 20), 0.5, 3),
        "compute_mask_indices: padding_mask must have shape (2, 20), got (3, 20)",
    ),
    (
        lambda: fairseq.compute_mask_indices((2, 20), None, 0.5, 3, seed=1, epoch=1, indices=[1]),
        "compute_mask_indices: indices must have shape (2,), one a row, got (1,)",
    ),
]


@pytest.mark.parametrize(("call", "text"), MAKING, ids=[text for _, text in MAKING])
def test_wrong_arguments(call, text):
    error, found = error_of(call)
    assert found == text
    wrong_type = any(f" must {word}" in text for word in ("be a bool", "be an int", "be a number", "be callable"))
    assert issubclass(error, TypeError) if wrong_type else issubclass(error, (TypeError, ValueError, KeyError))
