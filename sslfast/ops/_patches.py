"""Losses of predicted patches: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["masked_patch"]


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
