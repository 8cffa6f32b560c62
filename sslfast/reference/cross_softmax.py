"""Softmax over the similarities of rows with columns, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_softmax(
    rows: Tensor, columns: Tensor, positives: Tensor, scale: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp over the negatives of every row and of every column, and the logit of every row's positive.

    With S = scale * rows @ columns.T and p = positives, the entries (i, p(i)) are positives of row i and of column
    p(i); all others are negatives of both.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, a column for every row, or -1 for none.
        scale: factor of the similarities, 1 / temperature.

    Returns:
        ``(row_lse, col_lse, positive_logits)``, (N,), (M,) and (N,); -inf where there is nothing to sum, or no
        positive.
    """
    logits = scale * rows @ columns.T
    has = positives >= 0
    index = torch.arange(len(rows), device=rows.device)[has]
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    excluded[index, positives[has]] = True
    negatives = logits.masked_fill(excluded, float("-inf"))
    own = logits.gather(1, positives.clamp_min(0).unsqueeze(1)).squeeze(1)
    return (
        torch.logsumexp(negatives, dim=1),
        torch.logsumexp(negatives, dim=0),
        torch.where(has, own, float("-inf")),
    )
