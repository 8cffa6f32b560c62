"""Corrupted features by definition: SCARF (Bahri et al., 2022) and VIME (Yoon et al., 2020)."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows
from sslfast.reference.random_order import random_order

FEATURE_SELECT, FEATURE_SOURCE, FEATURE_ORDER = 77, 78, 79


def corrupt_features(
    x: Tensor,
    corruption_rate: float = 0.6,
    *,
    source: str = "marginals",
    selection: str = "exact",
    bank: Tensor | None = None,
    changed: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``sslfast.masking.corrupt_features`` with an int seed."""
    rows, features = x.shape
    bank = x if bank is None else bank
    counters = -(-features // 4)
    select, words = (
        philox_rows(seed, stream, rows, counters, row_offset, sample_ids).flatten(1)[:, :features]
        for stream in (FEATURE_SELECT, FEATURE_SOURCE)
    )
    mask = select < int(corruption_rate * 2**32 + 0.5)
    if selection == "exact":
        count = int(features * Fraction(str(corruption_rate)))
        for r, row in enumerate(select.tolist()):
            wanted = count
            for j, word in enumerate(row):
                hit = word * (features - j) >> 32 < wanted
                mask[r, j] = hit
                wanted -= hit
    if source == "uniform":
        low, high = bank.double().amin(0), bank.double().amax(0)
        replacement = (low + (high - low) * (words.double() / 2**32)).to(x.dtype)
    else:
        if source == "permutation":
            sources = torch.stack([random_order(rows, seed, FEATURE_ORDER, column) for column in range(features)], 1)
        else:
            sources = words * len(bank) >> 32
            if source == "rows":
                sources = sources[:, :1].expand_as(sources)
        replacement = bank.gather(0, sources)
    out = torch.where(mask, replacement, x)
    return out, mask & (out != x) if changed else mask
