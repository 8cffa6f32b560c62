"""SpecAugment by definition (Park et al., 2019, section 2), and as torchaudio draws it."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

SPEC_AUGMENT = 76


def spec_augment(
    spec: Tensor,
    *,
    n_freq_masks: int,
    freq_mask_param: int,
    n_time_masks: int,
    time_mask_param: int,
    p: float = 1.0,
    lengths: Tensor | None = None,
    mask_value: float | str = 0.0,
    iid: bool = True,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.spec_augment`` with an int seed, and a number or ``"mean"`` as value, of (N, C, F, T)."""
    rows, channels, bins, frames = spec.shape
    means = _means(spec, lengths, mode) if isinstance(mask_value, str) else None
    masks = n_freq_masks + n_time_masks
    out = spec.clone()
    for r in range(rows):
        valid = frames if lengths is None else min(max(int(lengths[r]), 0), frames)
        number = torch.tensor(row_offset + r) if sample_ids is None else sample_ids[r]
        for c in range(channels):
            value = torch.tensor(mask_value, dtype=torch.float64) if means is None else means[r, c]
            counters = torch.arange(masks) + (c * masks if iid else 0)
            words = philox(seed, SPEC_AUGMENT, number if iid else torch.tensor(0), counters).tolist()
            for i, (width_word, start_word, *_) in enumerate(words):
                size = bins if i < n_freq_masks else valid
                widest = freq_mask_param if i < n_freq_masks else time_mask_param
                if p < 1 and (i >= n_freq_masks or mode == "compat"):
                    widest = min(widest, int(size * p))
                if mode == "compat":
                    exact = width_word * widest
                    width, room = exact >> 32, (size << 32) - exact
                    start = abs(room) * start_word >> 64
                    start = -start if room < 0 else start
                else:
                    width = width_word * (min(widest, size) + 1) >> 32
                    start = start_word * (size - width + 1) >> 32
                first, end = max(start, 0), min(max(start + width, 0), size)
                if i < n_freq_masks:
                    out[r, c, first:end, :valid] = value
                else:
                    out[r, c, :, first:end] = value
    return out


def _means(spec: Tensor, lengths: Tensor | None, mode: str) -> Tensor:
    """float64 (N, C): of the frames before the padding of a spectrogram, in compat mode of the batch; 0 of none."""
    frames = spec.shape[-1]
    valid = torch.full((spec.shape[0],), frames) if lengths is None else lengths.clamp(0, frames)
    own = (torch.arange(frames) < valid[:, None])[:, None, None].expand(spec.shape)
    total, count = torch.where(own, spec.double(), 0).sum((-2, -1)), own.sum((-2, -1))
    if mode == "compat":
        total, count = total.sum().expand(total.shape), count.sum().expand(count.shape)
    return total / count.clamp(min=1)
