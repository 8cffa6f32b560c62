"""InfoNCE by definition (van den Oord et al., 2018; He et al., 2020, equation 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.cross_softmax import left_out


def info_nce_loss(
    query: Tensor,
    positive_key: Tensor,
    negative_keys: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    *,
    queue: Tensor | None = None,
    positives: Tensor | None = None,
    in_batch: bool | None = None,
    query_negatives: bool = False,
    key_negatives: bool = False,
    key_to_query_negatives: bool = False,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    margin: float | None = None,
    tau_plus: float = 0.0,
    label_smoothing: float = 0.0,
    hardness_mode: str | None = None,
    hardness_strength: float = 0.0,
    symmetric: bool = False,
    normalize: bool = True,
) -> Tensor:
    """Per query, the cross-entropy of picking its positive key among it and its negatives.

    Args:
        query: (N, D).
        positive_key: (N, D), or (M, D) with ``positives``.
        negative_keys: (K, D), negatives of every query, or (N, K, D), of one query each.
        temperature: divides the similarities.
        queue: (K, D), negatives of every query, taken as they are.
        positives: (N,) int64, the key of every query; by default the one in its own row.
        in_batch: whether the keys of the others are negatives; by default if there are no other negatives.
        query_negatives: whether the other queries are negatives.
        key_negatives: whether the other keys are negatives of the positive key, too.
        key_to_query_negatives: whether the other queries are negatives of the positive key, too.
        query_ids: (N,) integers; a key or query of the same id is no negative.
        key_ids: (M,) integers.
        margin: a negative whose similarity is above that of the positive plus the margin is left out.
        tau_plus: share of positives among the negatives, taken out of their sum (Chuang et al., 2020, equation 8).
        label_smoothing: share of the target that is spread over the positive and the negatives that count.
        hardness_mode: which negatives of the queries are hard: ``"in_batch_negatives"``, the keys of the others;
            ``"hard_negatives"``, ``negative_keys``; ``"all_negatives"``, both and the queue.
        hardness_strength: times the similarity, a constant for the gradient, is added to the logits of these
            (Lan et al., 2025, equation 5).
        symmetric: average with the loss of picking the query of every key among all queries.
        normalize: divide all but the queue by their norms first.

    Returns:
        (N,) losses.
    """

    def unit(z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1) if normalize else z

    scale = 1 / temperature
    n = len(query)
    own = torch.arange(n, device=query.device)
    at = own if positives is None else positives
    query, keys = unit(query), unit(positive_key)
    chosen = keys[at]
    positive = scale * (query * chosen).sum(dim=1)
    limits = None if margin is None else (scale * ((query * chosen).sum(dim=1) + margin)).detach()
    chosen_ids = None if key_ids is None else key_ids[at]

    def hard(group: Tensor, similarities: Tensor, *modes: str) -> Tensor:
        return group + hardness_strength * similarities.detach() if hardness_mode in modes else group

    groups, excluded = [], []
    count = 0
    if in_batch or (in_batch is None and negative_keys is None and queue is None):
        group = scale * query @ keys.T
        excluded.append(left_out(group, at, query_ids, key_ids, limits))
        groups.append(hard(group, query @ keys.T, "in_batch_negatives", "all_negatives"))
        count += len(keys) - 1
    if query_negatives:
        groups.append(scale * query @ query.T)
        excluded.append(left_out(groups[-1], own, query_ids, query_ids, limits))
        count += n - 1
    if key_negatives:
        groups.append(scale * chosen @ keys.T)
        excluded.append(left_out(groups[-1], at, chosen_ids, key_ids, limits))
        count += len(keys) - 1
    if key_to_query_negatives:
        groups.append(scale * chosen @ query.T)
        excluded.append(left_out(groups[-1], own, chosen_ids, query_ids, limits))
        count += n - 1
    if negative_keys is not None:
        others = unit(negative_keys)
        similarities = query @ others.T if others.dim() == 2 else (others @ query.unsqueeze(2)).squeeze(2)
        excluded.append(left_out(scale * similarities, row_limits=limits))
        groups.append(hard(scale * similarities, similarities, "hard_negatives", "all_negatives"))
        count += others.shape[-2]
    if queue is not None:
        joint = torch.promote_types(query.dtype, queue.dtype)
        similarities = query.to(joint) @ queue.to(joint).T
        excluded.append(left_out(scale * similarities, row_limits=limits))
        groups.append(hard(scale * similarities, similarities, "all_negatives"))
        count += len(queue)

    def picking(logits: Tensor, excluded: Tensor, count: int) -> Tensor:
        lse = torch.logsumexp(logits.masked_fill(excluded, -torch.inf), dim=1)
        losses = _cross_entropy(lse, positive, count, tau_plus, scale)
        if label_smoothing == 0.0:
            return losses
        # What a target of all candidates, positive and negatives that count, adds to one of the positive alone.
        mean = (positive + logits.masked_fill(excluded, 0.0).sum(dim=1)) / (1 + (~excluded).sum(dim=1))
        return losses + label_smoothing * (positive - mean)

    losses = picking(torch.cat(groups, dim=1), torch.cat(excluded, dim=1), count)
    if not symmetric:
        return losses
    of_each = torch.argsort(at)
    of_keys = scale * keys @ query.T
    out = left_out(of_keys, of_each, key_ids, query_ids, None if limits is None else limits[of_each])
    return (losses + picking(of_keys[at], out[at], n - 1)) / 2


def _cross_entropy(lse: Tensor, positive: Tensor, count: int, tau_plus: float, scale: float | Tensor) -> Tensor:
    if tau_plus > 0:
        debiased = (lse.exp() - tau_plus * count * positive.exp()) / (1 - tau_plus)
        least = count * torch.exp(-torch.as_tensor(scale, dtype=lse.dtype).abs())
        lse = torch.maximum(debiased, least).log()
    return -F.logsigmoid(positive - lse)  # log(exp(lse) + exp(positive)) - positive, where a small one is left
