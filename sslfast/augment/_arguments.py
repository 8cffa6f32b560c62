"""Checks of transforms' arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from sslfast import _check
from sslfast._image_steps import INTERPOLATIONS

Factor: TypeAlias = "float | tuple[float, float]"
Fill: TypeAlias = "float | Sequence[float]"
Size: TypeAlias = "int | tuple[int, int]"

_SIDE = 2**24


def floats(name: str, argument: str, values: Sequence[float], count: int | None = None) -> tuple[float, ...]:
    """``values`` as a tuple of finite floats, ``count`` of them if that is given."""
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name}: {argument} must be a tuple of numbers, got {type(values).__name__}")
    if count is not None and len(values) != count:
        raise ValueError(f"{name}: {argument} must hold {count} numbers, got {values}")
    return tuple(_check.real(name, argument, value) for value in values)


def pair(name: str, argument: str, value: Sequence[float], low: float, high: float) -> tuple[float, float]:
    """(low, high) of a uniform draw, ascending and within [low, high]."""
    first, second = floats(name, argument, value, 2)
    if not low <= first <= second <= high:
        raise ValueError(f"{name}: {argument} must be (low, high), ascending and in [{low:g}, {high:g}], got {value}")
    return first, second


def factor(name: str, argument: str, value: Factor, *, centre: float, low: float, high: float) -> tuple[float, float]:
    """v for [centre - v, centre + v], not below ``low``, or (low, high) itself."""
    if isinstance(value, (tuple, list)):
        return pair(name, argument, value, low, high)
    number = _check.real(name, argument, value)
    if number < 0 or centre + number > high:
        bound = f"in [0, {high - centre:g}]" if math.isfinite(high) else "at least 0"
        raise ValueError(f"{name}: {argument} must be {bound}, or (low, high), got {value}")
    return max(low, centre - number), centre + number


def view_size(name: str, argument: str, size: Size) -> tuple[int, int]:
    """(height, width) from a side or a pair."""
    if isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"{name}: {argument} must be an int or (height, width), got {size}")
        height, width = size
    else:
        height = width = size
    return _check.integer(name, argument, height, 1, _SIDE), _check.integer(name, argument, width, 1, _SIDE)


def interpolation_name(name: str, value: object) -> str:
    """``value`` as one of our names; torchvision's and Pillow's enumerations are taken by theirs."""
    found = getattr(value, "value", value)
    if not isinstance(found, str):  # Pillow's have numbers for values
        found = str(getattr(value, "name", "")).lower()
    if not isinstance(found, str) or found not in INTERPOLATIONS:
        raise ValueError(f"{name}: interpolation must be one of {', '.join(INTERPOLATIONS)}, got {_check.shown(value)}")
    return str(found)


def fill_of(name: str, value: Fill) -> float | tuple[float, ...]:
    """A number in [0, 1], or one for each channel."""
    numbers = value if isinstance(value, (tuple, list)) else (value,)
    each = tuple(_check.real(name, "fill", number) for number in numbers)
    if not each or not all(0 <= number <= 1 for number in each):
        raise ValueError(f"{name}: fill must be a number in [0, 1], or one for each channel, got {value}")
    return each[0] if len(each) == 1 else each


def affine_fill_of(name: str, value: Fill | None) -> float | tuple[float, ...] | None:
    """As ``fill_of``, or None."""
    return None if value is None else fill_of(name, value)


def one_each(name: str, argument: str, values: Sequence[object], of: Sequence[str]) -> tuple[object, ...]:
    """``values`` as a tuple that holds one for each of ``of``."""
    if not of:
        raise ValueError(f"{name}: {argument} must hold at least one value, got {values}")
    if not isinstance(values, (tuple, list)) or len(values) != len(of):
        raise ValueError(f"{name}: {argument} must hold one value for each of {', '.join(of)}, got {values}")
    return tuple(values)


def padding_of(name: str, padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) from one number, (left-right, top-bottom) or four."""
    numbers: list[int] = list(padding) if isinstance(padding, (tuple, list)) else [padding]  # type: ignore[list-item]
    if len(numbers) not in (1, 2, 4):
        raise ValueError(f"{name}: padding must be an int, or 2 or 4 of them, got {padding}")
    checked = [_check.integer(name, "padding", number, 0, _SIDE) for number in numbers]
    left, top, right, bottom = (checked * 4)[:4] if len(checked) < 4 else checked
    return left, top, right, bottom
