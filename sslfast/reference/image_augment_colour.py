"""The colours of augmented views by definition: operations on images (C, H, W) in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

GRAY = (0.2989, 0.587, 0.114)
FLAT = 2.0**-16  # a smaller range of values is rounding: of one colour, resampled in float32
SLACK = 2.0**-18  # below a threshold by no more is rounding, too


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


def solarize(x: Tensor, threshold: float) -> Tensor:
    return torch.where(x >= threshold - SLACK, 1 - x, x)


def posterize(x: Tensor, bits: float) -> Tensor:
    levels = 2 ** int(bits)
    return (x * levels).floor().clamp(0, levels - 1) / levels


def autocontrast(x: Tensor) -> Tensor:
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    wide = high - low >= FLAT
    spread = torch.where(wide, high - low, torch.ones_like(low))
    return torch.where(wide, (x - low) / spread, x).clamp(0, 1)


def equalize(x: Tensor) -> Tensor:
    """Pillow's, on 256 values a channel."""
    channels = []
    for channel in (x * (256 - 1e-3)).long().clamp(0, 255):
        count = torch.bincount(channel.flatten(), minlength=256)
        step = (count.sum() - count[count.nonzero().max()]) // 255
        table = (torch.arange(256) if step == 0 else (count.cumsum(0) - count + step // 2) // step).clamp(0, 255)
        channels.append(table[channel])
    return torch.stack(channels).to(x.dtype) / 255
