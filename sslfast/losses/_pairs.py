"""Checks of the arguments that contrastive losses share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check


def check_pair(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """Two batches of embeddings, of one shape (N, D) and on one device.

    Raises:
        TypeError: if one is not a floating-point tensor, or is float64 on a GPU.
        ValueError: if z0 is not (N, D) with N, D >= 1, or z1 differs in shape or device.
    """
    for name, z in ((name0, z0), (name1, z1)):
        check_floating(function, name, z)
    if z0.dim() != 2 or 0 in z0.shape:
        raise ValueError(f"{function}: {name0} must have shape (N, D) with N, D >= 1, got {tuple(z0.shape)}")
    if z1.shape != z0.shape:
        raise ValueError(f"{function}: {name1} must have shape {tuple(z0.shape)}, like {name0}, got {tuple(z1.shape)}")
    if z1.device != z0.device:
        raise ValueError(f"{function}: {name1} must be on {z0.device}, like {name0}, got {z1.device}")
    if z0.is_cuda and torch.float64 in (z0.dtype, z1.dtype):
        raise TypeError(f"{function}: float64 is supported on the CPU, got float64 on {z0.device}")


def check_floating(function: str, name: str, z: Tensor) -> None:
    """A floating-point tensor.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"{function}: {name} must be a floating-point tensor, got {got}")


def check_scalar(function: str, name: str, value: float | Tensor, like: Tensor) -> float | Tensor:
    """A finite number, or a floating-point tensor of one, which is not read: a GPU is not waited for.

    Raises:
        TypeError: if it is neither.
        ValueError: if it is not finite, has more than one element or is not on the device of ``like``.
    """
    if not isinstance(value, Tensor):
        return _check.real(function, name, value)
    check_floating(function, name, value)
    if value.numel() != 1:
        raise ValueError(f"{function}: {name} must have one element, got shape {tuple(value.shape)}")
    if value.device != like.device:
        raise ValueError(f"{function}: {name} must be on {like.device}, like the features, got {value.device}")
    return value


def temperature_of(function: str, temperature: float) -> float:
    """``temperature`` as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or below 1e-8 in absolute value.
    """
    number = _check.real(function, "temperature", temperature)
    if abs(number) < 1e-8:
        raise ValueError(f"{function}: temperature must be at least 1e-8 in absolute value, got {temperature}")
    return number
