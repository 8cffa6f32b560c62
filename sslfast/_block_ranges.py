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


def target_range(function: str, num_masked: int | Sequence[float], patches: int, exact: bool) -> tuple[float, float]:
    """Least and most patches that a row masks: whole numbers, unless they are a pair and not exact.

    Raises:
        TypeError: if it is neither an integer nor a pair of integers, or where not exact of numbers.
        ValueError: if one is out of range, they are not in order, or where ``exact`` they may keep no patch.
    """
    ends: Sequence[Any] = num_masked if isinstance(num_masked, (tuple, list)) else (num_masked, num_masked)
    if len(ends) != 2:
        raise ValueError(f"{function}: num_masked must be a number or a pair of numbers, got {tuple(ends)}")
    real = not exact and ends is num_masked
    low, high = (_target(function, number, patches, real) for number in ends)
    if low > high:
        raise ValueError(f"{function}: num_masked must be a pair in order, got {tuple(ends)}")
    if exact and high == patches:
        expected = f'below all {patches} patches in mode "exact"'
        raise ValueError(f"{function}: num_masked must be {expected}, got {num_masked}")
    return low, high


def _target(function: str, number: Any, patches: int, real: bool) -> float:
    if not real or hasattr(number, "__index__"):
        return float(_check.integer(function, "num_masked", number, 0, patches))
    value = _check.real(function, "num_masked", number)
    if not 0 <= value <= patches:
        raise ValueError(f"{function}: num_masked must be in [0, {patches}], got {number}")
    return value


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


def dino_ratios(function: str, ratios: Sequence[float], exact: bool) -> tuple[float, float]:
    """Least and largest share of masked patches of a row; the largest is never reached, but where both are one.

    Raises:
        TypeError: if they are no numbers.
        ValueError: if they are out of range or not in order, or where ``exact`` they keep no patch.
    """
    low, high = _check.interval(function, "mask_ratio_min_max", ratios, 0, 1)
    if exact and low == 1.0:
        raise ValueError(f'{function}: mask_ratio_min_max must begin below 1 in mode "exact", got {(low, high)}')
    return low, high


def dino_upperbound(patches: int, masked_rows: int, low: float, high: float) -> int:
    """The most patches that a batch's targets can add up to: each row's ratio at the upper end of its bin."""
    return sum(int(patches * (low + (high - low) * ((i + 1) / masked_rows))) for i in range(masked_rows))


Cells = tuple[tuple[int, ...], tuple[int, ...], int]


def grid_cells(
    function: str, grid: Sequence[int], cell_size: int | Sequence[int], mask_ratio: float, mode: str
) -> Cells:
    """The grid of one frame, the sides of a square of patches in it, and how many squares are masked.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a side or the ratio is out of range, squares do not tile the grid, or none would be left.
    """
    height, width = _check.grid(function, "grid", grid, "(H, W)")
    sides = cell_size if isinstance(cell_size, (tuple, list)) else (cell_size, cell_size)
    cell = _check.grid(function, "cell_size", sides, "(h, w)")
    if height % cell[0] or width % cell[1]:
        raise ValueError(f"{function}: cell_size must divide the grid {(height, width)}, got {cell}")
    masked = _check.share(function, height // cell[0] * (width // cell[1]), mask_ratio, "cells", mode, up=True)
    return (1, height, width), (1, *cell), masked


def tube_cells(function: str, grid: Sequence[int], mask_ratio: float, mode: str) -> Cells:
    """The grid, a place in all its frames, and how many places are masked; errors as of :func:`grid_cells`."""
    sides = _check.grid(function, "grid", grid, "(T, H, W)")
    return sides, (sides[0], 1, 1), _check.share(function, sides[1] * sides[2], mask_ratio, "places", mode)


def frame_cells(function: str, grid: Sequence[int], mask_ratio: float, mode: str) -> Cells:
    """The grid, a frame of it, and how many frames are masked; errors as of :func:`grid_cells`."""
    sides = _check.grid(function, "grid", grid, "(T, H, W)")
    return sides, (1, *sides[1:]), _check.share(function, sides[0], mask_ratio, "frames", mode)


def squares(
    function: str, patches: int, mask_ratio: float, side: int, adjust: float, inverse: bool, mode: str = "exact"
) -> tuple[int, int]:
    """How many squares are drawn, and how many patches they cover in the end; in ``"compat"`` both after a float's
    error.

    Raises:
        TypeError: if the ratio is not a number.
        ValueError: if it is out of range or leaves no patch, or there is no such mode.
    """
    ratio = _check.real(function, "mask_ratio", mask_ratio)
    _check.share(function, patches, ratio, "patches", mode)
    covered = 1 - ratio if inverse else ratio
    exact = _check.mode_is_exact(function, mode)
    slack = 1e-12 * patches if exact else 0.0  # above the rounding of the shares and the products
    marked = int(patches * covered + slack)
    if exact and inverse and marked < 1:
        raise ValueError(f"{function}: mask_ratio must keep at least 1 of {patches} patches, got {ratio}")
    return int(patches * ((covered + adjust) / side**2) + slack), marked
