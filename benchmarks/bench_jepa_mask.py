"""I-JEPA's masks beside lightly's copy of its collator, with I-JEPA's settings for ImageNet; V-JEPA's masks beside the
published algorithm, with its two settings for video.

Floor: 8 bytes written a patch of a list. The collator also stacks 256 numbers that stand for the images.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

IJEPA = {
    "enc_mask_scale": (0.85, 1.0),
    "pred_mask_scale": (0.15, 0.2),
    "aspect_ratio": (0.75, 1.5),
    "nenc": 1,
    "npred": 4,
    "min_keep": 10,
}
VJEPA = [
    {"npred": 8, "spatial_scale": (0.15, 0.15), "aspect_ratio": (0.75, 1.5)},
    {"npred": 2, "spatial_scale": (0.7, 0.7), "aspect_ratio": (0.75, 1.5)},
]
FRAMES, SIDE = 8, 14

Masks = list[tuple[list[Tensor], list[Tensor]]]


def make_inputs(device: torch.device, *, rows: int) -> int:
    return rows


def ours_images(rows: int, mode: str) -> Call:
    from sslfast.masking import ijepa_masks

    return lambda: [ijepa_masks(rows, mode=mode, **IJEPA)[:2]]


def lightly(rows: int) -> Call:
    collator = peers.load("lightly.data.ijepa_collate").IJEPAMaskCollator(**IJEPA)
    images = list(range(rows))
    return lambda: [collator(images)[1:]]


def ours_videos(rows: int) -> Call:
    from sslfast.masking import vjepa_masks

    def call() -> Masks:
        masks = [vjepa_masks(rows, (FRAMES, SIDE, SIDE), **options) for options in VJEPA]
        return [([m.masks_enc], [m.masks_pred]) for m in masks]

    return call


def published(rows: int) -> Call:
    """Blocks of one size until there is a context, a tensor for each; then the first patches of every list."""

    def masks(npred: int, share: float, aspect: tuple[float, float]) -> tuple[list[Tensor], list[Tensor]]:
        ratio = float(torch.empty(1).uniform_(*aspect))
        patches = int(SIDE * SIDE * share)
        h = min(SIDE, round(math.sqrt(patches * ratio)))
        w = min(SIDE, round(math.sqrt(patches / ratio)))
        contexts, targets = [], []
        while len(contexts) < rows:
            kept = torch.ones((FRAMES, SIDE, SIDE), dtype=torch.int32)
            for _ in range(npred):
                block = torch.ones((FRAMES, SIDE, SIDE), dtype=torch.int32)
                top, left = torch.randint(0, SIDE - h + 1, (1,)), torch.randint(0, SIDE - w + 1, (1,))
                block[:, top : top + h, left : left + w] = 0
                kept *= block
            context = torch.nonzero(kept.flatten()).squeeze()
            if context.numel():
                contexts.append(context)
                targets.append(torch.argwhere(kept.flatten() == 0).squeeze())
        return tuple([torch.stack([x[: min(map(len, xs))] for x in xs])] for xs in (contexts, targets))

    return lambda: [masks(o["npred"], o["spatial_scale"][0], o["aspect_ratio"]) for o in VJEPA]


def check(rows: int, theirs: Masks, ours: Masks) -> None:
    for (contexts, targets), (our_contexts, our_targets) in zip(theirs, ours, strict=True):
        assert len(contexts) == len(our_contexts), "another number of contexts"
        assert len(targets) == len(our_targets), "another number of targets"
        for mask in (*contexts, *targets, *our_contexts, *our_targets):
            assert mask.shape[0] == rows, f"shape {tuple(mask.shape)}"
            assert mask.dtype == torch.int64, f"type {mask.dtype}"
            assert bool((mask.diff(dim=1) > 0).all()), "positions do not ascend"


def cases() -> list[Case]:
    images = {"lightly IJEPAMaskCollator": lightly}
    rest: dict[str, Any] = {"dtype": "int64", "check": check, "unit": "B", "devices": ("cpu",), "quick": True}
    work, formula = 256 * 8 * (60 + 4 * 34), "8 written B a patch of a list"
    return [
        Case(
            op=op,
            size="256 of 14x14",
            make_inputs=partial(make_inputs, rows=256),
            providers={"sslfast": partial(ours_images, mode=mode), **images},
            work=work,
            formula=formula,
            **rest,
        )
        for op, mode in (("ijepa_masks", "exact"), ("ijepa_masks compat", "compat"))
    ] + [
        Case(
            op="vjepa_masks",
            size="32 of 8x14x14",
            make_inputs=partial(make_inputs, rows=32),
            providers={"sslfast": ours_videos, "published algorithm (V-JEPA)": published},
            work=2 * 32 * 8 * FRAMES * SIDE * SIDE,
            formula=formula,
            **rest,
        )
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
