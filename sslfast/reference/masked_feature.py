"""Features of a teacher that masked tokens are to have, by definition (Baevski et al., 2022; Assran et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def standardised(x: Tensor, norm: str | None, eps: float = 1e-5) -> Tensor:
    """(N, L, D), ``"layer"``: over the features of each token; ``"instance"``: over the tokens of each feature."""
    if norm is None:
        return x
    if norm == "layer":
        return F.layer_norm(x, x.shape[-1:], eps=eps)
    if x.shape[1] == 1:  # F.instance_norm refuses what is all 0
        return x * 0.0
    return F.instance_norm(x.transpose(1, 2), eps=eps).transpose(1, 2)


def feature_targets(
    layers: Sequence[Tensor], norm_layers: str | None = None, norm_targets: str | None = None, eps: float = 1e-5
) -> Tensor:
    """(N, L, D): the mean of the layers, each standardised, standardised again."""
    total = standardised(layers[0], norm_layers, eps)
    for layer in layers[1:]:
        total = total + standardised(layer, norm_layers, eps)
    return standardised(total / len(layers), norm_targets, eps)
