"""Collators of images with masks of patches beside what a loader does without them.

Images are stacked by ``torch.utils.data.default_collate`` on both sides: its time is a floor that neither goes below,
so that each rule is measured with images and, at 256 rows, with numbers in their place. Masks of random patches and of
blocks are drawn beside lightly's functions, I-JEPA's by lightly's collator; timm has no collator of masks.

Floor: 4 bytes read and written a pixel's channel, 1 written a patch of a mask or 8 a patch of a list.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks import peers
from benchmarks.bench_jepa_mask import IJEPA
from benchmarks.harness import Call, Case

SIDE = 14
Examples = list[Any]


def make_inputs(device: torch.device, *, rows: int, pixels: int) -> Examples:
    return [torch.rand(3, pixels, pixels) for _ in range(rows)] if pixels else list(range(rows))


def ours(examples: Examples, rule: str, **options: Any) -> Call:
    from sslfast.masking import MaskedPatchCollator

    collator = MaskedPatchCollator((SIDE, SIDE), rule, **options)

    def call() -> tuple[Tensor, Tensor]:
        batch = collator(examples)
        return batch["inputs"], batch["collated_masks" if rule == "dinov2" else "mask"].flatten(1)

    return call


def lightly_tokens(examples: Examples) -> Call:
    function = peers.load("lightly.models.utils").random_token_mask

    def call() -> tuple[Tensor, Tensor]:
        masked = function((len(examples), SIDE * SIDE), 0.75, mask_class_token=True)[1]
        mask = torch.zeros(len(examples), SIDE * SIDE, dtype=torch.bool).scatter_(1, masked, True)
        return default_collate(examples), mask

    return call


def lightly_blocks(examples: Examples) -> Call:
    function = peers.load("lightly.models.utils").random_block_mask
    return lambda: (default_collate(examples), function((len(examples), SIDE, SIDE)).flatten(1))


def ours_ijepa(examples: Examples) -> Call:
    from sslfast.masking import IJEPACollator

    collator = IJEPACollator(mode="compat", **IJEPA)
    return lambda: collator(examples)


def lightly_ijepa(examples: Examples) -> Call:
    collator = peers.load("lightly.data.ijepa_collate").IJEPAMaskCollator(**IJEPA)
    return lambda: collator(examples)


def check(examples: Examples, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(theirs[0], ours[0]), "another batch"
    assert theirs[1].shape == ours[1].shape, f"shape {tuple(theirs[1].shape)}"
    shares = [float(mask.float().mean()) for mask in (theirs[1], ours[1])]
    assert abs(shares[0] - shares[1]) < 0.08, f"masked shares {shares}"


def check_lists(examples: Examples, theirs: Any, ours: Any) -> None:
    assert torch.equal(theirs[0], ours[0]), "another batch"
    for masks, our_masks in zip(theirs[1:], ours[1:], strict=True):
        assert len(masks) == len(our_masks), "another number of lists"
        for mask in (*masks, *our_masks):
            assert mask.shape[0] == len(examples), f"shape {tuple(mask.shape)}"
            assert bool((mask.diff(dim=1) > 0).all()), "positions do not ascend"


def case(op: str, rows: int, pixels: int, providers: dict[str, Any], **options: Any) -> Case:
    lists = op.startswith("ijepa")
    a_row = 8 * (60 + 4 * 34) if lists else SIDE * SIDE
    return Case(
        op=op,
        size=f"{rows} of 3x{pixels}x{pixels}" if pixels else f"{rows} numbers",
        dtype="fp32" if pixels else "int64",
        make_inputs=partial(make_inputs, rows=rows, pixels=pixels),
        check=check_lists if lists else check,
        work=rows * (a_row + (8 * 3 * pixels**2 if pixels else 8)),
        unit="B",
        formula="8 B a pixel's channel, and the masks",
        devices=("cpu",),
        one_thread_only=True,
        providers=providers,
        **options,
    )


def cases() -> list[Case]:
    tokens = {"sslfast": partial(ours, rule="random"), "lightly random_token_mask": lightly_tokens}
    blocks = {"sslfast": partial(ours, rule="dinov2", mode="compat"), "lightly random_block_mask": lightly_blocks}
    ijepa = {"sslfast": ours_ijepa, "lightly IJEPAMaskCollator": lightly_ijepa}
    return [
        case(op, rows, pixels, providers, quick=rows == 4)
        for op, providers in (
            ("masked_patch_collator random", tokens),
            ("masked_patch_collator dinov2", blocks),
            ("ijepa_collator", ijepa),
        )
        for rows, pixels in ((64, 224), (256, 0), (4, 32))
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
