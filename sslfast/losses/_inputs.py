"""Checks of the arguments that losses share, and the precision that those in plain torch compute in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from sslfast import _check
from sslfast._arguments import strided

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FLOAT32_MAX = torch.finfo(torch.float32).max
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def check_floating(function: str, name: str, z: Tensor) -> None:
    """A strided floating-point tensor, of 16 bits at least: 8 are not for embeddings.

    Raises:
        TypeError: if it is not.
    """
    if isinstance(z, Tensor) and z.dtype in _FLOATS and z.layout is torch.strided and not z.is_nested:
        return  # as nearly always
    if not isinstance(z, Tensor) or not z.is_floating_point():
        got = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise TypeError(f"{function}: {name} must be a floating-point tensor, got {got}")
    if z.dtype not in _FLOATS:
        raise TypeError(f"{function}: {name} must be float16, bfloat16, float32 or float64, got {z.dtype}")
    strided(function, name, z)


def check_rows(function: str, name: str, z: Tensor) -> None:
    """A batch of embeddings, (N, D) with N, D >= 1.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape.
    """
    check_floating(function, name, z)
    if z.dim() != 2 or 0 in z.shape:
        raise ValueError(f"{function}: {name} must have shape (N, D) with N, D >= 1, got {tuple(z.shape)}")


def are_pairs_on_cpu(z0: object, z1: object) -> bool:
    """Whether these are two batches of one shape on the CPU that :func:`check_pair` takes, and it asks this first."""
    return (
        isinstance(z0, Tensor)
        and isinstance(z1, Tensor)
        and z0.is_cpu
        and z1.is_cpu
        and z0.dtype in _FLOATS
        and z1.dtype in _FLOATS
        and z0.layout is z1.layout is torch.strided
        and not (z0.is_nested or z1.is_nested)  # whose layout may be torch.strided, too
        and (shape := z0.shape) == z1.shape
        and len(shape) == 2
        and 0 not in shape
    )


def check_like(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """``z1`` has the shape and the device of ``z0``.

    Raises:
        ValueError: if not.
    """
    if z1.shape != z0.shape:
        raise ValueError(f"{function}: {name1} must have shape {tuple(z0.shape)}, like {name0}, got {tuple(z1.shape)}")
    check_device(function, name0, z0, name1, z1)


def check_device(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """``z1`` is on the device of ``z0``.

    Raises:
        ValueError: if not.
    """
    if z1.device != z0.device:
        raise ValueError(f"{function}: {name1} must be on {z0.device}, like {name0}, got {z1.device}")


def check_views(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """Two batches of embeddings of one shape (N, D), with N, D >= 1, and on one device.

    Raises:
        TypeError: if one is not a floating-point tensor.
        ValueError: if z0 has another shape, or z1 differs in shape or device.
    """
    check_floating(function, name1, z1)
    check_rows(function, name0, z0)
    check_like(function, name0, z0, name1, z1)


def check_kernel_dtype(function: str, *tensors: Tensor) -> None:
    """What the kernels of a device take: float64 is for the CPU.

    Raises:
        TypeError: if one is float64 on a GPU.
    """
    for z in tensors:
        if z.is_cuda and z.dtype == torch.float64:
            raise TypeError(f"{function}: float64 is supported on the CPU, got float64 on {z.device}")


def check_pair(function: str, name0: str, z0: Tensor, name1: str, z1: Tensor) -> None:
    """What :func:`check_views` and :func:`check_kernel_dtype` check."""
    if are_pairs_on_cpu(z0, z1):
        return
    check_views(function, name0, z0, name1, z1)
    check_kernel_dtype(function, z0, z1)


def check_labels(function: str, name: str, labels: Tensor | None, rows_name: str, rows: Tensor) -> Tensor:
    """``labels``, one integer for each row, on the rows' device.

    Raises:
        TypeError: if it is not a strided integer tensor.
        ValueError: if its shape is not (N,), or it is on another device.
    """
    check_integers(function, name, labels)
    assert labels is not None
    if labels.shape != rows.shape[:1]:
        raise ValueError(f"{function}: {name} must have shape ({len(rows)},), got {tuple(labels.shape)}")
    check_device(function, rows_name, rows, name, labels)
    return labels


def check_integers(function: str, name: str, numbers: object) -> None:
    """A strided tensor of integers.

    Raises:
        TypeError: if it is not one.
    """
    if not isinstance(numbers, Tensor) or numbers.dtype not in _INTEGERS:
        got = numbers.dtype if isinstance(numbers, Tensor) else type(numbers).__name__
        expected = "a signed integer or uint8" if str(got).startswith("torch.uint") else "an integer"
        raise TypeError(f"{function}: {name} must be {expected} tensor, got {got}")
    strided(function, name, numbers)


def kernel_integers(numbers: Tensor) -> Tensor:
    """Integers of any dtype and strides as kernels read them: int64, contiguous."""
    return numbers.long().contiguous()


def check_choice(function: str, name: str, value: str, choices: tuple[str, ...]) -> str:
    """``value``, one of the choices.

    Raises:
        ValueError: if it is none of them.
    """
    return _check.one_of(function, name, value, choices)


def check_two_rows(function: str, name: str, z: Tensor) -> None:
    """At least 2 rows; of a gathered batch, so that every rank comes to the same verdict.

    Raises:
        ValueError: if there are fewer.
    """
    if len(z) < 2:
        raise ValueError(f"{function}: {name} must have at least 2 rows, got {len(z)}")


def check_scalar(function: str, name: str, value: float | Tensor, like: Tensor, *others: Tensor) -> float | Tensor:
    """A finite number, or a floating-point tensor of one, which is not read: a GPU is not waited for.

    Raises:
        TypeError: if it is neither.
        ValueError: if it is not finite, or not so in the dtype of accumulation of ``like`` and the ``others``, has more
            than one element or is not on the device of ``like``.
    """
    if not isinstance(value, Tensor):
        return finite(function, name, value, like, *others)
    check_floating(function, name, value)
    if value.numel() != 1:
        raise ValueError(f"{function}: {name} must have one element, got shape {tuple(value.shape)}")
    if value.device != like.device:
        raise ValueError(f"{function}: {name} must be on {like.device}, like the features, got {value.device}")
    return value


def finite(function: str, name: str, value: float, *like: Tensor) -> float:
    """``value`` as a float, finite in the dtype of accumulation of the tensors ``like``, where there are any.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite.
    """
    number = _check.real(function, name, value)
    if like and abs(number) > _FLOAT32_MAX and all(z.dtype != torch.float64 for z in like):
        raise ValueError(f"{function}: {name} must be finite in float32, got {value}")
    return number


def temperature_of(function: str, temperature: float, name: str = "temperature") -> float:
    """``temperature`` as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or below 1e-8 in absolute value.
    """
    number = _check.real(function, name, temperature)
    if abs(number) < 1e-8:
        raise ValueError(f"{function}: {name} must be at least 1e-8 in absolute value, got {temperature}")
    return number


def positive(function: str, name: str, value: float, *like: Tensor) -> float:
    """``value`` as a float above 0 that is finite as :func:`finite` says.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or 0 or less.
    """
    number = finite(function, name, value, *like)
    if number <= 0.0:
        raise ValueError(f"{function}: {name} must be positive, got {value}")
    return number


def divisor(function: str, name: str, value: float, *like: Tensor) -> float:
    """``value`` as a float above 0, finite as :func:`finite` says, that scores may be divided by.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, 0 or less, or below 1e-8: quotients in float32 must stay finite.
    """
    number = positive(function, name, value, *like)
    if number < 1e-8:
        raise ValueError(f"{function}: {name} must be at least 1e-8, got {value}")
    return number


def not_negative(function: str, name: str, value: float, *like: Tensor) -> float:
    """``value`` as a float of at least 0 that is finite as :func:`finite` says.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is not finite, or below 0.
    """
    number = finite(function, name, value, *like)
    if number < 0.0:
        raise ValueError(f"{function}: {name} must be at least 0, got {value}")
    return number


def widened(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the dtype of accumulation: float64 if one of them is, float32 otherwise."""
    wide = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    return [t.to(wide) for t in tensors]


def autocast_is_on(kind: str) -> bool:
    """Whether autocast is on for a kind of device; of those that have none, as "meta", torch refuses the question."""
    has = kind == "cpu" or torch.amp.is_autocast_available(kind)  # on the CPU the call would cost
    return has and torch.is_autocast_enabled(kind)


def without_autocast(z: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast, if it is on for the device of ``z``, changes nothing."""
    kind = z.device.type
    # Where it is off the context would cost more than the question.
    return torch.autocast(kind, enabled=False) if autocast_is_on(kind) else nullcontext()
