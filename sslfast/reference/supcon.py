"""The supervised contrastive loss by definition (Khosla et al., 2020, equation 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def supcon_loss(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float = 0.1,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> Tensor:
    """Mean, over rows that share their label, of the negative mean log-probability of the rows they share it with.

    Of the other rows, or of all references where there are some.
    """
    z = F.normalize(embeddings, dim=1)
    columns = z if ref_emb is None else F.normalize(ref_emb, dim=1)
    column_labels = labels if ref_labels is None else ref_labels
    logits = z @ columns.T / temperature
    itself = torch.zeros_like(logits, dtype=torch.bool)
    if ref_emb is None:
        itself.fill_diagonal_(True)
    log_probability = logits - torch.logsumexp(logits.masked_fill(itself, float("-inf")), dim=1, keepdim=True)
    same = (labels[:, None] == column_labels[None, :]) & ~itself
    count = same.sum(dim=1)
    terms = -torch.where(same, log_probability, 0.0).sum(dim=1)[count > 0] / count[count > 0]
    return terms.mean() if len(terms) else 0.0 * (embeddings.sum() + columns.sum())


def supcon_loss_of_pairs(
    embeddings: Tensor, pairs: tuple[Tensor, ...], temperature: float = 0.1, ref_emb: Tensor | None = None
) -> Tensor:
    """The same of listed pairs: of rows and their positives, and of rows and their negatives."""
    z = F.normalize(embeddings, dim=1)
    columns = z if ref_emb is None else F.normalize(ref_emb, dim=1)
    logits = z @ columns.T / temperature
    positive, negative = (torch.zeros_like(logits, dtype=torch.bool) for _ in range(2))
    positive[pairs[0], pairs[1]] = True
    negative[pairs[2], pairs[3]] = True
    count = positive.sum(dim=1)
    has = count > 0
    lse = torch.logsumexp(logits.masked_fill(~(positive | negative), float("-inf"))[has], dim=1, keepdim=True)
    terms = -torch.where(positive[has], logits[has] - lse, 0.0).sum(dim=1) / count[has]
    return terms.mean() if len(terms) else 0.0 * (embeddings.sum() + columns.sum())
