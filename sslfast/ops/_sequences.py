"""Augmentation of tokens and features: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["feature_noise", "token_augment"]


# ---- token_augment

token_augment = torch.ops.sslfast.token_augment.default


@torch.library.register_fake("sslfast::token_augment")
def _(ids: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    views, width, positions = args[11], args[12], args[16]
    shape = (views, ids.shape[0], width)
    places = ids.new_empty((*shape[:2], width if positions else 0), dtype=torch.int64)
    return ids.new_empty(shape), ids.new_empty(shape, dtype=torch.bool), places


# ---- feature_noise

feature_noise = torch.ops.sslfast.feature_noise.default


@torch.library.register_fake("sslfast::feature_noise")
def _(x: Tensor, *args: object) -> Tensor:
    return x.new_empty(tuple(x.shape))
