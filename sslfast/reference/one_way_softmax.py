"""Softmax cross-entropy of rows that have to pick their positive, and its gradient, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.cross_softmax import cross_softmax


def one_way_softmax(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: float | Tensor,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    known_lse: Tensor | None = None,
    known_positive: Tensor | None = None,
) -> Tensor:
    """(N,) losses log(exp(lse) + exp(positive)) - positive, with the log-sum-exp of the negatives of every row.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, a column for every row, or -1 for none, which is no negative.
        scale: factor of the similarities, 1 / temperature.
        row_ids, col_ids, row_limits: what else is no negative, as in
            :func:`~sslfast.reference.cross_softmax.cross_softmax`.
        known_lse: (N,), log-sum-exps of further negatives.
        known_positive: (N,), logits of the positives; by default those that the columns give.
    """
    lse, _, positive = cross_softmax(rows, columns, positives, scale, row_ids, col_ids, row_limits)
    if known_lse is not None:
        lse = torch.logaddexp(lse, known_lse)
    positive = positive if known_positive is None else known_positive
    return -F.logsigmoid(positive - lse)  # exact where the loss is tiny, too
