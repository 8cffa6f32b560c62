"""NT-Xent with many positives by definition: every pair of equal labels against the anchor's other labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def multi_positive_nt_xent_loss(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float = 0.07,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> Tensor:
    """Mean over the pairs (i, p) of one label of the cross-entropy of p among p and all of another label than i."""
    z = F.normalize(embeddings, dim=1)
    columns = z if ref_emb is None else F.normalize(ref_emb, dim=1)
    column_labels = labels if ref_labels is None else ref_labels
    logits = z @ columns.T / temperature
    same = labels[:, None] == column_labels[None, :]
    negatives = torch.logsumexp(logits.masked_fill(same, float("-inf")), dim=1, keepdim=True)
    if ref_emb is None:
        same = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    terms = F.softplus(negatives - logits, threshold=50.0)[same]
    return terms.mean() if len(terms) else 0.0 * (embeddings.sum() + columns.sum())


def nt_xent_loss_of_pairs(
    embeddings: Tensor, pairs: tuple[Tensor, ...], temperature: float = 0.07, ref_emb: Tensor | None = None
) -> Tensor:
    """The same of listed pairs, as often as they are listed: each positive one among its row's negative ones."""
    z = F.normalize(embeddings, dim=1)
    columns = z if ref_emb is None else F.normalize(ref_emb, dim=1)
    near, far = ((z[i] * columns[j]).sum(dim=1) / temperature for i, j in (pairs[:2], pairs[2:]))
    terms = []
    for anchor, logit in zip(pairs[0], near, strict=True):
        among = torch.cat([logit[None], far[pairs[2] == anchor]])
        terms.append(torch.logsumexp(among, dim=0) - logit)
    return torch.stack(terms).mean() if terms else 0.0 * (embeddings.sum() + columns.sum())
