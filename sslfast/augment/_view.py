"""The view that nearly every recipe is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from sslfast import _check
from sslfast._image_steps import IMAGENET_MEAN, IMAGENET_STD
from sslfast.augment._arguments import Size
from sslfast.augment._transform import Transform
from sslfast.augment.colour import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from sslfast.augment.compose import Compose
from sslfast.augment.geometry import RandomHorizontalFlip, RandomResizedCrop
from sslfast.augment.output import Normalize, ToDtype

Range = tuple[float, float]
Jitter = tuple[float, float, float, float]

RATIO: Range = (3 / 4, 4 / 3)
SIGMA: Range = (0.1, 2.0)


@contextmanager
def errors_of(name: str, before: str = "") -> Iterator[None]:
    """Errors of a recipe's steps as the recipe's own: under ``name``, with ``before`` in front of the argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        step, _, text = str(error).partition(": ")
        raise type(error)(f"{name}: {before}{text or step}") from None


def make_view(
    name: str,
    size: Size,
    scale: Range,
    *,
    ratio: Range = RATIO,
    interpolation: str = "bilinear",
    hflip_prob: float = 0.5,
    jitter: Jitter = (0.0, 0.0, 0.0, 0.0),
    jitter_prob: float = 0.8,
    gray_prob: float = 0.2,
    gray_first: bool = False,
    blur_prob: float = 0.0,
    sigma: Range = SIGMA,
    kernel_size: int | None = None,
    solarize_prob: float = 0.0,
    solarize_threshold: float = 0.5,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dtype: torch.dtype = torch.float32,
    kind: str = "",
) -> Compose:
    """Random resized crop, flip, jitter, gray, blur, solarize, normalise: in this order; what never happens is absent.

    ``name`` is the recipe's, for errors, and ``kind`` what it has before ``size`` and ``scale``. ``gray_first`` has
    gray before the jitter. Without ``kernel_size`` the blur's kernel is the odd number at or below a tenth of the
    view's side plus one: 23 of 224, as in the papers.
    """
    if not isinstance(jitter, (tuple, list)) or len(jitter) != 4:
        raise ValueError(f"{name}: jitter must hold brightness, contrast, saturation and hue, got {jitter}")
    hflip_prob = _check.probability(name, "hflip_prob", hflip_prob)
    jitter_prob = _check.probability(name, "jitter_prob", jitter_prob)
    gray_prob = _check.probability(name, "gray_prob", gray_prob)
    blur_prob = _check.probability(name, "blur_prob", blur_prob)
    solarize_prob = _check.probability(name, "solarize_prob", solarize_prob)
    with errors_of(name, kind):
        RandomResizedCrop(size, scale)  # for its checks alone
    with errors_of(name):
        crop = RandomResizedCrop(size, scale, ratio, interpolation)
        steps: list[Transform] = [crop]
        if hflip_prob:
            steps.append(RandomHorizontalFlip(hflip_prob))
        gray = [RandomGrayscale(gray_prob)] if gray_prob else []
        if _check.boolean(name, "gray_first", gray_first):
            steps += gray
        with errors_of(name, "jitter's "):  # what never happens is checked, too
            colours = ColorJitter(*jitter, p=jitter_prob)
        steps += [colours] if any(jitter) and jitter_prob else []
        if not gray_first:
            steps += gray
        kernel = max(3, int(0.1 * crop.size[0]) // 2 * 2 + 1) if kernel_size is None else kernel_size
        blur = GaussianBlur(kernel, sigma, p=blur_prob)
        with errors_of(name, "solarize_"):
            solarize = RandomSolarize(solarize_threshold, p=solarize_prob)
        steps += [blur] if blur_prob else []
        steps += [solarize] if solarize_prob else []
        mean, std = IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std
        return Compose([*steps, Normalize(mean, std), ToDtype(dtype)])
