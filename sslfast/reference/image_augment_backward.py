"""The gradient of images from that of their views, by definition: autograd through ``reference.image_augment``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast.reference.image_augment import Settings, view


def gradient(
    grad: Tensor,
    image: Tensor,
    steps: Sequence[tuple[str, Sequence[float]]],
    settings: Settings = Settings(),  # noqa: B008
    std: Sequence[float] | None = None,
) -> Tensor:
    """What ``grad`` of a view, divided by ``std`` of its channels, is of its image.

    Args:
        grad: (C, h, w).
        image: (C, H, W), of floats in [0, 1].
        steps: names and columns of the view's steps, the first of the resampling.
        settings: as of ``view``.
        std: a number per channel. Default: None, ones.

    Returns:
        (C, H, W) float64.
    """
    leaf = image.detach().double().requires_grad_()
    scale = torch.ones(len(leaf), dtype=leaf.dtype) if std is None else torch.tensor(std, dtype=leaf.dtype)
    done = view(leaf, steps, (grad.shape[1], grad.shape[2]), settings)
    (found,) = torch.autograd.grad(done, leaf, grad.double() / scale[:, None, None])
    return found
