"""Random erasing by definition (Zhong et al., 2020; torchvision's ten tries), and its noise in float32."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast.reference.philox import philox

ERASE, ERASE_NOISE = 42, 43
TRIES = 10


def sample_erase(
    rows: int,
    image_size: tuple[int, int],
    *,
    p: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.augment.sample_erase`` with an int seed."""
    height, width = image_size
    numbers = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    out = torch.zeros(rows, 6)
    for r in range(rows):
        words = philox(seed, ERASE, numbers[r : r + 1], torch.arange(TRIES + 1)).tolist()
        choice = words[TRIES]
        out[r, 4:] = torch.tensor([choice[1] >> 8, choice[2] >> 8])
        if choice[0] >= int(p * 2**32 + 0.5):
            continue
        for word in words[:TRIES]:
            area = height * width * (scale[0] + (scale[1] - scale[0]) * (word[0] / 2**32))
            aspect = math.exp(log_low + (log_high - log_low) * (word[1] / 2**32))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, left = word[2] * (height - h + 1) >> 32, word[3] * (width - w + 1) >> 32
                out[r, :4] = torch.tensor([top, left, h, w])
                break
    return out


def normal_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Box and Muller's method in float64, from int64 tensors that hold words."""
    log = torch.log(((a >> 8).double() + 0.5) / 2**24).clamp(max=0)
    radius = torch.sqrt(-2 * log)
    angle = (((b >> 6) & 0xFFFFFF).double() - 0x800000 + 0.5) * (math.pi / 2 / 2**24)
    turned = torch.where(b >> 31 == 1, -radius, radius)
    sine, cosine = turned * angle.sin(), turned * angle.cos()
    swapped = (b >> 30) & 1 == 1
    return torch.where(swapped, sine, cosine), torch.where(swapped, cosine, sine)


def noise(key: int, channels: int, height: int, width: int) -> Tensor:
    """(C, H, W): the noise of a whole image, float64."""
    groups = -(-width // 4)
    words = philox(key, ERASE_NOISE, torch.zeros(1, dtype=torch.int64), torch.arange(channels * height * groups))
    first, second = normal_pair(words[:, ::2], words[:, 1::2])
    return torch.stack([first, second], -1).view(channels, height, 4 * groups)[..., :width]


def erase_boxes(images: Tensor, params: Tensor, value: float | tuple[float, ...] | str = 0.0) -> Tensor:
    """``sslfast.augment.erase_boxes``, image by image."""
    out = images.clone()
    for r, (top, left, height, width, high, low) in enumerate(params.long().tolist()):
        window = (slice(None), slice(top, top + height), slice(left, left + width))
        if value == "random":
            out[r][window] = noise(high << 24 | low, *images.shape[1:])[window].to(images.dtype)
        else:
            values = torch.tensor(value, dtype=torch.float64).to(images.dtype)
            out[r][window] = values.view(-1, 1, 1)
    return out
