"""The Python blocks of the pages run as printed, with small stand-ins for names of a user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from page_stand_ins import (
    adversaries,
    augmentation,
    batches,
    captions,
    clip_features,
    electra,
    image_arrays,
    image_batch,
    image_data_set,
    image_files,
    item_histories,
    lightly,
    masked_autoencoder,
    masked_items,
    masked_lm,
    numpy_arrays,
    open_clip,
    own_loop,
    patch_masks,
    pillow_data_set,
    teacher_and_student,
    token_lists,
    token_masks,
    translators,
    two_augmented_sentences,
    two_views,
    utterances,
    video_file,
    videos,
    waveforms,
)

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    *(f"docs/{page}.md" for page in ("augment", "decoding", "losses", "masking")),
    *(f"docs/augment_{page}.md" for page in ("audio", "batch", "text")),
)


def blocks_of(page: str) -> dict[str, str]:
    """The blocks by page and line, after as many empty lines as are before them: a traceback has the page's numbers."""
    found, block, first = {}, None, 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if line == "```python":
            block, first = [], number
        elif line == "```" and block is not None:
            found[f"{page}:{first}"] = "\n" * first + "\n".join(block) + "\n"
            block = None
        elif block is not None:
            block.append(line)
    assert block is None
    return found


BLOCKS = {place: block for page in PAGES for place, block in blocks_of(page).items()}


# A text that one block alone has -> what that block needs.
STAND_INS: dict[str, Callable[[], dict[str, Any]]] = {
    "loss = criterion(model(view0), model(view1))": two_views,
    "SimCLRProjectionHead": lightly,
    "CLIPLoss(rank=": open_clip,
    "queue=older_text_features": clip_features,
    "negative_keys=hard_captions": captions,
    "momentum_encoder": own_loop,
    "update_teacher(student": teacher_and_student,
    "AdversarialPerturbation(": adversaries,
    "Wav2Vec2ContrastiveLoss(": utterances,
    "MaskedItemLoss(": masked_items,
    "from sslfast.masking import mask_tokens": token_masks,
    "import masked_lm_loss": masked_lm,
    "mask_patches(patch_embed": patch_masks,
    "augment = SimCLRAugment(224, views=2)": augmentation,
    "DINOAugment(local_views=6": image_batch,
    "train(images, generator=seed)": image_batch,
    "apply_keypoints": image_batch,
    "VideoTransform(": image_batch,
    "attacked = ": image_batch,
    "for SimCLRTransform(input_size=32)": pillow_data_set,
    "cross_entropy(classifier": pillow_data_set,
    "def collate(samples)": image_batch,
    "SimCLRAugment(32).host()": image_arrays,
    "mixup = MixUp(": batches,
    "cross_entropy(logits, own": batches,
    "RandomErasing(p=0.25": batches,
    "ERASE_PARAMS": batches,
    "available_decoders": image_files,
    "DecodeCollator(min_size": image_data_set,
    "decode_video(": video_file,
    "host.mask_tokens": numpy_arrays,
    "import mask_indices, time_mask": dict,
    "electra_inputs": electra,
    "unshuffle_patches": masked_autoencoder,
    "drop_edges": dict,
    "MLMCollator(": dict,
    "WholeWordCollator(": dict,
    "T5Collator(": dict,
    "ItemCollator(": dict,
    "SpeechCollator(": dict,
    "MaskedPatchCollator(": dict,
    "IJEPACollator(": dict,
    "RepeatTokens(0.32)]": two_augmented_sentences,
    "InsertTokens, ReplaceTokens": lambda: {"ids": torch.randint(1000, 3000, (4, 16))},
    "CL4SRecAugment(": item_histories,
    "def collate(examples)": token_lists,
    "BackTranslation(": translators,
    "add_feature_noise(features": lambda: {"features": torch.randn(8, 5)},
    "AudioAugment(": waveforms,
    "sample_audio_params(8": dict,
    "take_frames(video": videos,
}


def test_every_block_is_found() -> None:
    assert sum((ROOT / page).read_text().count("```python") for page in PAGES) == len(BLOCKS) == len(STAND_INS)


@pytest.mark.parametrize("place", BLOCKS)
def test_runs_as_printed(place: str) -> None:
    (stand_ins,) = [made for text, made in STAND_INS.items() if text in BLOCKS[place]]
    names = {"__name__": "__main__"} | stand_ins()
    exec(compile(BLOCKS[place], place.split(":")[0], "exec"), names)
    if "loss" in names:
        assert torch.isfinite(names["loss"])
