"""Softmax over the similarities of rows with themselves, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def similarity_softmax(rows: Tensor, positives: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the negatives, and the logit of the positive, of every row.

    With S = scale * rows @ rows.T and p = positives, the negatives of row i are all j but i and p(i), where it has one.

    Args:
        rows: (M, D), any floating dtype.
        positives: (M,) int64, another row for every row, or -1 for none.
        scale: factor of the similarities, 1 / temperature.

    Returns:
        ``(lse, positive_logits)``, both (M,): lse_i = log sum_{j != i, p(i)} exp S_ij (-inf where there is none) and
        S_{i, p(i)}, -inf where there is none. Softmax cross-entropy with the positive as target is
        ``softplus(lse - positive_logits)``.
    """
    logits = scale * rows @ rows.T
    index = torch.arange(len(rows), device=rows.device)
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    excluded[index, index] = True
    has = positives >= 0
    excluded[index[has], positives[has]] = True
    lse = torch.logsumexp(logits.masked_fill(excluded, float("-inf")), dim=1)
    return lse, torch.where(has, logits[index, positives.clamp_min(0)], float("-inf"))


def label_sums(rows: Tensor, positives: Tensor, scale: float, labels: Tensor) -> Tensor:
    """The sum of every row's logits with the rows of its label, (M,), but for itself and for positives of either row.

    Args:
        rows, positives, scale: as in :func:`similarity_softmax`.
        labels: (M,) integers.
    """
    logits = scale * rows @ rows.T
    index = torch.arange(len(rows), device=rows.device)
    same = labels.unsqueeze(1) == labels
    same[index, index] = False
    has = positives >= 0
    same[index[has], positives[has]] = False
    same[positives[has], index[has]] = False
    return torch.where(same, logits, 0.0).sum(dim=1)
