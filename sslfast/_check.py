"""Argument checks shared by the public functions. One message form: function, argument, expected, got."""

from __future__ import annotations

import math


def probability(function: str, name: str, value: float) -> float:
    """Returns ``value`` as a float in [0, 1].

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is outside [0, 1] or NaN.
    """
    number = real(function, name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{function}: {name} must be a probability in [0, 1], got {value}")
    return number


def real(function: str, name: str, value: float) -> float:
    """Returns ``value`` as a finite float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{function}: {name} must be finite, got {value}")
    return float(value)


def integer(function: str, name: str, value: int, low: int, high: int | None = None) -> int:
    """Returns ``value`` as an int of at least ``low`` and, where given, at most ``high``.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}: {name} must be an int, got {type(value).__name__}")
    number = value.__index__()
    if number < low or (high is not None and number > high):
        expected = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{function}: {name} must be {expected}, got {number}")
    return number
