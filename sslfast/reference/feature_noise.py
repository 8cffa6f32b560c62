"""Noise of features by definition: Box and Muller's pairs, in the float32 arithmetic that every device repeats."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

FEATURE_NOISE, NOISE_SELECT = 113, 114

LOGARITHM = (
    1.0, -0.49999988, 0.33333325, -0.25001586, 0.20001969, -0.16609013, 0.14181836, -0.13243462, 0.1290466, -0.076211125
)  # fmt: skip
SINE = (1.5707964, -0.64596343, 0.079680026, -0.0046016257)
COSINE = (1.0, -1.2337005, 0.25366917, -0.020859933, 0.00090335653)


def polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * x + torch.tensor(c, dtype=torch.float32)
    return value


def uniform(words: Tensor) -> Tensor:
    """(-1, 1) from int64 words in [0, 2^32)."""
    return ((words - 2**31).to(torch.float32) + 0.5) * 2.0**-31


def logarithm(y: Tensor) -> Tensor:
    bits = y.view(torch.int32)
    k = (bits - 0x3F3504F3) >> 23
    f = (bits - (k << 23)).view(torch.float32) - 1.0
    return k.to(torch.float32) * torch.tensor(0.69314718, dtype=torch.float32) + f * polynomial(LOGARITHM, f)


def normal(words: Tensor) -> Tensor:
    """Standard normal numbers from int64 words in [0, 2^32), two from the two words of each pair in the last axis."""
    radius, angle = words[..., 0::2], words[..., 1::2]
    u = (radius.to(torch.float32) + 0.5) * 2.0**-32
    r = (logarithm(u) * -2.0).double().sqrt().float()  # rounded right, as torch's float32 root is not everywhere
    turned = angle + 2**29 & 2**32 - 1
    quarter = turned >> 30
    x = ((turned & 2**30 - 1) - 2**29).to(torch.float32).add(0.5) * 2.0**-30
    sine, cosine = x * polynomial(SINE, x * x), polynomial(COSINE, x * x)
    swap = (quarter & 1).bool()
    first = torch.where(swap, sine, cosine) * (1.0 - (quarter + 1 & 2))
    second = torch.where(swap, cosine, sine) * (1.0 - (quarter & 2))
    return torch.stack([r * first, r * second], dim=-1).flatten(-2)


def add_feature_noise(
    x: Tensor,
    scale: float | Tensor = 0.1,
    *,
    std: Tensor | None = None,
    noise: str = "gaussian",
    probability: float = 1.0,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.augment.add_feature_noise`` with an int seed."""
    rows, features = x.shape
    words, choice = (
        philox_rows(seed, stream, rows, -(-features // 4), row_offset, sample_ids).flatten(1)
        for stream in (FEATURE_NOISE, NOISE_SELECT)
    )
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    width = (scale if isinstance(scale, Tensor) else torch.tensor(scale, dtype=torch.float64)).to(wide)
    if std is not None:
        width = width * std.to(wide)
    value = (normal if noise == "gaussian" else uniform)(words)[:, :features].to(wide)
    return torch.where(
        choice[:, :features] < int(probability * 2**32 + 0.5), (x.to(wide) + width * value).to(x.dtype), x
    )
