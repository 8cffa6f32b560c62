"""What the rules of blocks compute from their arguments, for the faces over tensors and over arrays alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sslfast import _check

LONGEST_SIDE = 512  # of a grid that blocks are masked in


def log_aspect(function: str, min_aspect: float, max_aspect: float | None) -> tuple[float, float]:
    """Logarithms of the two ends of a block's height over its width; the upper end is 1 / the lower by default.

    Raises:
        TypeError: if an end is not a number.
        ValueError: if the lower is not positive or the upper is below it.
    """
    low = _check.real(function, "min_aspect", min_aspect)
    if not 1e-6 <= low <= 1e6:
        raise ValueError(f"{function}: min_aspect must be in [1e-06, 1000000.0], got {min_aspect}")
    high = 1 / low if max_aspect is None else _check.real(function, "max_aspect", max_aspect)
    if not low <= high <= 1e6:
        if max_aspect is None:
            raise ValueError(f"{function}: min_aspect must be at most 1 where max_aspect is None, got {min_aspect}")
        raise ValueError(f"{function}: max_aspect must be in [min_aspect, 1000000.0], got {max_aspect}")
    return math.log(low), math.log(high)


def block_ranges(
    function: str,
    patches: int,
    min_patches: float,
    max_patches: float | None,
    min_aspect: float,
    max_aspect: float | None,
) -> tuple[float, float, float, float]:
    """Least and most patches of one block, and the logarithms of its least and largest aspect.

    Raises:
        TypeError: if one is not a number.
        ValueError: if one is out of range.
    """
    least = _check.real(function, "min_patches", min_patches)
    if not 1 <= least <= patches:
        raise ValueError(f"{function}: min_patches must be in [1, {patches}], got {min_patches}")
    most = float(patches) if max_patches is None else _check.real(function, "max_patches", max_patches)
    if most < least:
        raise ValueError(f"{function}: max_patches must be at least min_patches, got {max_patches}")
    return (least, most, *log_aspect(function, min_aspect, max_aspect))


def target_range(function: str, num_masked: int | Sequence[int], patches: int) -> tuple[int, int]:
    """Least and most patches that a row masks.

    Raises:
        TypeError: if it is neither an integer nor a pair of integers.
        ValueError: if one is out of range, or they are not in order.
    """
    ends: Sequence[Any] = num_masked if isinstance(num_masked, (tuple, list)) else (num_masked, num_masked)
    if len(ends) != 2:
        raise ValueError(f"{function}: num_masked must be a number or a pair of numbers, got {tuple(ends)}")
    low, high = (_check.integer(function, "num_masked", number, 0, patches) for number in ends)
    if low > high:
        raise ValueError(f"{function}: num_masked must be a pair in order, got {(low, high)}")
    return low, high


def fitting_log_aspect(
    height: int, width: int, visible: int, log_range: Sequence[float], exact: bool
) -> tuple[float, float]:
    """The part of a range of aspects at which a block of ``visible`` patches fits the grid, or the nearest that does.

    Not exact: lightly's and CAPI's upper end.
    """
    if visible == 0:
        return 0.0, 0.0
    fits = math.log(visible / width**2), math.log(height**2 / (visible if exact else visible + 1e-5))
    low, high = (min(max(end, fits[0]), max(fits)) for end in log_range)
    return low, high


def dino_upperbound(patches: int, masked_rows: int, low: float, high: float) -> int:
    """The most patches that a batch's targets can add up to: each row's ratio at the upper end of its bin."""
    return sum(int(patches * (low + (high - low) * ((i + 1) / masked_rows))) for i in range(masked_rows))


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


def leaves_context(
    grid: Sequence[int], spatial_scale: Sequence[float], temporal_scale: Sequence[float], context_frames: int
) -> bool:
    """Whether one block of V-JEPA surely leaves a patch of the context's frames."""
    frames, height, width = grid
    area = int(height * width * spatial_scale[1])
    return area < (height - 0.5) * (width - 0.5) or int(frames * temporal_scale[1]) < context_frames


def squares(function: str, patches: int, mask_ratio: float, side: int, adjust: float, inverse: bool) -> tuple[int, int]:
    """How many squares are drawn, and how many patches they cover in the end.

    Raises:
        TypeError: if the ratio is not a number.
        ValueError: if it is out of range or leaves no patch.
    """
    ratio = _check.real(function, "mask_ratio", mask_ratio)
    _check.share(function, patches, ratio, "patches")
    covered = 1 - ratio if inverse else ratio
    marked = int(patches * covered + 1e-12 * patches)
    if inverse and marked < 1:
        raise ValueError(f"{function}: mask_ratio must keep at least 1 of {patches} patches, got {ratio}")
    return int(patches * ((covered + adjust) / side**2) + 1e-12 * patches), marked
