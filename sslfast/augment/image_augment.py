"""Random resized crop, flip, colour jitter and grayscale of a batch: parameters drawn apart from being applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.random import Generator, seed_tensor

__all__ = ["PARAMS", "Factor", "apply_params", "sample_params"]

Factor: TypeAlias = "float | tuple[float, float]"

# Columns of a parameter tensor. Crop box in source pixels; flip, jitter and gray 0 or 1; order the index into
# itertools.permutations(("brightness", "contrast", "saturation", "hue")); then their factors.
PARAMS = (
    "top",
    "left",
    "height",
    "width",
    "flip",
    "jitter",
    "order",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "gray",
)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SIDE = 2**24  # the largest integer up to which float32 counts exactly


def sample_params(
    rows: int,
    image_size: tuple[int, int],
    *,
    views: int = 1,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    hflip_prob: float = 0.5,
    jitter_prob: float = 0.8,
    brightness: Factor = 0.8,
    contrast: Factor = 0.8,
    saturation: Factor = 0.8,
    hue: Factor = 0.2,
    gray_prob: float = 0.2,
    generator: Generator = None,
    row_offset: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draws what ``apply_params`` does to each view: the distributions of torchvision's transforms, per sample.

    Crop boxes follow ``RandomResizedCrop`` (ten tries, then a central crop), factors ``ColorJitter`` (a random order
    of the four operations for every view), and ``hflip_prob``, ``jitter_prob`` and ``gray_prob`` are independent
    draws. A draw depends on (seed, global row, view) alone, so the CPU and the GPU give equal bits and a shard of a
    batch equals its part of the whole.

    Args:
        rows: number of images N, at least 0.
        image_size: (height, width) of the source images, in pixels.
        views: views per image V, at least 1. Default: 1.
        scale: (low, high) of the crop's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        ratio: (low, high) of the crop's width / height. Default: (3/4, 4/3).
        hflip_prob: probability of a horizontal flip. Default: 0.5.
        jitter_prob: probability that colours are jittered at all. Default: 0.8.
        brightness: v for factors in [max(0, 1 - v), 1 + v], or their (low, high), not negative. Default: 0.8.
        contrast: like ``brightness``. Default: 0.8.
        saturation: like ``brightness``. Default: 0.8.
        hue: v for shifts in [-v, v], or their (low, high), in [-0.5, 0.5] turns of the colour wheel. Default: 0.2.
        gray_prob: probability of grayscale. Default: 0.2.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        device: where the result is made. Default: torch's default device.

    Returns:
        float32 tensor of shape (N, V, 12) whose columns are named by ``PARAMS``. The factors are drawn for every
        view; they count where ``jitter`` is 1.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, a (low, high) is the wrong way round, or the generator is on another GPU.

    Reference: torchvision.transforms.v2 ``RandomResizedCrop``, ``ColorJitter``; Chen et al., "A Simple Framework for
    Contrastive Learning of Visual Representations", ICML 2020, appendix A.
    """
    name = "sample_params"
    rules = check_rules(
        name,
        scale=scale,
        ratio=ratio,
        hflip_prob=hflip_prob,
        jitter_prob=jitter_prob,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        gray_prob=gray_prob,
    )
    rows = _check.integer(name, "rows", rows, 0)
    views = _check.integer(name, "views", views, 1, 2**26)
    height, width = check_size(name, "image_size", image_size)
    row_offset = _check.integer(name, "row_offset", row_offset, 0)
    like = torch.empty((), device=device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return ops.image_augment_params(like, seed, rows, views, height, width, *rules, row_offset)


def apply_params(
    images: Tensor,
    params: Tensor,
    size: int | tuple[int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Makes the views that ``params`` describes: crop, resize, flip, jitter, gray and normalise, in one pass.

    A view equals this chain of torchvision's float functionals, computed in float32 without storing a step of it:
    ``to_dtype(scale=True)``, ``resized_crop(bilinear, antialias=True)``, ``horizontal_flip``, the four ``adjust_*``
    in the view's order, ``rgb_to_grayscale``, ``normalize``. Hue goes through HSV, contrast around the mean of the
    view's own gray image, and every step is clamped to [0, 1]. On one channel saturation, hue and gray do nothing.

    Args:
        images: uint8, shape (N, C, H, W), C 1 or 3, any strides.
        params: float32, shape (N, V, 12), on the device of ``images``: from ``sample_params``, or by hand with the
            columns of ``PARAMS``. Not read on the host: boxes are clipped to the image, ``order`` to [0, 23] and
            ``hue`` to [-0.5, 0.5].
        size: side, or (height, width), of the views, in pixels.
        mean: one number per channel, for pixels in [0, 1]. Default: None, ImageNet's for 3 channels, 0.5 for one.
        std: one positive number per channel. Default: None, ImageNet's for 3 channels, 0.5 for one.
        dtype: torch.float32 or torch.bfloat16 (float32, rounded at the end). Default: torch.float32.

    Returns:
        A list of V contiguous tensors of shape (N, C, *size).

    Raises:
        TypeError: ``images`` is not a uint8 tensor, ``params`` not a float32 tensor, ``dtype`` neither of the two, or
            a number has the wrong type.
        ValueError: a shape, a device or a number is out of range, or ``mean`` or ``std`` has not one number per
            channel.

    Reference: torchvision.transforms.v2.functional.
    """
    name = "apply_params"
    check_images(name, images)
    if not isinstance(params, Tensor):
        raise TypeError(f"{name}: params must be a tensor, got {type(params).__name__}")
    if params.dtype != torch.float32:
        raise TypeError(f"{name}: params must be float32, got {params.dtype}")
    if params.dim() != 3 or params.shape[0] != images.shape[0] or params.shape[1] < 1 or params.shape[2] != len(PARAMS):
        expected = f"must have shape ({images.shape[0]}, V, {len(PARAMS)})"
        raise ValueError(f"{name}: params {expected}, got {tuple(params.shape)}")
    if params.device != images.device:
        raise ValueError(f"{name}: params must be on {images.device}, like images, got {params.device}")
    height, width = check_size(name, "size", size)
    mean, std = check_normalisation(name, mean, std, images.shape[1])
    check_dtype(name, dtype)
    return list(ops.image_augment(images, params.contiguous(), height, width, mean, std, dtype).unbind(0))


def check_images(name: str, images: Tensor) -> None:
    """Raises TypeError or ValueError unless ``images`` is uint8 (N, 1 or 3, H, W) with H, W >= 1."""
    if not isinstance(images, Tensor):
        raise TypeError(f"{name}: images must be a tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8:
        raise TypeError(f"{name}: images must be uint8, got {images.dtype}")
    if images.dim() != 4:
        raise ValueError(f"{name}: images must have shape (N, C, H, W), got {tuple(images.shape)}")
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{name}: images must have 1 or 3 channels, got shape {tuple(images.shape)}")
    if not (1 <= images.shape[2] <= _SIDE and 1 <= images.shape[3] <= _SIDE):
        raise ValueError(f"{name}: images must have height and width in [1, {_SIDE}], got shape {tuple(images.shape)}")


def check_size(name: str, argument: str, size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) from a side or a pair."""
    if isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"{name}: {argument} must be an int or (height, width), got {size}")
        height, width = size
    else:
        height = width = size
    return _check.integer(name, argument, height, 1, _SIDE), _check.integer(name, argument, width, 1, _SIDE)


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """Raises TypeError unless ``dtype`` is float32 or bfloat16."""
    if dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"{name}: dtype must be torch.float32 or torch.bfloat16, got {dtype}")


def check_normalisation(
    name: str, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[list[float], list[float]]:
    """Returns ``mean`` and ``std`` as lists of one float per channel, with the defaults of ``apply_params``."""
    default_mean, default_std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    found = []
    for argument, values in (
        ("mean", default_mean if mean is None else mean),
        ("std", default_std if std is None else std),
    ):
        numbers = _floats(name, argument, values)
        if len(numbers) != channels:
            raise ValueError(f"{name}: {argument} must have one number per channel ({channels}), got {len(numbers)}")
        found.append(numbers)
    if min(found[1]) <= 0:
        raise ValueError(f"{name}: std must be positive, got {std}")
    return found[0], found[1]


def check_rules(
    name: str,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    hflip_prob: float,
    jitter_prob: float,
    brightness: Factor,
    contrast: Factor,
    saturation: Factor,
    hue: Factor,
    gray_prob: float,
) -> tuple[list[float], list[float], float, float, list[float], float]:
    """The distributions of ``sample_params`` in the order and form in which the operator takes them."""
    scale_range, ratio_range = _pair(name, "scale", scale), _pair(name, "ratio", ratio)
    if not 0 < scale_range[0] <= scale_range[1] <= 1:
        raise ValueError(f"{name}: scale must be (low, high) with 0 < low <= high <= 1, got {scale}")
    if not 0 < ratio_range[0] <= ratio_range[1]:
        raise ValueError(f"{name}: ratio must be (low, high) with 0 < low <= high, got {ratio}")
    jitter: list[float] = []
    for argument, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        jitter += _factor(name, argument, value, centre=1.0, low=0.0, high=float("inf"))
    jitter += _factor(name, "hue", hue, centre=0.0, low=-0.5, high=0.5)
    return (
        scale_range,
        ratio_range,
        _check.probability(name, "hflip_prob", hflip_prob),
        _check.probability(name, "jitter_prob", jitter_prob),
        jitter,
        _check.probability(name, "gray_prob", gray_prob),
    )


def _factor(name: str, argument: str, value: Factor, *, centre: float, low: float, high: float) -> list[float]:
    if isinstance(value, (tuple, list)):
        pair = _pair(name, argument, value)
        if not low <= pair[0] <= pair[1] <= high:
            bound = "not negative" if centre else "in [-0.5, 0.5]"
            raise ValueError(f"{name}: {argument} must be (low, high), ascending and {bound}, got {value}")
        return pair
    number = _check.real(name, argument, value)
    if number < 0 or centre + number > high:
        bound = "at least 0" if centre else "in [0, 0.5]"
        raise ValueError(f"{name}: {argument} must be {bound}, got {value}")
    return [max(low, centre - number), centre + number]


def _pair(name: str, argument: str, value: Sequence[float]) -> list[float]:
    numbers = _floats(name, argument, value)
    if len(numbers) != 2:
        raise ValueError(f"{name}: {argument} must be (low, high), got {value}")
    return numbers


def _floats(name: str, argument: str, values: Sequence[float]) -> list[float]:
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"{name}: {argument} must be a tuple of numbers, got {type(values).__name__}")
    return [_check.real(name, argument, value) for value in values]
