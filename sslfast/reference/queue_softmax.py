"""Softmax of rows over their similarities with a queue, by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.cross_softmax import negatives


def queue_softmax(
    rows: Tensor,
    queue: Tensor,
    scale: float | Tensor,
    positives: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of every row's logits, and the mean of the queue under their softmax.

    Args:
        rows: (N, D), any floating dtype.
        queue: (K, D).
        scale: factor of the similarities, 1 / temperature.
        positives: (N,) int64, an entry of the queue that is left out for this row, or -1.
        row_ids: (N,) integers; an entry of the same id is left out.
        col_ids: (K,) integers.
        row_limits: (N,); logits above that of their row are left out.

    Returns:
        ``(lse, mean)`` of logits S = scale * rows @ queue.T: lse (N,), and mean (N, D) = softmax(S) @ queue, which is
        the derivative of lse with respect to rows divided by scale. Where all is left out, -inf and 0.
    """
    logits = negatives(scale * rows @ queue.T, positives, row_ids, col_ids, row_limits)
    lse = torch.logsumexp(logits, dim=1)
    weights = torch.exp(logits - torch.where(lse == float("-inf"), 0.0, lse).unsqueeze(1))
    return lse, weights @ queue
