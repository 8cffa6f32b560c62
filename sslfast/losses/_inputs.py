"""What the losses in plain torch operations share: checks of their arguments, and the precision they compute in."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check
from sslfast.losses._pairs import check_floating


def check_views(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """Two batches of embeddings of one shape (N, D), with N, D >= 1, and on one device.

    Raises:
        TypeError: if one is not a floating-point tensor.
        ValueError: if z0 has another shape, or z1 differs in shape or device.
    """
    check_floating(function, name1, z1)
    check_rows(function, name0, z0)
    check_like(function, name0, z0, name1, z1)


def check_rows(function: str, name: str, z: Tensor) -> None:
    """A batch of embeddings, (N, D) with N, D >= 1.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape.
    """
    check_floating(function, name, z)
    if z.dim() != 2 or 0 in z.shape:
        raise ValueError(f"{function}: {name} must have shape (N, D) with N, D >= 1, got {tuple(z.shape)}")


def check_like(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """``z1`` has the shape and the device of ``z0``.

    Raises:
        ValueError: if not.
    """
    if z1.shape != z0.shape:
        raise ValueError(f"{function}: {name1} must have shape {tuple(z0.shape)}, like {name0}, got {tuple(z1.shape)}")
    if z1.device != z0.device:
        raise ValueError(f"{function}: {name1} must be on {z0.device}, like {name0}, got {z1.device}")


def check_two_rows(function: str, name: str, z: Tensor) -> None:
    """At least 2 rows; of a gathered batch, so that every rank comes to the same verdict.

    Raises:
        ValueError: if there are fewer.
    """
    if len(z) < 2:
        raise ValueError(f"{function}: {name} must have at least 2 rows, got {len(z)}")


def positive(function: str, name: str, value: float) -> float:
    """``value`` as a finite float above 0.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or 0 or less.
    """
    number = _check.real(function, name, value)
    if number <= 0.0:
        raise ValueError(f"{function}: {name} must be positive, got {value}")
    return number


def not_negative(function: str, name: str, value: float) -> float:
    """``value`` as a finite float of at least 0.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or below 0.
    """
    number = _check.real(function, name, value)
    if number < 0.0:
        raise ValueError(f"{function}: {name} must be at least 0, got {value}")
    return number


def widened(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the dtype of accumulation: float64 if one of them is, float32 otherwise."""
    wide = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    return [t.to(wide) for t in tensors]


def without_autocast(z: Tensor) -> torch.autocast:
    """A context in which autocast, if it is on for the device of ``z``, changes nothing."""
    return torch.autocast(z.device.type, enabled=False)
