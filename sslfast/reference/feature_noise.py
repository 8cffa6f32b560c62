"""Noise of features by definition: quantiles of uniform words, in the float32 arithmetic that every device repeats."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

FEATURE_NOISE, NOISE_SELECT = 113, 114

LOGARITHM = (
    1.0, -0.49999988, 0.33333325, -0.25001586, 0.20001969, -0.16609013, 0.14181836, -0.13243462, 0.1290466, -0.076211125
)  # fmt: skip
MIDDLE = (
    2.1233137, 0.34880266, -0.0059081712, -0.00177301, 0.0003091502, -6.217993e-06, -4.9905652e-06, 4.8610394e-07,
    4.0354635e-08,
)  # fmt: skip
TAILS = (
    4.7170887, 1.4246379, 0.004646412, -0.0029507144, 0.0014796169, -0.00086607062, 0.00073408132, -0.00043224543,
    1.9220126e-05, 5.3393374e-05,
)  # fmt: skip


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
    """The standard normal quantile of (word + 1/2) / 2^32."""
    t = (torch.minimum(words, 2**32 - 1 - words).to(torch.float32) + 0.5) * 2.0**-32
    w = -logarithm((t * 4.0) * (1.0 - t))
    root = w.clamp(min=0).double().sqrt().float()  # rounded right, as torch's float32 root is not everywhere
    middle, tails = polynomial(MIDDLE, w - 2.5), polynomial(TAILS, root - 3.5)
    return uniform(words) * torch.where(w < 5.0, middle, tails)


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
        philox_rows(seed, stream, rows, -(-features // 4), row_offset, sample_ids).flatten(1)[:, :features]
        for stream in (FEATURE_NOISE, NOISE_SELECT)
    )
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    width = (scale if isinstance(scale, Tensor) else torch.tensor(scale, dtype=torch.float64)).to(wide)
    if std is not None:
        width = width * std.to(wide)
    value = (normal if noise == "gaussian" else uniform)(words).to(wide)
    return torch.where(choice < int(probability * 2**32 + 0.5), (x.to(wide) + width * value).to(x.dtype), x)
