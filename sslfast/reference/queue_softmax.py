"""Softmax of rows over their similarities with a queue, by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def queue_softmax(rows: Tensor, queue: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of every row's logits, and the mean of the queue under their softmax.

    Args:
        rows: (N, D), any floating dtype.
        queue: (K, D).
        scale: factor of the similarities, 1 / temperature.

    Returns:
        ``(lse, mean)`` of logits S = scale * rows @ queue.T: lse (N,), and mean (N, D) = softmax(S) @ queue, which is
        the derivative of lse with respect to rows divided by scale.
    """
    logits = scale * rows @ queue.T
    return torch.logsumexp(logits, dim=1), torch.softmax(logits, dim=1) @ queue
