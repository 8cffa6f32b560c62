"""Losses of predicted patches and features: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["feature_moments", "feature_targets", "masked_patch"]


# ---- masked_patch

masked_patch = torch.ops.sslfast.masked_patch.default


@torch.library.register_fake("sslfast::masked_patch")
def _(pred: Tensor, images: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    patch, need_grad = args[3], args[-1]
    assert isinstance(patch, (list, tuple))
    items = pred.shape[1]
    if pred.dim() == 5:
        items = (images.shape[2] // patch[0]) * (images.shape[3] // patch[1]) * (images.shape[4] // patch[2])
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    loss = pred.new_empty((pred.shape[0], items), dtype=dtype)
    return loss, pred.new_empty(tuple(pred.shape) if need_grad else (0,))


# ---- feature_moments, feature_targets

feature_moments = torch.ops.sslfast.feature_moments.default
feature_targets = torch.ops.sslfast.feature_targets.default


def _sums(layers: list[Tensor]) -> torch.dtype:
    return torch.float64 if layers[0].dtype == torch.float64 else torch.float32


@torch.library.register_fake("sslfast::feature_moments")
def _(layers: list[Tensor], eps: float) -> tuple[Tensor, Tensor]:
    samples, _, width = layers[0].shape
    means, scales = (layers[0].new_empty((len(layers), samples, width), dtype=_sums(layers)) for _ in range(2))
    return means, scales


@torch.library.register_fake("sslfast::feature_targets")
def _(layers: list[Tensor], ids: Tensor, *args: object) -> Tensor:
    return layers[0].new_empty((ids.shape[0], layers[0].shape[2]), dtype=_sums(layers))
