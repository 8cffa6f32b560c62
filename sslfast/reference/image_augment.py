"""SimCLR-style augmentation by definition: the parameters of every view, and the view that they describe."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from sslfast.reference.philox import WORD, philox

IMAGE_AUGMENT = 4
DRAW_BLOCKS, CROP_TRIES = 64, 10
GRAY = (0.2989, 0.587, 0.114)


def exponential(x: Tensor) -> Tensor:
    """exp by + - * / alone, so that every backend gets the same bits: x = k ln 2 + r, Taylor series of exp(r)."""
    k = (x * 1.4426950408889634).round()
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    series = torch.ones_like(r)
    for n in range(13, 0, -1):
        series = 1.0 + series * r / n
    return series * ((k.long() + 1023) << 52).view(torch.float64)


def uniform(word: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * (word.double() * 2.0**-32)


def below(word: Tensor, n: Tensor | int) -> Tensor:
    """Uniform integer in [0, n)."""
    return (word * n) >> 32


def crop_boxes(
    words: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """``RandomResizedCrop.make_params`` from words (..., tries, 4): (..., 4) with top, left, height, width."""
    area = float(height) * float(width) * uniform(words[..., 0], *scale)
    aspect = exponential(uniform(words[..., 1], math.log(ratio[0]), math.log(ratio[1])))
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    w, h = w.long().clamp(1, width), h.long().clamp(1, height)
    tries = torch.stack([below(words[..., 2], height - h + 1), below(words[..., 3], width - w + 1), h, w], -1)
    fallback_h, fallback_w = height, width
    if width / height < ratio[0]:
        fallback_h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        fallback_w = max(1, round(height * ratio[1]))
    fallback = torch.tensor([(height - fallback_h) // 2, (width - fallback_w) // 2, fallback_h, fallback_w])
    first = fits.to(torch.uint8).argmax(-1)  # the first True
    chosen = tries.gather(-2, first[..., None, None].expand(*first.shape, 1, 4)).squeeze(-2)
    return torch.where(fits.any(-1, keepdim=True), chosen, fallback)


def sample_params(
    rows: int,
    size: tuple[int, int],
    *,
    views: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    hflip_prob: float,
    jitter_prob: float,
    jitter: tuple[tuple[float, float], ...],
    gray_prob: float,
    seed: int,
    row_offset: int = 0,
) -> Tensor:
    """``sslfast.augment.sample_params`` with an int seed; ``jitter`` holds the four (low, high) of the factors."""
    row = (torch.arange(rows) + row_offset)[:, None, None]
    element = (torch.arange(views) * DRAW_BLOCKS)[:, None] + torch.arange(CROP_TRIES + 2)
    words = philox(seed, IMAGE_AUGMENT, row, (element & WORD)[None])
    box = crop_boxes(words[:, :, :CROP_TRIES], *size, scale, ratio)
    flip, apply, order, gray = words[:, :, CROP_TRIES].unbind(-1)
    factors = [uniform(words[:, :, CROP_TRIES + 1, k], *jitter[k]) for k in range(4)]

    def happens(word: Tensor, p: float) -> Tensor:
        return word < int(p * 2**32 + 0.5)

    columns = [happens(flip, hflip_prob), happens(apply, jitter_prob), below(order, 24), *factors]
    columns = [*box.unbind(-1), *columns, happens(gray, gray_prob)]
    return torch.stack([column.float() for column in columns], -1)


def resize_matrix(source: int, target: int, dtype: torch.dtype) -> Tensor:
    """(target, source) weights of bilinear resizing with antialiasing (PIL, torchvision): each output averages the
    source pixels by a triangle that is centred on it and at least one source pixel wide on either side."""
    step = source / target
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * step
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centre[:, None]).abs() / max(step, 1.0)
    weight = (1 - distance).clamp(min=0)
    return (weight / weight.sum(1, keepdim=True)).to(dtype)


def gray(x: Tensor) -> Tensor:
    """(3, H, W) to (1, H, W); one channel is its own gray image."""
    return x if x.shape[0] == 1 else sum(w * c for w, c in zip(GRAY, x.split(1), strict=True))


def brightness(x: Tensor, factor: float) -> Tensor:
    return (x * factor).clamp(0, 1)


def contrast(x: Tensor, factor: float) -> Tensor:
    return (factor * x + (1 - factor) * gray(x).mean()).clamp(0, 1)


def saturation(x: Tensor, factor: float) -> Tensor:
    return x if x.shape[0] == 1 else (factor * x + (1 - factor) * gray(x)).clamp(0, 1)


def hue(x: Tensor, shift: float) -> Tensor:
    """RGB to HSV, hue turned by ``shift`` of a full turn, back to RGB."""
    if x.shape[0] == 1:
        return x
    r, g, b = x
    high, low = x.amax(0), x.amin(0)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sextant = torch.where(high == r, (g - b) / safe, torch.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sextant = (sextant + 6 * shift) % 6
    # A channel's height above the minimum is a trapezoid in the hue, 2 sextants wide at the top.
    red = (sextant - 3).abs() - 1
    green, blue = 2 - (sextant - 2).abs(), 2 - (sextant - 4).abs()
    return low + chroma * torch.stack([red, green, blue]).clamp(0, 1)


JITTER = (brightness, contrast, saturation, hue)


def view(image: Tensor, params: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """One uint8 image (C, H, W) to its view (C, *size) in [0, 1], before normalisation."""
    top, left, height, width, flip, jitter, order, *factors, to_gray = params.tolist()
    top, left, height, width = int(top), int(left), int(height), int(width)
    x = image[:, top : top + height, left : left + width].to(dtype) / 255
    x = resize_matrix(height, size[0], dtype) @ x @ resize_matrix(width, size[1], dtype).T
    if flip:
        x = x.flip(-1)
    if jitter:
        for k in list(itertools.permutations(range(4)))[int(order)]:
            x = JITTER[k](x, factors[k])
    return gray(x).expand_as(x) if to_gray else x


def apply_params(
    images: Tensor,
    params: Tensor,
    size: tuple[int, int],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """``sslfast.augment.apply_params`` in ``dtype``."""
    rows, channels = images.shape[:2]
    shape = (rows, channels, *size)
    centre, spread = (torch.tensor(v, dtype=dtype)[:, None, None] for v in (mean, std))
    return [
        torch.stack([(view(images[n], params[n, v], size, dtype) - centre) / spread for n in range(rows)])
        if rows
        else torch.empty(shape, dtype=dtype)
        for v in range(params.shape[1])
    ]
