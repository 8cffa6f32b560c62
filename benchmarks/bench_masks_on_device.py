"""Masks of patches and frames drawn on a GPU: time, launches and waits of the host, which has nothing to do in them.

Peers draw these on the host, one mask after the other; bench_block_mask, bench_cell_mask, bench_dino_mask and
bench_jepa_mask have them beside ours on the CPU. Floor: the bytes written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.harness import Call, Case

IJEPA = {"enc_mask_scale": (0.85, 1.0), "pred_mask_scale": (0.15, 0.2), "nenc": 1, "npred": 4, "min_keep": 10}


class Rule(NamedTuple):
    size: str
    work: int
    draw: Callable[..., Any]  # takes a generator and a device


def rules() -> dict[str, Rule]:
    from sslfast import masking

    grid, images = (14, 14), 256
    patches = images * 196
    video = (8, 14, 14)
    image_lists, video_lists = 256 * 8 * (60 + 4 * 34), 32 * 8 * 8 * 196
    return {
        "block_mask": Rule(f"{images} of 14x14", patches, partial(masking.block_mask, images, grid, 75)),
        "block_mask compat": Rule(
            f"{images} of 14x14", patches, partial(masking.block_mask, images, grid, 75, mode="compat")
        ),
        "block_mask with counts": Rule(
            f"{images} of 14x14",
            patches + 8 * images * (196 + 1),
            partial(masking.block_mask, images, grid, 75, return_counts=True),
        ),
        "inverse_block_mask": Rule(
            f"{images} of 14x14", patches, partial(masking.inverse_block_mask, images, grid, 0.65)
        ),
        "square_mask": Rule(f"{images} of 14x14", patches, partial(masking.square_mask, images, grid, 0.8)),
        "dino_masks with lists": Rule(
            f"{images} of 14x14", patches + 12 * int(images * 0.15 * 196), partial(masking.dino_masks, images, grid)
        ),
        "grid_patch_mask": Rule(
            f"{images} of 48x48", images * 48 * 48, partial(masking.grid_patch_mask, images, (48, 48), 8, 0.6)
        ),
        "tube_mask": Rule("64 of 8x14x14", 64 * 8 * 196, partial(masking.tube_mask, 64, video, 0.9)),
        "frame_mask": Rule("64 of 8x14x14", 64 * 8 * 196, partial(masking.frame_mask, 64, video, 0.5)),
        "ijepa_masks": Rule(
            f"{images} of 14x14", image_lists, partial(masking.ijepa_masks, images, fixed_size=True, **IJEPA)
        ),
        "vjepa_masks": Rule("32 of 8x14x14", video_lists, partial(masking.vjepa_masks, 32, video, fixed_size=True)),
    }


def make_inputs(device: torch.device) -> torch.Tensor:
    """The seed, on the device: a number would be copied there."""
    return torch.tensor([7], device=device)


def ours(seed: torch.Tensor, draw: Callable[..., Any]) -> Call:
    return lambda: draw(generator=seed, device=seed.device)


def check(*_: Any) -> None:
    """Nobody else takes part."""


def cases() -> list[Case]:
    return [
        Case(
            op=op,
            size=rule.size,
            dtype="bool" if "jepa" not in op else "int64",
            make_inputs=make_inputs,
            providers={"sslfast": partial(ours, draw=rule.draw)},
            check=check,
            work=rule.work,
            unit="B",
            formula="bytes written",
            devices=("cuda",),
        )
        for op, rule in rules().items()
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
