"""What the rules of I-JEPA's and V-JEPA's masks compute from their arguments, for tensors and for arrays alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sslfast import _check


def block_capacity(height: int, width: int, scale: Sequence[float], aspect: Sequence[float]) -> int:
    """An upper bound of the patches of a block of I-JEPA: both sides are rounded from the share's largest."""
    area = int(height * width * scale[1])
    tall = max(math.sqrt(ratio) + 1 / math.sqrt(ratio) for ratio in aspect)
    rounded = int(area + 0.5 * math.sqrt(area) * tall + 0.25) + 1
    return min(height * width, max(rounded, height, width))  # a side is at least one patch


def jepa_grid(function: str, grid: Sequence[int], axes: str) -> tuple[int, ...]:
    """Returns the sides of a grid whose bits fit a GPU block's memory.

    Raises:
        TypeError: if it is no sequence of integers.
        ValueError: if a side is out of range or the grid is too large.
    """
    sides = _check.grid(function, "grid", grid, axes)
    words = math.prod(sides[:-1]) * -(-sides[-1] // 64)
    if words > 4096:
        raise ValueError(f"{function}: grid must have at most 4096 lines of 64 patches, got {tuple(grid)}")
    return sides


class IJepaRule(NamedTuple):
    """The arguments of I-JEPA's masks as the kernels take them."""

    height: int
    width: int
    context: tuple[float, float]
    target: tuple[float, float]
    aspect: tuple[float, float]
    flags: tuple[int, int, int, bool, bool, bool]  # contexts, blocks, min_keep, allow_overlap, exact, truncate
    capacity: tuple[int, int]
    fixed_size: bool
    batch_number: int


def ijepa_rule(
    function: str,
    grid: Sequence[int],
    enc_mask_scale: Sequence[float],
    pred_mask_scale: Sequence[float],
    aspect_ratio: Sequence[float],
    nenc: int,
    npred: int,
    min_keep: int,
    allow_overlap: bool,
    pad: bool,
    fixed_size: bool,
    mode: str,
    batch_number: int,
) -> IJepaRule:
    """The rule of I-JEPA's masks.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number or a range is out of range, or there is no such mode.
    """
    height, width = jepa_grid(function, grid, "(H, W)")
    context = _check.interval(function, "enc_mask_scale", enc_mask_scale, 0, 1)
    target = _check.interval(function, "pred_mask_scale", pred_mask_scale, 0, 1)
    aspect = _check.interval(function, "aspect_ratio", aspect_ratio, 1e-6, 1e6)
    nenc = _check.integer(function, "nenc", nenc, 1, 16)
    npred = _check.integer(function, "npred", npred, 1, 16)
    min_keep = _check.integer(function, "min_keep", min_keep, 0, height * width)
    allow_overlap = _check.boolean(function, "allow_overlap", allow_overlap)
    truncate = not _check.boolean(function, "pad", pad)
    fixed_size = _check.boolean(function, "fixed_size", fixed_size)
    exact = _check.mode_is_exact(function, mode)
    batch_number = _check.integer(function, "batch_number", batch_number, 0)
    flags = (nenc, npred, min_keep, allow_overlap, exact, truncate)
    capacity = block_capacity(height, width, context, (1.0, 1.0)), block_capacity(height, width, target, aspect)
    return IJepaRule(height, width, context, target, aspect, flags, capacity, fixed_size, batch_number)


class VJepaRule(NamedTuple):
    """The arguments of V-JEPA's masks as the kernels take them."""

    sides: tuple[int, ...]
    temporal: tuple[float, float]
    spatial: tuple[float, float]
    aspect: tuple[float, float]
    flags: tuple[int, int, int, bool, bool]  # blocks, context frames, max_keep, exact, truncate
    fixed_size: bool
    batch_number: int


def vjepa_rule(
    function: str,
    grid: Sequence[int],
    spatial_scale: Sequence[float],
    temporal_scale: Sequence[float],
    aspect_ratio: Sequence[float],
    npred: int,
    max_context_frames_ratio: float,
    max_keep: int | None,
    pad: bool,
    fixed_size: bool,
    mode: str,
    batch_number: int,
) -> VJepaRule:
    """The rule of V-JEPA's masks.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number or a range is out of range, one block may leave no context, or there is no such mode.
    """
    sides = jepa_grid(function, grid, "(T, H, W)")
    spatial = _check.interval(function, "spatial_scale", spatial_scale, 0, 1)
    temporal = _check.interval(function, "temporal_scale", temporal_scale, 0, 1)
    aspect = _check.interval(function, "aspect_ratio", aspect_ratio, 1e-6, 1e6)
    npred = _check.integer(function, "npred", npred, 1, 16)
    frames_ratio = _check.probability(function, "max_context_frames_ratio", max_context_frames_ratio)
    most = 0 if max_keep is None else _check.integer(function, "max_keep", max_keep, 1)
    truncate = not _check.boolean(function, "pad", pad)
    fixed_size = _check.boolean(function, "fixed_size", fixed_size)
    exact = _check.mode_is_exact(function, mode)
    batch_number = _check.integer(function, "batch_number", batch_number, 0)
    context_frames = max(1, int(sides[0] * frames_ratio))
    if not _leaves_context(sides, spatial, temporal, aspect, context_frames):
        scales = f"{spatial} and {temporal}"
        raise ValueError(
            f"{function}: spatial_scale and temporal_scale must leave context beside a block, got {scales}"
        )
    flags = (npred, context_frames, most, exact, truncate)
    return VJepaRule(sides, temporal, spatial, aspect, flags, fixed_size, batch_number)


def _leaves_context(
    grid: Sequence[int],
    spatial_scale: Sequence[float],
    temporal_scale: Sequence[float],
    aspect_ratio: Sequence[float],
    context_frames: int,
) -> bool:
    """Whether one block of V-JEPA surely leaves a patch of the context's frames.

    It leaves none where some aspect of the range makes it as high and as wide as the grid: both sides grow with the
    share, so that its largest decides. A side is at least one patch, which covers a grid of one line whatever is drawn.
    """
    frames, height, width = grid
    if max(int(frames * temporal_scale[1]), 1) < context_frames:
        return True
    area = int(height * width * spatial_scale[1])
    slack = 1 + 1e-12  # above the rounding of the sides
    as_high = 0.0 if height == 1 else (height - 0.5) ** 2 / max(area, 1e-300) / slack
    as_wide = math.inf if width == 1 else area / (width - 0.5) ** 2 * slack
    return max(as_high, aspect_ratio[0]) > min(as_wide, aspect_ratio[1])
