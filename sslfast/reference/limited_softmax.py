"""Softmax over the similarities of rows with columns, each with a limit of its own, by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.cross_softmax import left_out


def limited_softmax(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: float | Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor,
    col_limits: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-sum-exps, sums and numbers of the logits that count for every row and for every column.

    Of S = scale * rows @ columns.T count for row i those up to its limit, and for column j those up to its own, but for
    the entries (i, positives[i]), and those of equal ids.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, a column for every row, or -1 for none.
        scale: factor of the similarities.
        row_ids: (N,) integers, or None.
        col_ids: (M,) integers, or None.
        row_limits: (N,), of logits.
        col_limits: (M,).

    Returns:
        ``(row_lse, col_lse, positive_logits, row_totals, col_totals, row_counts, col_counts)``, of N or M numbers each;
        -inf where there is nothing to sum, or no positive.
    """
    logits = scale * rows @ columns.T
    own = logits.gather(1, positives.clamp_min(0).unsqueeze(1)).squeeze(1)
    of_neither = left_out(logits, positives, row_ids, col_ids)
    lse, totals, counts = [], [], []
    for dim, limits in ((1, row_limits.unsqueeze(1)), (0, col_limits)):
        out = of_neither | (logits > limits)
        lse.append(torch.logsumexp(logits.masked_fill(out, float("-inf")), dim=dim))
        totals.append(logits.masked_fill(out, 0.0).sum(dim=dim))
        counts.append((~out).sum(dim=dim))
    positive_logits = torch.where(positives >= 0, own, float("-inf"))
    return lse[0], lse[1], positive_logits, totals[0], totals[1], counts[0], counts[1]
