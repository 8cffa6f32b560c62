"""The contrastive loss with margins, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    squared: bool = False,
    distance: str = "euclidean",
    normalize: bool = True,
    reduction: str = "mean_nonzero",
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> Tensor:
    """The reduced ``max(0, d - pos_margin)`` of pairs of one label, plus that of ``max(0, neg_margin - d)`` of others.

    Args:
        embeddings: (N, D).
        labels: (N,).
        pos_margin: what d may be in pairs of one label.
        neg_margin: what d has to be in pairs of two labels.
        squared: the squares of these terms.
        distance: "euclidean"; "squared_euclidean"; or "cosine", the inner product, where near is large: the terms are
            ``max(0, pos_margin - s)`` and ``max(0, s - neg_margin)``.
        normalize: divide embeddings by their norms first.
        reduction: "mean_nonzero", over the terms above 0, "mean" or "sum".
        ref_emb: (M, D), what embeddings are compared with; the others of them where it is None.
        ref_labels: (M,).
    """
    columns = embeddings if ref_emb is None else ref_emb
    rows = embeddings
    if normalize:
        rows, columns = F.normalize(rows, dim=1), F.normalize(columns, dim=1)
    same = labels[:, None] == (labels if ref_labels is None else ref_labels)
    others = ~torch.eye(len(rows), dtype=torch.bool, device=same.device) if ref_emb is None else torch.ones_like(same)
    if distance == "cosine":
        similarity = rows @ columns.T
        positives, negatives = pos_margin - similarity, similarity - neg_margin
    else:
        apart = (rows[:, None, :] - columns).square().sum(dim=2)
        if distance == "euclidean":
            apart = torch.where(apart > 0, torch.where(apart > 0, apart, 1.0).sqrt(), 0.0)  # its gradient at 0 is 0
        positives, negatives = apart - pos_margin, neg_margin - apart
    kinds = (positives[same & others], negatives[~same & others])
    return sum(_reduced(excess, squared, reduction) for excess in kinds) + 0.0 * embeddings.sum()


def _reduced(excess: Tensor, squared: bool, reduction: str) -> Tensor:
    terms = F.relu(excess).square() if squared else F.relu(excess)
    if reduction == "mean_nonzero":
        terms = terms[~(excess <= 0)]
    return terms.sum() if reduction == "sum" else terms.sum() / max(1, len(terms))
