"""The loss of CLIP by definition (Radford et al., 2021, figure 3), with options."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def clip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    *,
    normalize: bool = False,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    margin: float | None = None,
    label_smoothing: float = 0.0,
    negative_keys: Tensor | None = None,
) -> Tensor:
    """Mean of the cross-entropies of picking the text of every image and the image of every text, among N.

    Args:
        image_features: (N, D).
        text_features: (N, D); that of an image has its number.
        logit_scale: factor of the similarities.
        normalize: divide features and negatives by their norms first.
        image_ids: (N,) integers; an image and a text of another pair with the same id are no candidates of each other.
        text_ids: (N,) integers.
        margin: a negative whose similarity is above that of the pair plus the margin is no candidate.
        label_smoothing: share of the target that is spread over the candidates.
        negative_keys: further candidates of the images, (K, D) of all of them or (N, K, D) of one each.

    Returns:
        Scalar.
    """
    if normalize:
        image_features, text_features = F.normalize(image_features, dim=1), F.normalize(text_features, dim=1)
    similarities = image_features @ text_features.T
    pairs = torch.arange(len(similarities), device=similarities.device)
    limits = torch.inf if margin is None else similarities.detach().diagonal().unsqueeze(1) + margin
    same = torch.zeros_like(similarities, dtype=torch.bool)
    if image_ids is not None and text_ids is not None:
        same = image_ids.unsqueeze(1) == text_ids

    def cross_entropy(similarities: Tensor, same: Tensor) -> Tensor:
        """Of every row picking the column of its number, which nothing takes from it."""
        own = torch.eye(*similarities.shape, dtype=torch.bool, device=similarities.device)
        left_out = ~own & (same | (similarities > limits))
        logits = (logit_scale * similarities).masked_fill(left_out, -torch.inf)
        losses = F.cross_entropy(logits, pairs, reduction="none")
        if label_smoothing > 0.0:
            mean = logits.masked_fill(left_out, 0.0).sum(dim=1) / (~left_out).sum(dim=1)
            losses = losses + label_smoothing * (logits.diagonal() - mean)
        return losses.mean()

    by_text = cross_entropy(similarities.T, same.T)
    if negative_keys is not None:
        negatives = F.normalize(negative_keys, dim=-1) if normalize else negative_keys
        hard = (image_features.unsqueeze(1) * negatives).sum(dim=2)
        similarities, same = torch.cat([similarities, hard], dim=1), F.pad(same, (0, hard.shape[1]))
    return (cross_entropy(similarities, same) + by_text) / 2
