"""Negatives of masked frames by definition (Baevski et al., 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

NEGATIVES = 75


def sample_negatives(
    mask_time_indices: Tensor,
    num_negatives: int,
    *,
    dtype: torch.dtype = torch.int32,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.sample_negatives`` with an int seed."""
    rows, length = mask_time_indices.shape
    numbers = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    counters = -(-num_negatives // 4)
    out = torch.zeros(rows, length, num_negatives, dtype=torch.int64)
    for r, mask in enumerate(mask_time_indices):
        frames = mask.nonzero().flatten()
        for rank, t in enumerate(frames.tolist()):
            if len(frames) == 1:
                out[r, t] = t
                break
            elements = t * counters + torch.arange(counters)
            words = philox(seed, NEGATIVES, numbers[r], elements).flatten()[:num_negatives]
            drawn = words * (len(frames) - 1) >> 32
            out[r, t] = frames[drawn + (drawn >= rank)]
        out[r] += r * length
    return out.to(dtype)
