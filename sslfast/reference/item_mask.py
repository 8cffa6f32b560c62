"""BERT4Rec's masking of item sequences by definition (Sun et al., 2019, section 3.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

ITEM_SELECT, ITEM_ROW = 26, 27


def mask_items(
    items: Tensor,
    *,
    mask_id: int,
    mask_ratio: float = 0.2,
    padding_id: int = 0,
    selection: str = "bernoulli",
    last_item_probability: float = 0.0,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_items`` with an int seed."""
    rows, length = items.shape
    select = philox_rows(seed, ITEM_SELECT, rows, -(-length // 4), row_offset, sample_ids).flatten(1).tolist()
    row_words = philox_rows(seed, ITEM_ROW, rows, 1, row_offset, sample_ids)[:, 0].tolist()
    out, labels, mask = items.clone(), torch.full_like(items, -100), torch.zeros(rows, length, dtype=torch.bool)
    for r in range(rows):
        columns = [t for t in range(length) if int(items[r, t]) != padding_id]
        n = len(columns)
        if n == 0:
            continue
        if row_words[r][0] < int(last_item_probability * 2**32 + 0.5):
            chosen = [n - 1]
        elif selection == "exact":
            wanted = min(round(n * mask_ratio), n)
            if mode == "exact":
                wanted = max(min(wanted, n - 1), 1)
            chosen = []
            for k in range(n):
                if select[r][k] * (n - k) >> 32 < wanted - len(chosen):
                    chosen.append(k)
        else:
            chosen = [k for k in range(n) if select[r][k] < int(mask_ratio * 2**32 + 0.5)]
        spare = row_words[r][1] * n >> 32
        if not chosen and mode == "exact":
            chosen = [spare]
        if len(chosen) == n > 1 and mode == "exact":
            chosen.remove(spare)
        masked = [columns[k] for k in chosen]
        mask[r, masked] = True
        out[r, masked] = mask_id
        if mode == "compat":
            cap = int(mask_ratio * length)
            masked = [t for t in masked[max(len(masked) - cap, 0) :] if t > 0]
        labels[r, masked] = items[r, masked]
    return out, labels, mask
