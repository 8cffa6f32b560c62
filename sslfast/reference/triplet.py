"""The triplet loss over all triplets, the hardest of each anchor or the semi-hard ones, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    margin: float = 0.05,
    *,
    mining: str = "batch_all",
    distance: str = "euclidean",
    normalize: bool = True,
    swap: bool = False,
    smooth_loss: bool = False,
    reduction: str = "mean_nonzero",
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> Tensor:
    """The reduced ``max(0, d_ap - d_an + margin)`` of the triplets (a, p, n) that the mining takes, N x M x M of them.

    Args:
        embeddings: (N, D), the anchors.
        labels: (N,).
        margin: what d_an has to exceed d_ap by.
        mining: "batch_all", every triplet; "batch_hard", the farthest positive with the nearest negative of each
            anchor; "semi_hard", every triplet with 0 < d_an - d_ap < margin.
        distance: "euclidean", "squared_euclidean", or "cosine", minus the inner product.
        normalize: divide embeddings by their norms first.
        swap: the smaller of d_an and d_pn in the place of d_an.
        smooth_loss: softplus in the place of max(0, .).
        reduction: "mean_nonzero", over the terms above 0, "mean" or "sum".
        ref_emb: (M, D), positives and negatives; the embeddings themselves where it is None.
        ref_labels: (M,).
    """
    itself = ref_emb is None
    columns = embeddings if ref_emb is None else ref_emb
    column_labels = labels if ref_labels is None else ref_labels
    between = _distances(embeddings, columns, distance, normalize)
    same = labels[:, None] == column_labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device) if itself else same
    d_ap, d_an = between[:, :, None], between[:, None, :]
    taken = positive[:, :, None] & ~same[:, None, :]
    if mining == "batch_hard":
        farthest = between.detach().masked_fill(~positive, float("-inf")).argmax(dim=1)
        nearest = between.detach().masked_fill(same, float("inf")).argmin(dim=1)
        count = torch.arange(between.shape[1], device=same.device)
        taken = taken & (count == farthest[:, None])[:, :, None] & (count == nearest[:, None])[:, None, :]
    elif mining == "semi_hard":
        gap = (d_an - d_ap).detach()
        taken = taken & (gap > 0) & (gap < margin)
    if swap:
        d_an = torch.minimum(d_an, _distances(columns, columns, distance, normalize)[None])
    excess = (d_ap - d_an + margin)[taken]
    terms = F.softplus(excess, threshold=50.0) if smooth_loss else F.relu(excess)
    if reduction == "mean_nonzero":
        terms = terms[~(terms <= 0)]
    total = terms.sum() + 0.0 * embeddings.sum()
    return total if reduction == "sum" else total / max(1, len(terms))


def _distances(rows: Tensor, columns: Tensor, distance: str, normalize: bool) -> Tensor:
    if normalize:
        rows, columns = F.normalize(rows, dim=1), F.normalize(columns, dim=1)
    if distance == "cosine":
        return -rows @ columns.T
    squared = (rows[:, None, :] - columns[None, :, :]).square().sum(dim=2)
    if distance == "squared_euclidean":
        return squared
    apart = squared > 0  # the gradient of a root at 0 is taken to be 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
