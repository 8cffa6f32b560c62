"""InfoNCE with each kind of negatives and each option in plain torch, as its formula says.

What info_nce_loss is measured beside; the functions take its arguments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

TEMPERATURE, MARGIN, TAU_PLUS, SMOOTHING, STRENGTH = 0.1, 0.1, 0.1, 0.1, 9.0


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    return normalize(rows, dim=1) @ normalize(columns, dim=1).T


def own(rows: Tensor) -> Tensor:
    """The positive of a query has its number."""
    return torch.arange(len(rows), device=rows.device)


def one_way(similarities: Tensor, **options: Any) -> Tensor:
    return cross_entropy(similarities / TEMPERATURE, own(similarities), **options)


def among_others(z: Tensor) -> Tensor:
    """The cosines of rows with the other rows."""
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return cosines(z, z).masked_fill(itself, float("-inf"))


def of_one_query(query: Tensor, negative_keys: Tensor) -> Tensor:
    return torch.einsum("nd,nhd->nh", normalize(query, dim=1), normalize(negative_keys, dim=2))


def without_false(similarities: Tensor) -> Tensor:
    """Negatives more similar than the positive by the margin are left out."""
    false = similarities.detach() > similarities.detach().diagonal()[:, None] + MARGIN
    return similarities.masked_fill(false, float("-inf"))


def further(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    return one_way(cosines(query, torch.cat([positive_key, negative_keys])))


def hard(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), of_one_query(query, negative_keys)], dim=1))


def queries(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), among_others(query)], dim=1))


def keys(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(torch.cat([cosines(query, positive_key), among_others(positive_key)], dim=1))


def all_kinds(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    parts = [cosines(query, positive_key), among_others(query), among_others(positive_key)]
    return one_way(without_false(torch.cat([*parts, of_one_query(query, negative_keys)], dim=1)))


def margin(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(without_false(cosines(query, positive_key)))


def ids(query: Tensor, positive_key: Tensor, query_ids: Tensor, key_ids: Tensor) -> Tensor:
    same = (query_ids[:, None] == key_ids).fill_diagonal_(False)
    return one_way(cosines(query, positive_key).masked_fill(same, float("-inf")))


def weighted(query: Tensor, positive_key: Tensor, weights: Tensor) -> Tensor:
    return (one_way(cosines(query, positive_key), reduction="none") * weights).sum() / weights.sum()


def each(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(cosines(query, positive_key), reduction="none")


def tau_plus(query: Tensor, positive_key: Tensor) -> Tensor:
    """As the paper's code, in sums of exponentials."""
    shares = (cosines(query, positive_key) / TEMPERATURE).exp()
    positive, count = shares.diagonal(), len(shares) - 1
    itself = torch.eye(len(shares), dtype=torch.bool, device=shares.device)
    negative = shares.masked_fill(itself, 0.0).sum(dim=1)
    least = count * torch.tensor(-1 / TEMPERATURE).exp()
    debiased = ((negative - TAU_PLUS * count * positive) / (1 - TAU_PLUS)).clamp_min(least)
    return -(positive / (positive + debiased)).log().mean()


def smoothing(query: Tensor, positive_key: Tensor) -> Tensor:
    return one_way(cosines(query, positive_key), label_smoothing=SMOOTHING)


def harder(logits: Tensor, similarities: Tensor, *, positives: bool) -> Tensor:
    """A share of the similarities is added, as constants; not of the ``positives``, on the diagonal."""
    added = STRENGTH * similarities.detach()
    return logits + (added.fill_diagonal_(0.0) if positives else added)


def hardness(query: Tensor, positive_key: Tensor) -> Tensor:
    similar = cosines(query, positive_key)
    return cross_entropy(harder(similar / TEMPERATURE, similar, positives=True), own(query))


def hard_hardness(query: Tensor, positive_key: Tensor, negative_keys: Tensor) -> Tensor:
    similar, given = cosines(query, positive_key), of_one_query(query, negative_keys)
    logits = [similar / TEMPERATURE, harder(given / TEMPERATURE, given, positives=False)]
    return cross_entropy(torch.cat(logits, dim=1), own(query))


def key_to_query(query: Tensor, positive_key: Tensor) -> Tensor:
    """Both from one product."""
    similar = cosines(query, positive_key)
    itself = torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    return one_way(torch.cat([similar, similar.T.masked_fill(itself, float("-inf"))], dim=1))


def all_directions(query: Tensor, positive_key: Tensor) -> Tensor:
    similar = cosines(query, positive_key)
    itself = torch.eye(len(similar), dtype=torch.bool, device=similar.device)
    of_keys = similar.T.masked_fill(itself, float("-inf"))
    return one_way(torch.cat([similar, of_keys, among_others(query), among_others(positive_key)], dim=1))
