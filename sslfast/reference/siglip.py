"""The sigmoid loss of SigLIP by definition (Zhai et al., 2023, equation 2), with options."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def siglip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor,
    logit_bias: float | Tensor = 0.0,
    *,
    normalize: bool = False,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    margin: float | None = None,
    label_smoothing: float = 0.0,
    negative_keys: Tensor | None = None,
) -> Tensor:
    """Sum of the binary cross-entropies of all images with all texts and with their hard negatives, by N.

    Args:
        image_features: (N, D).
        text_features: (N, D); that of an image has its number.
        logit_scale: factor of the similarities.
        logit_bias: added to the logits.
        normalize: divide features and negatives by their norms first.
        image_ids: (N,) integers; an image and a text of another pair with the same id are left out.
        text_ids: (N,) integers.
        margin: a negative whose similarity is above that of the image's own text plus the margin is left out.
        label_smoothing: share e of the targets that is spread over both labels: 1 - e / 2 and e / 2.
        negative_keys: (N, K, D), further negatives of one image each.

    Returns:
        Scalar.
    """

    def losses(similarities: Tensor, labels: Tensor) -> Tensor:
        logits = labels * (logit_scale * similarities + logit_bias)
        return -(1 - label_smoothing / 2) * F.logsigmoid(logits) - label_smoothing / 2 * F.logsigmoid(-logits)

    if normalize:
        image_features, text_features = F.normalize(image_features, dim=1), F.normalize(text_features, dim=1)
    similarities = image_features @ text_features.T
    own = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    limits = torch.inf if margin is None else similarities.detach().diagonal().unsqueeze(1) + margin
    left_out = similarities > limits
    if image_ids is not None and text_ids is not None:
        left_out = left_out | (image_ids.unsqueeze(1) == text_ids)
    labels = 2.0 * own.to(similarities) - 1.0
    total = losses(similarities, labels).masked_fill(left_out & ~own, 0.0).sum()
    if negative_keys is not None:
        negatives = F.normalize(negative_keys, dim=2) if normalize else negative_keys
        hard = (image_features.unsqueeze(1) * negatives).sum(dim=2)
        total = total + losses(hard, -torch.ones_like(hard)).masked_fill(hard > limits, 0.0).sum()
    return total / len(similarities)
