"""Audio augmentation by definition, waveform by waveform; gradients are autograd's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sslfast.reference.philox import WORD, philox

AUDIO_AUGMENT, AUDIO_NOISE = 115, 116

COLUMNS = (
    "shift",
    "gain_db",
    "polarity",
    "noise_snr_db",
    "noise_row",
    "noise_start",
    "noise_key",
    "mix_row",
    "mix_snr_db",
    "mix_ratio",
    "mix_start",
    "mix_at",
    "mix_length",
)

Between = tuple[float, float] | None


def _samples(lengths: Tensor | None, r: int, length: int) -> int:
    return length if lengths is None else min(max(int(lengths[r]), 0), length)


def sample_audio_params(
    rows: int,
    length: int,
    *,
    shift: Between = None,
    shift_unit: str = "fraction",
    shift_p: float = 0.5,
    gain_db: Between = None,
    gain_p: float = 0.5,
    polarity_p: float = 0.0,
    noise_snr_db: Between = None,
    noise_p: float = 0.5,
    noise_bank_shape: tuple[int, int] | None = None,
    mix_snr_db: Between = None,
    mix_ratio: Between = None,
    mix_length: tuple[float, float] = (0.0, 0.5),
    mix_p: float = 0.5,
    lengths: Tensor | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.augment.sample_audio_params`` with an int seed."""
    out = torch.empty(rows, len(COLUMNS), dtype=torch.float64)
    for r in range(rows):
        number = torch.tensor(row_offset + r) if sample_ids is None else sample_ids[r]
        a, b, c, d, key = philox(seed, AUDIO_AUGMENT, number, torch.arange(5)).tolist()
        n = _samples(lengths, r, length)

        def uses(word: int, p: float, what: Between | bool) -> bool:
            return what is not None and word < int(p * 2**32 + 0.5)

        def uniform(word: int, between: Between) -> float:
            assert between is not None
            return between[0] + (between[1] - between[0]) * (word / 2**32)

        def integer(word: int, low: int, high: int) -> int:
            return low + (word * (high - low + 1) >> 32)

        row: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | {"polarity": 1, "noise_snr_db": math.inf, "noise_row": -1}
        row |= {"mix_row": -1, "mix_snr_db": math.inf, "mix_ratio": 1}
        if uses(a[0], shift_p, shift):
            assert shift is not None
            low, high = (round(s * n) if shift_unit == "fraction" else int(s) for s in shift)
            row["shift"] = integer(a[1], low, high)
        if uses(a[2], gain_p, gain_db):
            row["gain_db"] = uniform(a[3], gain_db)
        if uses(b[0], polarity_p, True):
            row["polarity"] = -1
        row["noise_key"] = (key[1] << 32 | key[0]) >> 12
        if uses(b[1], noise_p, noise_snr_db):
            row["noise_snr_db"] = uniform(b[2], noise_snr_db)
            if noise_bank_shape is not None:
                bank_rows, bank_length = noise_bank_shape
                row["noise_row"] = integer(d[1], 0, bank_rows - 1)
                row["noise_start"] = integer(d[2], 0, bank_length - n if bank_length > n else bank_length - 1)
        if rows > 1 and uses(b[3], mix_p, mix_snr_db if mix_snr_db is not None else mix_ratio):
            row["mix_row"] = other = (r + 1 + integer(c[1], 0, rows - 2)) % rows
            others = _samples(lengths, other, length)
            row["mix_length"] = min(n, others)
            if mix_ratio is not None:
                row["mix_ratio"] = uniform(c[0], mix_ratio)
            else:
                row["mix_snr_db"] = uniform(c[0], mix_snr_db)
                shortest = max(round(mix_length[0] * n), 1)
                longest = max(round(mix_length[1] * n), shortest)
                row["mix_length"] = piece = min(integer(c[2], shortest, longest), n, others)
                row["mix_start"] = integer(c[3], 0, others - piece)
                row["mix_at"] = integer(d[0], 0, n - piece)
        out[r] = torch.tensor([float(row[name]) for name in COLUMNS], dtype=torch.float64)
    return out


def white_noise(key: int, channel: int, length: int) -> Tensor:
    """Box and Muller's rule: radius from the first word of a pair, angle from the second, float64."""
    words = philox(key, AUDIO_NOISE, torch.tensor(channel), torch.arange((length + 3) // 4)).view(-1, 2)
    radius = torch.sqrt(-2 * torch.log(((words[:, 0] >> 1).double() + 0.5) / 2**31))
    quadrant, place = words[:, 1] >> 30, (words[:, 1] & WORD >> 2).double() - 2**29
    angle = (quadrant + (place + 0.5) / 2**30) * (math.pi / 2)
    return (radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)).flatten()[:length]


def mean_square(x: Tensor) -> Tensor:
    """Of the last dimension, which stays; 0 of no samples."""
    return x.square().sum(-1, keepdim=True) / max(x.shape[-1], 1)


def apply_audio_params(
    waves: Tensor,
    params: Tensor,
    *,
    lengths: Tensor | None = None,
    noise_bank: Tensor | None = None,
    rollover: bool = True,
) -> Tensor:
    """``sslfast.augment.apply_audio_params`` of (N, C, T), with parameters that lie within the rows, in their dtype."""
    rows, channels, length = waves.shape
    out = []
    for r in range(rows):
        row = dict(zip(COLUMNS, params[r].tolist(), strict=True))
        n = _samples(lengths, r, length)
        x = waves[r, :, :n]
        y = x.roll(int(row["shift"]), -1)
        if not rollover:
            s = int(row["shift"])
            y = torch.cat([x.new_zeros(channels, max(s, 0)), x, x.new_zeros(channels, max(-s, 0))], 1)
            y = y[:, :n] if s > 0 else y[:, -n:] if n else y
        power = mean_square(x)

        def factor(theirs: Tensor, snr_db: float, power: Tensor = power) -> Tensor:
            ratio = power / torch.where(theirs == 0, 1, theirs)
            return torch.where((theirs == 0) | (power == 0), 0, ratio.sqrt()) * 10 ** (-snr_db / 20)

        if row["mix_row"] >= 0:
            o = int(row["mix_row"])
            others = waves[o, :, : _samples(lengths, o, length)]
            start, at, piece = (int(row[name]) for name in ("mix_start", "mix_at", "mix_length"))
            weight = 1 - row["mix_ratio"] + factor(mean_square(others), row["mix_snr_db"])
            added = torch.zeros_like(x)
            added[:, at : at + piece] = others[:, start : start + piece]
            y = row["mix_ratio"] * y + weight * added
        if row["noise_snr_db"] < math.inf:
            if noise_bank is not None and row["noise_row"] >= 0:
                at_bank = (torch.arange(n) + int(row["noise_start"])) % noise_bank.shape[1]
                noise = noise_bank[int(row["noise_row"])][at_bank].expand(channels, -1)
                y = y + factor(mean_square(noise), row["noise_snr_db"]) * noise
            else:
                noise = torch.zeros_like(x)
                for c in range(channels):
                    noise[c] = white_noise(int(row["noise_key"]), c, n)
                y = y + factor(torch.ones_like(power), row["noise_snr_db"]) * noise
        y = y * (row["polarity"] * 10 ** (row["gain_db"] / 20))
        out.append(torch.cat([y, x.new_zeros(channels, length - n)], 1))
    return torch.stack(out) if out else torch.zeros_like(waves)
