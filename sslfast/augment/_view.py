"""The view that nearly every recipe is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sslfast._image_plan import IMAGENET_MEAN, IMAGENET_STD
from sslfast.augment._arguments import Size
from sslfast.augment._transform import Transform
from sslfast.augment.colour import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from sslfast.augment.compose import Compose
from sslfast.augment.geometry import RandomHorizontalFlip, RandomResizedCrop
from sslfast.augment.output import Normalize, ToDtype

Jitter = tuple[float, float, float, float]


def make_view(
    name: str,
    size: Size,
    scale: tuple[float, float],
    *,
    interpolation: str = "bilinear",
    hflip_prob: float = 0.5,
    jitter: Jitter = (0.0, 0.0, 0.0, 0.0),
    jitter_prob: float = 0.8,
    gray_prob: float = 0.2,
    blur_prob: float = 0.0,
    sigma: tuple[float, float] = (0.1, 2.0),
    solarize_prob: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Compose:
    """Random resized crop, flip, jitter, gray, blur, solarize, normalise: in this order; what never happens is absent.

    ``name`` is the recipe's, for errors. The blur's kernel is the odd number at or below a tenth of the view's side
    plus one: 23 of 224, as in the papers.
    """
    if not isinstance(jitter, (tuple, list)) or len(jitter) != 4:
        raise ValueError(f"{name}: jitter must hold brightness, contrast, saturation and hue, got {jitter}")
    crop = RandomResizedCrop(size, scale, interpolation=interpolation)
    steps: list[Transform] = [crop]
    if hflip_prob:
        steps.append(RandomHorizontalFlip(hflip_prob))
    if any(jitter) and jitter_prob:
        steps.append(ColorJitter(*jitter, p=jitter_prob))
    if gray_prob:
        steps.append(RandomGrayscale(gray_prob))
    if blur_prob:
        steps.append(GaussianBlur(max(3, int(0.1 * crop.size[0]) // 2 * 2 + 1), sigma, p=blur_prob))
    if solarize_prob:
        steps.append(RandomSolarize(0.5, p=solarize_prob))
    mean, std = IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std
    return Compose([*steps, Normalize(mean, std), ToDtype(dtype)])
