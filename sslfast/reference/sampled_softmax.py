"""Cross-entropy against named rows of a table, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_softmax(
    rows: Tensor,
    table: Tensor,
    positives: Tensor,
    candidates: Tensor,
    offsets: Tensor | None = None,
    corrections: Tensor | None = None,
    codes: Tensor | None = None,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    cosine: bool = False,
    values: bool = False,
) -> Tensor:
    """(R,) losses.

    Args:
        rows: (R, D), any floating dtype.
        table: (M, D).
        positives: (R,) int64 in [0, M), the right rows of the table.
        candidates: (R, K) integers in [0, M), the others.
        offsets: (M,), added to the logits.
        corrections: (M,), subtracted from the logits of the others.
        codes: (M, G): others with the codes of the right row are left out.
        scale: of the products.
        shift: subtracted from the logits of the others.
        cosine: rows and table are divided by their norms.
        values: others with the numbers of the right row are left out.
    """
    named = torch.cat([positives[:, None], candidates.long()], dim=1)
    others = named[:, 1:]
    left_out = others == positives[:, None]
    for known in ([] if codes is None else [codes]) + ([table] if values else []):
        left_out = left_out | (known[others] == known[positives][:, None]).all(-1)
    if cosine:
        rows, table = F.normalize(rows, dim=1, eps=1e-12), F.normalize(table, dim=1, eps=1e-12)
    logits = scale * (table[named] @ rows[:, :, None]).squeeze(2)
    if offsets is not None:
        logits = logits + offsets[named]
    less = torch.full_like(logits, shift) if corrections is None else shift + corrections[named]
    less = torch.cat([torch.zeros_like(less[:, :1]), less[:, 1:]], dim=1)
    left_out = torch.cat([torch.zeros_like(left_out[:, :1]), left_out], dim=1)
    logits = (logits - less).masked_fill(left_out, -torch.inf)
    return F.cross_entropy(logits, torch.zeros_like(positives), reduction="none")
