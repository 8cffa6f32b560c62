"""Pictures of the rules for images and videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from mask_pictures.canvas import INK, bare, canvas, heat, legend, masked_names, picture, square, tiles
from sslfast import masking

GRID = (14, 14)


def grids(rules: dict[str, Callable[[int], torch.Tensor]], count: int, shown: int = 5, top: float = 1.0) -> Figure:
    """One line a rule: samples, and the probability of each patch."""
    figure = canvas(1.46 * len(rules) + 0.32)
    axes = figure.subplots(len(rules), shown + 1, squeeze=False)
    for i, (row, (name, rule)) in enumerate(zip(axes, rules.items(), strict=True)):
        masks = rule(count)
        for j, each in enumerate(row[:-1]):
            square(bare(each, "samples" if i == 0 and j == 0 else "", name if j == 0 else ""), masked_names(masks[j]))
        heat(bare(row[-1], "probability" if i == 0 else ""), masks.double().mean(0).numpy(), top=top)
    legend(figure, "visible", "masked")
    return figure


@picture
def random_patch_mask(count: int) -> Figure:
    def rule(rows: int) -> torch.Tensor:
        return masking.random_patch_mask(rows, 196, 0.75, generator=0).mask.view(-1, *GRID)

    return grids({"75 %": rule}, count)


@picture
def mask_patches(count: int) -> Figure:
    x = torch.arange(36.0).view(1, 36, 1).expand(count, -1, -1)
    kept, mask, restore = masking.mask_patches(x, 0.75, generator=3)
    figure = canvas(1.9)
    axes = figure.subplots(1, 5, width_ratios=[1, 1.4, 1, 1, 1.1])
    square(bare(axes[0], "x, mask"), masked_names(mask[0].view(6, 6)))
    tiles(bare(axes[1], "x_kept, to the encoder"), np.full((1, 9), "visible", dtype=object))
    axes[1].set_aspect(1)
    square(bare(axes[2], "ids_restore"), masked_names(mask[0].view(6, 6)))
    square(bare(axes[3], "unshuffle_patches"), masked_names(mask[0].view(6, 6)))
    for i in range(36):
        place = {"x": i % 6, "y": i // 6, "fontsize": 5.6, "ha": "center", "va": "center", "color": INK}
        axes[0].text(s=str(i), **place)
        axes[2].text(s=str(int(restore[0, i])), **place)
        axes[3].text(s="m" if mask[0, i] else str(i), **place)
    for j in range(9):
        axes[1].text(j, 0, str(int(kept[0, j, 0])), fontsize=5.6, ha="center", va="center", color=INK)
    heat(bare(axes[4], "probability"), mask.double().mean(0).view(6, 6).numpy(), top=1.0)
    legend(figure, "visible", "masked", visible="kept", masked="removed (m: mask token)")
    return figure


@picture
def grid_patch_mask(count: int) -> Figure:
    return grids({"60 %": lambda rows: masking.grid_patch_mask(rows, (16, 16), 4, 0.6, generator=1)}, count)


@picture
def block_mask(count: int) -> Figure:
    def rule(mode: str, shift: bool) -> Callable[[int], torch.Tensor]:
        return lambda rows: masking.block_mask(rows, GRID, 78, shift=shift, mode=mode, generator=2)

    return grids(
        {"exact": rule("exact", False), "compat": rule("compat", False), "exact, shift": rule("exact", True)}, count
    )


@picture
def inverse_block_mask(count: int) -> Figure:
    def rule(mode: str, shift: bool) -> Callable[[int], torch.Tensor]:
        return lambda rows: masking.inverse_block_mask(rows, GRID, 0.65, shift=shift, mode=mode, generator=2)

    lines = {"exact": rule("exact", True), "no shift": rule("exact", False), "compat, no shift": rule("compat", False)}
    return grids(lines, count)


@picture
def square_mask(count: int) -> Figure:
    def rule(inverse: bool) -> Callable[[int], torch.Tensor]:
        options: dict[str, Any] = {"adjust": 0.07} if inverse else {"mask_ratio": 0.4}
        return lambda rows: masking.square_mask(rows, GRID, inverse=inverse, generator=2, **options)

    return grids({"80 %, kept squares": rule(True), "40 %, inverse=False": rule(False)}, count)


@picture
def dino_masks(count: int) -> Figure:
    shown = 8
    figure = canvas(1.5)
    axes = figure.subplots(1, shown + 1, width_ratios=[1] * shown + [1.12])
    for i, mask in enumerate(masking.dino_masks(shown, GRID, generator=5).masks):
        square(bare(axes[i], f"{int(mask.sum())} masked"), masked_names(mask.view(GRID)))
    axes[0].set_ylabel("one batch", fontsize=8, color=INK)
    masks = masking.dino_masks(count, GRID, generator=6).masks.view(-1, *GRID)
    heat(bare(axes[-1], "probability"), masks.double().mean(0).numpy())
    legend(figure, "visible", "masked")
    return figure


def occupancy(lists: Sequence[torch.Tensor], patches: int) -> np.ndarray:
    """How often each patch is in lists that end with -1."""
    rows = len(lists[0])
    found = torch.zeros(rows, patches + 1)
    for each in lists:
        found.scatter_(1, torch.where(each < 0, patches, each), 1.0)
    return found[:, :patches].double().mean(0).numpy()


@picture
def ijepa_masks(count: int) -> Figure:
    scales: dict[str, Any] = {"enc_mask_scale": (0.85, 1.0), "pred_mask_scale": (0.15, 0.2)}
    rule: dict[str, Any] = {**scales, "aspect_ratio": (0.75, 1.5), "npred": 4, "min_keep": 10}
    batch = 64
    figure = canvas(2.75)
    axes = figure.subplots(2, 7)
    for row, mode in zip(axes, ("exact", "compat"), strict=True):
        batches = [
            masking.ijepa_masks(batch, GRID, generator=seed, mode=mode, **rule)
            for seed in range(max(1, count // batch))
        ]
        for i, each in enumerate(row[:5]):
            names = np.full(196, "visible", dtype=object)
            found = batches[i % len(batches)]
            names[found.masks_enc[0][0]] = "context"
            for targets in found.masks_pred:
                names[targets[0]] = "target"
            square(
                bare(each, "samples" if mode == "exact" and i == 0 else "", mode if i == 0 else ""), names.reshape(GRID)
            )
        first = mode == "exact"
        for axis, kind, lists in ((row[5], "context", "masks_enc"), (row[6], "target", "masks_pred")):
            chance = np.mean([occupancy(getattr(found, lists), 196) for found in batches], 0)
            heat(bare(axis, f"P({kind})" if first else ""), chance.reshape(GRID), kind, top=1.0)
    legend(figure, "context", "target", "visible", visible="neither")
    return figure


def film(lines: dict[str, tuple[str, np.ndarray]], title: str) -> Figure:
    """Frames side by side: names of colours, or probabilities of the colour that is named."""
    frames = len(next(iter(lines.values()))[1])
    figure = canvas(1.06 * len(lines) + 0.38)
    axes = figure.subplots(len(lines), frames, squeeze=False)
    for i, (row, (side, (colour, values))) in enumerate(zip(axes, lines.items(), strict=True)):
        for t, (axis, frame) in enumerate(zip(row, values, strict=True)):
            bare(axis, f"{title} {t + 1}" if i == 0 else "", side if t == 0 else "")
            if colour:
                heat(axis, frame, colour, top=1.0, bar=t == frames - 1)
            else:
                square(axis, frame)
    return figure


def video(rule: Callable[[int], torch.Tensor], count: int) -> Figure:
    masks = rule(count)
    chance = masks.double().mean(0).numpy()
    lines = {f"sample {i + 1}": ("", masked_names(masks[i])) for i in range(2)}
    figure = film({**lines, "probability": ("masked", chance)}, "frame")
    legend(figure, "visible", "masked")
    return figure


@picture
def tube_mask(count: int) -> Figure:
    return video(lambda rows: masking.tube_mask(rows, (8, 14, 14), 0.9, generator=1), count)


@picture
def frame_mask(count: int) -> Figure:
    return video(lambda rows: masking.frame_mask(rows, (8, 14, 14), 0.5, generator=2), count)


@picture
def vjepa_masks(count: int) -> Figure:
    grid, batch = (8, 14, 14), 32
    rule: dict[str, Any] = {"spatial_scale": (0.15, 0.15), "aspect_ratio": (0.75, 1.5), "npred": 8}
    lines: dict[str, tuple[str, np.ndarray]] = {}
    for mode in ("exact", "compat"):
        batches = [
            masking.vjepa_masks(batch, grid, generator=seed, mode=mode, **rule)
            for seed in range(max(1, count // batch))
        ]
        names = np.full(8 * 196, "visible", dtype=object)
        names[batches[0].masks_enc[0]] = "context"
        names[batches[0].masks_pred[0]] = "target"
        chance = np.mean([occupancy([found.masks_enc], 8 * 196) for found in batches], 0)
        lines[mode] = ("", names.reshape(grid))
        lines[f"P(context)\n{mode}"] = ("context", chance.reshape(grid))
    figure = film(lines, "frame")
    legend(figure, "context", "target", "visible", visible="cut away")
    return figure
