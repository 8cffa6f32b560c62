"""The gradient of audio augmentation, in plain PyTorch: differentiable again, and no part of the usual way."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._audio_rules import AUDIO_PARAMS

_FAR = 2**40


def waves_gradient(
    grad: Tensor,
    waves: Tensor,
    params: Tensor,
    lengths: Tensor | None,
    bank: Tensor | None,
    rollover: bool,
    powers: bool,
) -> Tensor:
    """What ``grad`` of the output is of ``waves``: back to where each sample came from, and through P(x) and P(other).

    With out = ... + a other[...] and a = sqrt(P(x) / P(other)) 10^(-snr / 20), da/dx = a x / sum(x^2) and
    da/d other = -a other / sum(other^2); so of noise.

    Args:
        grad: (N, C, T).
        waves: (N, C, T); the other arguments as of the operator.

    Returns:
        (N, C, T) in the dtype of ``waves``.
    """
    rows, channels, length = waves.shape
    if waves.numel() == 0:
        return torch.zeros_like(waves)
    wide = torch.float64 if waves.dtype == torch.float64 else torch.float32
    column = dict(zip(AUDIO_PARAMS, params.unbind(1), strict=True))

    def whole(name: str, low: int, high: int) -> Tensor:
        return column[name].nan_to_num(nan=low).clamp(low, high).long()

    def amplitude(decibels: Tensor) -> Tensor:
        return torch.pow(10.0, decibels / 20).to(wide)

    t = torch.arange(length, device=waves.device)
    n = torch.full((rows,), length, device=waves.device) if lengths is None else lengths.clamp(0, length)
    inside = (t < n[:, None])[:, None]
    x = torch.where(inside, waves.to(wide), 0)
    gain = column["polarity"].to(wide) * amplitude(column["gain_db"])
    g = torch.where(inside, grad.to(wide) * gain[:, None, None], 0)

    def taken(at: Tensor, there: Tensor) -> Tensor:
        """``g`` at (N, T) places, zero where there is none."""
        index = at.clamp(0, length - 1)[:, None].expand(-1, channels, -1)
        return torch.where(there[:, None], g.gather(2, index), 0)

    mixed = (column["mix_row"] > -1) & (column["mix_row"] < rows)
    ratio = torch.where(mixed, column["mix_ratio"], 1).to(wide)
    if rollover:
        at = (t + whole("shift", -_FAR, _FAR)[:, None]) % n.clamp(min=1)[:, None]
    else:
        at = t + whole("shift", -length, length)[:, None]
    d_x = ratio[:, None, None] * taken(at, inside[:, 0] & (at >= 0) & (at < n[:, None]))

    other = torch.where(mixed, whole("mix_row", -1, rows), 0)
    put, start = whole("mix_at", -_FAR, _FAR), whole("mix_start", -_FAR, _FAR)
    lead = start - put
    first = torch.maximum(put.clamp(min=0), -lead) + lead
    end = torch.minimum(torch.minimum(put + whole("mix_length", 0, _FAR), n) + lead, n[other])
    there = mixed[:, None] & (t >= first[:, None]) & (t < end[:, None])
    pulled = taken(t - lead[:, None], there)

    squares = x.square().sum(-1)
    power = squares / n.clamp(min=1)[:, None]
    inverse = torch.where(squares == 0, 0, 1 / torch.where(squares == 0, 1, squares))
    own = torch.zeros_like(squares)  # what x is multiplied by, because its power counts
    mix_factor = (1 - ratio)[:, None].expand(-1, channels)
    if powers:
        adds = mixed & (column["mix_snr_db"] != torch.inf)
        a = adds[:, None] * _root(power, power[other]) * amplitude(-column["mix_snr_db"])[:, None]
        through = a * (pulled * x[other]).sum(-1)
        own = own + through * inverse - torch.zeros_like(own).index_add(0, other, through * inverse[other])
        mix_factor = mix_factor + a
        noise = ops.audio_noise(params, channels, length).to(wide)
        of_noise = torch.ones_like(power)
        if bank is not None:
            row = whole("noise_row", -1, bank.shape[0])
            banked = ((row >= 0) & (row < bank.shape[0]))[:, None]
            places = (t + whole("noise_start", 0, _FAR)[:, None]) % bank.shape[1]
            piece = bank[torch.where(banked, row[:, None], 0), places].to(wide)
            noise = torch.where(banked[..., None], piece[:, None], noise)
            piece_power = torch.where(inside[:, 0], piece, 0).square().sum(-1) / n.clamp(min=1)
            of_noise = torch.where(banked, piece_power[:, None], of_noise)
        b = _root(power, of_noise) * amplitude(-column["noise_snr_db"])[:, None]
        own = own + b * (g * noise).sum(-1) * inverse
    d_x = d_x.index_add(0, other, pulled * mix_factor[..., None]) + own[..., None] * x
    return d_x.to(waves.dtype)


def _root(own: Tensor, theirs: Tensor) -> Tensor:
    """sqrt(own / theirs), zero where one of the two is, with a derivative that is finite there."""
    silent = (own == 0) | (theirs == 0)
    return torch.where(silent, 0, torch.where(silent, 1, own / torch.where(theirs == 0, 1, theirs)).sqrt())
