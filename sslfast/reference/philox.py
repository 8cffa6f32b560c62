"""Philox4x32-10 on int64 tensors that hold 32-bit words."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 0xFFFFFFFF


def philox(seed: int, stream: Tensor | int, row: Tensor, element: Tensor) -> Tensor:
    """Four words in [0, 2^32), stacked in the last dimension, for every (row, element), broadcast together.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    row, element = torch.broadcast_tensors(row, element)
    c0, c1, c2 = element & WORD, row & WORD, (row >> 32) & WORD
    c3 = torch.zeros_like(c0) + stream
    k0, k1 = seed & WORD, (seed >> 32) & WORD
    for _ in range(10):
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # mod 2^64: the sign bit is cut off below
        c0, c1, c2, c3 = (
            ((product1 >> 32) & WORD) ^ c1 ^ k0,
            product1 & WORD,
            ((product0 >> 32) & WORD) ^ c3 ^ k1,
            product0 & WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return torch.stack([c0, c1, c2, c3], dim=-1)


def philox_rows(
    seed: int, stream: int, rows: int, elements: int, row_offset: int = 0, sample_ids: Tensor | None = None
) -> Tensor:
    """(rows, elements, 4): the words of a whole batch, whose rows are numbered from ``row_offset`` or by ids."""
    row = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    return philox(seed, stream, row[:, None], torch.arange(elements)[None])
