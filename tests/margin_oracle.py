"""What the tests of the losses with margins share: the distances, and the losses beside their references."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loss_oracle import Loss
from peer_oracle import peer
from torch import Tensor

DISTANCES = ("euclidean", "squared_euclidean", "cosine")
PAIR_MARGINS = {"euclidean": (0.4, 1.3), "squared_euclidean": (0.3, 1.8), "cosine": (0.8, -0.2)}


def pair_options(distance: str, **options: Any) -> dict[str, Any]:
    """Of contrastive_loss, with margins at which some terms are 0."""
    pos_margin, neg_margin = PAIR_MARGINS[distance]
    return {"pos_margin": pos_margin, "neg_margin": neg_margin, "distance": distance} | options


def on(loss: Loss, reference: Loss, labels: Tensor, **options: Any) -> tuple[Loss, Loss]:
    """Both as functions of the embeddings."""
    return lambda z: loss(z, labels.to(z.device), **options), lambda z: reference(z, labels, **options)


def on_references(loss: Loss, reference: Loss, labels: Tensor, ref_labels: Tensor, **options: Any) -> tuple[Loss, Loss]:
    """Both as functions of embeddings and references, which both have a gradient."""

    def ours(z: Tensor, r: Tensor) -> Tensor:
        return loss(z, labels.to(z.device), ref_emb=r, ref_labels=ref_labels.to(z.device), **options)

    return ours, lambda z, r: reference(z, labels, ref_emb=r, ref_labels=ref_labels, **options)


def skip_float64_on(device: torch.device, dtype: torch.dtype) -> None:
    if device.type == "cuda" and dtype == torch.float64:
        pytest.skip("float64 is refused on a GPU")


def their_distance(distance: str, normalize: bool) -> Any:
    """pytorch-metric-learning's."""
    distances = peer("pytorch_metric_learning.distances")
    if distance == "cosine":
        return distances.CosineSimilarity() if normalize else distances.DotProductSimilarity(normalize_embeddings=False)
    return distances.LpDistance(normalize_embeddings=normalize, power=2 if distance == "squared_euclidean" else 1)
