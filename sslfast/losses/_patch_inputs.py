"""What losses over patches take of images and options: checks, and the form in which the operator reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from sslfast import _check
from sslfast._arguments import strided
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import not_negative, positive

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.uint8)
_SCALED_CHANNELS = 16  # kScaledChannels of csrc/include/sslfast/masked_patch.h


class PatchOptions(NamedTuple):
    """What the operator is told; see csrc/include/sslfast/masked_patch.h."""

    patch: tuple[int, int, int]
    layout: int
    flat: bool
    norm: int
    kind: int
    beta: float
    eps: float
    scale: list[float]
    shift: list[float]
    reduction: str
    factor: float = 1.0  # of every loss


def check_options(
    function: str, norm_pix: bool | str, kind: str, beta: float, order: str, eps: float, reduction: str
) -> tuple[int, float, float]:
    """The code of the normalisation, and the numbers as floats.

    Raises:
        TypeError: if a number is none.
        ValueError: if a word is unknown, or a number is out of range.
    """
    if not isinstance(norm_pix, bool) and norm_pix not in ("patch", "channel"):
        raise ValueError(f"{function}: norm_pix must be a bool, 'patch' or 'channel', got {_check.shown(norm_pix)}")
    _check.one_of(function, "kind", kind, ("mse", "l1", "smooth_l1"))
    _check.one_of(function, "order", order, ("pqc", "cpq"))
    check_reduction(function, reduction)
    norm = 0 if norm_pix is False else 2 if norm_pix == "channel" else 1
    return norm, not_negative(function, "beta", beta), positive(function, "eps", eps)


def check_held(
    function: str,
    patch_size: int | Sequence[int],
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
) -> None:
    """What can be said of these before there are images.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range, or ``mean`` is given without ``std`` or with another number of channels.
    """
    if isinstance(patch_size, (tuple, list)):
        axes = "(t, h, w)" if len(patch_size) == 3 else "(h, w)"
        _check.grid(function, "patch_size", patch_size, axes, 2**31 - 1)
    else:
        _check.integer(function, "patch_size", cast(int, patch_size), 1)
    _check_pair(function, mean, std)
    for name, value in (("mean", mean), ("std", std)):
        for number in value if isinstance(value, (tuple, list)) else () if value is None else (value,):
            (positive if name == "std" else _check.real)(function, name, cast(float, number))
    if isinstance(mean, (tuple, list)) and isinstance(std, (tuple, list)) and len(mean) != len(std):
        raise ValueError(f"{function}: std must have {len(mean)} numbers, like mean, got {len(std)}")


def as_videos(function: str, images: Tensor) -> Tensor:
    """``images`` as (N, C, T, H, W).

    Raises:
        TypeError: if they are no tensor of floating point or uint8.
        ValueError: if they have another shape, or require a gradient.
    """
    if not isinstance(images, Tensor) or images.dtype not in _TYPES:
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"{function}: images must be a floating-point or uint8 tensor, got {got}")
    strided(function, "images", images)
    if images.dim() not in (4, 5) or images.shape[1] < 1:
        expected = "(N, C, H, W) or (N, C, T, H, W)"
        raise ValueError(f"{function}: images must have shape {expected}, got {tuple(images.shape)}")
    if images.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{function}: images must not require a gradient, as targets are constants: detach them")
    return images.detach() if images.dim() == 5 else images.detach().unsqueeze(2)


def patch_sides(function: str, patch_size: int | Sequence[int], images: Tensor) -> tuple[int, int, int]:
    """Frames, height and width of a patch, which divide the images.

    Raises:
        TypeError: if they are no integers.
        ValueError: if they are too few or many, out of range, or do not divide the images.
    """
    sides = images.shape[2:]
    axes = "(h, w)" if len(sides) == 2 else "(t, h, w)"
    if isinstance(patch_size, (tuple, list)):
        found = _check.grid(function, "patch_size", patch_size, axes, 2**31 - 1)
    elif len(sides) == 2:
        found = (_check.integer(function, "patch_size", cast(int, patch_size), 1),) * 2
    else:
        raise TypeError(f"{function}: patch_size must be (t, h, w) for videos, got {type(patch_size).__name__}")
    if any(side % size or side < size for side, size in zip(sides, found, strict=True)):
        raise ValueError(f"{function}: patch_size must divide images of {tuple(sides)}, got {patch_size}")
    return (found[0], found[1], found[2]) if len(found) == 3 else (1, found[0], found[1])


def target_scale(
    function: str,
    images: Tensor,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
    dtype: torch.dtype,
) -> tuple[list[float], list[float], Tensor]:
    """Factors and summands of the channels that make targets, none where they change nothing, and the images for them.

    Where these are made here, they are float64 if the images or the predictions, of ``dtype``, are.

    Raises:
        TypeError: if ``mean`` or ``std`` are no numbers.
        ValueError: if one is given without the other, they are not as many as channels, or a number is out of range.
    """
    _check_pair(function, mean, std)
    unit = 1 / 255 if images.dtype == torch.uint8 else 1.0
    channels = images.shape[1]
    if mean is None or std is None:
        if unit == 1.0:
            return [], [], images
        factors, summands = [unit] * channels, [0.0] * channels
    else:
        means, deviations = (_numbers(function, n, v, channels) for n, v in (("mean", mean), ("std", std)))
        deviations = [positive(function, "std", value) for value in deviations]
        factors = [unit / value for value in deviations]
        summands = [-m / value for m, value in zip(means, deviations, strict=True)]
    if channels <= _SCALED_CHANNELS:
        return factors, summands, images
    wide = images.double() if torch.float64 in (images.dtype, dtype) else images.float()
    factor, summand = (torch.tensor(v, dtype=wide.dtype, device=wide.device) for v in (factors, summands))
    return [], [], torch.addcmul(summand.view(1, -1, 1, 1, 1), wide, factor.view(1, -1, 1, 1, 1))


def _check_pair(function: str, mean: object, std: object) -> None:
    if (mean is None) != (std is None):
        missing, other = ("mean", "std") if mean is None else ("std", "mean")
        raise ValueError(f"{function}: {missing} must be given with {other}, got None")


def _numbers(function: str, name: str, value: float | Sequence[float], channels: int) -> list[float]:
    if not isinstance(value, (tuple, list)):
        return [_check.real(function, name, cast(float, value))] * channels
    if len(value) != channels:
        raise ValueError(f"{function}: {name} must have {channels} numbers, one per channel, got {len(value)}")
    return [_check.real(function, name, number) for number in value]
