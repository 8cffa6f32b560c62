"""Collators with ``return_masked_indices``: the positions of their own mask or labels, which the losses take."""

from __future__ import annotations

import pytest
import torch
from compact_losses import check_frame_losses, check_patch_losses, check_token_losses

from sslfast.masking import ItemCollator, MaskedPatchCollator, MLMCollator, SpeechCollator, WholeWordCollator

VOCABULARY = {"mask_token_id": 4, "pad_token_id": 0, "vocab_size": 1001, "special_ids": [0, 1, 2, 3, 4]}
HISTORIES = [list(range(5, 5 + n)) for n in (30, 3, 17, 1)]


def checked(batch: dict[str, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
    """The positions of a batch, which are those of the mask alone."""
    assert torch.equal(batch["masked_indices"], mask.flatten().nonzero()[:, 0])
    assert torch.equal(batch["masked_counts"], mask.flatten(1).sum(1))
    return batch["masked_indices"]


@pytest.mark.parametrize("mode", ["exact", "compat"])
@pytest.mark.parametrize(
    "make",
    [
        lambda **options: MLMCollator(**VOCABULARY, **options),
        lambda **options: WholeWordCollator(**VOCABULARY, **options),
        lambda **options: ItemCollator(mask_id=1000, max_length=20, mask_ratio=0.4, **options),
    ],
    ids=["MLMCollator", "WholeWordCollator", "ItemCollator"],
)
def test_collators_of_tokens(make, mode):
    words = [{"input_ids": row, "word_ids": [i // 2 for i in range(len(row))], "items": row} for row in HISTORIES]
    batch = make(mode=mode, seed=1, return_masked_indices=True)(words)
    plain = make(mode=mode, seed=1)(words)
    assert set(batch) - set(plain) == {"masked_indices", "masked_counts"}
    indices = checked(batch, batch["labels"] != -100)
    check_token_losses(batch["labels"], indices)


def test_arrays_of_a_collator():
    collator = MLMCollator(**VOCABULARY, seed=1, return_masked_indices=True, return_tensors="np")
    batch = collator([{"input_ids": row} for row in HISTORIES])
    assert ((batch["labels"] != -100).sum(1) == batch["masked_counts"]).all()


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_a_collator_of_speech(mode):
    waves = [torch.randn(n) for n in (300, 120, 44)]
    collator = SpeechCollator(conv_kernel=(10,), conv_stride=(5,), mode=mode, seed=1, return_masked_indices=True)
    batch = collator(waves)
    check_frame_losses(batch["mask_time_indices"], checked(batch, batch["mask_time_indices"]))


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("block", {}),
        ("ibot", {}),
        ("inverse_block", {}),
        ("square", {}),
        ("grid", {"cell_size": 2}),
        ("random", {}),
        (lambda rows, grid, **draws: torch.rand(rows, *grid) < 0.5, {}),
    ],
)
def test_a_collator_check_patch_losses(rule, options):
    images = [torch.randn(3, 16, 20) for _ in range(6)]
    collator = MaskedPatchCollator((8, 10), rule, seed=1, return_masked_indices=True, **options)
    batch = collator(images)
    check_patch_losses(batch["mask"], checked(batch, batch["mask"]))


def test_collators_of_videos_and_of_dinov2():
    for rule, grid, mask in (("tube", (2, 4, 4), "mask"), ("dinov2", (6, 6), "collated_masks")):
        batch = MaskedPatchCollator(grid, rule, seed=1, return_masked_indices=True)([torch.zeros(1)] * 4)
        indices = checked(batch, batch[mask])
        assert rule == "tube" or torch.equal(indices, batch["mask_indices_list"])


def test_bad_input_of_collators():
    makers = {
        "ItemCollator": lambda value: ItemCollator(mask_id=9, max_length=3, return_masked_indices=value),
        "SpeechCollator": lambda value: SpeechCollator(return_masked_indices=value),
        "MaskedPatchCollator": lambda value: MaskedPatchCollator((4, 4), return_masked_indices=value),
    }
    for name, make in makers.items():
        with pytest.raises(TypeError, match=f"^{name}: return_masked_indices must be a bool, got 'yes'$"):
            make("yes")
    with pytest.raises(
        TypeError, match=r"^MaskedPatchCollator: options of rule 'grid' must be among .*'return_counts'$"
    ):
        MaskedPatchCollator((4, 4), "grid", cell_size=2, return_counts=True)
    collator = MaskedPatchCollator((4, 4), lambda *a, **k: {"mask": 1}, return_masked_indices=True)
    message = "MaskedPatchCollator: rule must return a bool tensor where return_masked_indices, got dict"
    with pytest.raises(TypeError, match=f"^{message}$"):
        collator([torch.zeros(1)])
