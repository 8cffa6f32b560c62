"""Losses of queries beside their keys and a queue, by definition."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.queue_softmax import queue_softmax


def queue_pairs(
    query: Tensor, keys: Tensor, queue: Tensor, scale: float | Tensor, share: float, normalize: bool
) -> Tensor:
    """``share`` times the sum of the cross-entropies of every query picking its key among it and the queue.

    Args:
        query: (N, D), any floating dtype.
        keys: (N, D), the positive of every query.
        queue: (K, D), negatives of all queries.
        scale: factor of the inner products.
        share: of a loss in the result.
        normalize: divide queries and keys by their norms first.

    Returns:
        Scalar.
    """
    if normalize:
        query, keys = F.normalize(query, dim=1), F.normalize(keys, dim=1)
    lse, _ = queue_softmax(query, queue, scale)
    positive = scale * (query * keys).sum(dim=1)
    return share * -F.logsigmoid(positive - lse).sum()  # exact where the loss is tiny, too
