"""Softmax over the similarities of rows with columns, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_softmax(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: float | Tensor,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp over the negatives of every row and of every column, and the logit of every row's positive.

    With S = scale * rows @ columns.T and p = positives, the entries (i, p(i)) are positives of row i and of column
    p(i); the others are negatives of both, but for those that :func:`negatives` leaves out.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, a column for every row, or -1 for none.
        scale: factor of the similarities, 1 / temperature.
        row_ids: (N,) integers; entries whose row and column have the same id are no negatives.
        col_ids: (M,) integers.
        row_limits: (N,); logits above that of their row are no negatives.

    Returns:
        ``(row_lse, col_lse, positive_logits)``, (N,), (M,) and (N,); -inf where there is nothing to sum, or no
        positive.
    """
    logits = scale * rows @ columns.T
    own = logits.gather(1, positives.clamp_min(0).unsqueeze(1)).squeeze(1)
    logits = negatives(logits, positives, row_ids, col_ids, row_limits)
    return (
        torch.logsumexp(logits, dim=1),
        torch.logsumexp(logits, dim=0),
        torch.where(positives >= 0, own, float("-inf")),
    )


def label_sums(
    rows: Tensor, columns: Tensor, positives: Tensor, scale: float | Tensor, row_labels: Tensor, col_labels: Tensor
) -> Tensor:
    """The sum of every row's logits with the columns of its label, (N,), but for its positive.

    Args:
        rows, columns, positives, scale: as in :func:`cross_softmax`.
        row_labels: (N,) integers.
        col_labels: (M,) integers.
    """
    same = row_labels.unsqueeze(1) == col_labels
    index = torch.arange(len(rows), device=rows.device)[positives >= 0]
    same[index, positives[positives >= 0]] = False
    return torch.where(same, scale * rows @ columns.T, 0.0).sum(dim=1)


def negatives(
    logits: Tensor,
    positives: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
) -> Tensor:
    """(N, M) logits with -inf at the positives, where ids are equal, and above the row's limit."""
    return logits.masked_fill(left_out(logits, positives, row_ids, col_ids, row_limits), float("-inf"))


def left_out(
    logits: Tensor,
    positives: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
) -> Tensor:
    """Where :func:`negatives` has its -inf: a logit may be -inf itself."""
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    if positives is not None:
        index = torch.arange(len(logits), device=logits.device)[positives >= 0]
        excluded[index, positives[positives >= 0]] = True
    if row_ids is not None and col_ids is not None:
        excluded |= row_ids.unsqueeze(1) == col_ids
    if row_limits is not None:
        excluded |= logits > row_limits.unsqueeze(1)
    return excluded
