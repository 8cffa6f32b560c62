"""Items drawn for each row by definition: Philox words against cumulative probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

ITEM_NEGATIVES = 29


def item_negatives(numbers: Tensor, seed: int, thresholds: Tensor | None, items: int, negatives: int) -> Tensor:
    """(R, K) int32.

    Args:
        numbers: (R,) int64, the number of each row in the draws.
        seed: 64 bits.
        thresholds: (V,) int64, item j has the draws below thresholds[j] that no item before has, of 2^62; None for
            items that are all alike.
        items: V.
        negatives: K.
    """
    counters = torch.arange((negatives + 1) // 2)
    rows = []
    for number in numbers:
        words = philox(seed, ITEM_NEGATIVES, number, counters).reshape(-1, 2)[:negatives]
        if thresholds is None:
            rows.append(words[:, 0] * items >> 32)
        else:
            draws = (words[:, 0] << 30) + (words[:, 1] >> 2)
            rows.append(torch.searchsorted(thresholds, draws, right=True))
    return torch.stack(rows).to(torch.int32) if rows else torch.zeros(0, negatives, dtype=torch.int32)
