"""The loss of CLIP by definition (Radford et al., 2021, figure 3)."""

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
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean of the cross-entropies of picking the text of every image and the image of every text, among N."""
    if normalize:
        image_features, text_features = F.normalize(image_features, dim=1), F.normalize(text_features, dim=1)
    logits = logit_scale * image_features @ text_features.T
    labels = torch.arange(len(logits), device=logits.device)
    by_image = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    by_text = F.cross_entropy(logits.T, labels, label_smoothing=label_smoothing)
    return (by_image + by_text) / 2
