"""Masks of tokens and patches: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["mask_indices", "patch_gather", "patch_mask", "patch_scatter", "token_mask"]


# ---- mask_indices

mask_indices = torch.ops.sslfast.mask_indices.default


@torch.library.register_fake("sslfast::mask_indices")
def _(mask: Tensor) -> tuple[Tensor, Tensor]:
    rows, length = mask.shape
    return mask.new_empty((rows * length,), dtype=torch.int64), mask.new_empty((rows,), dtype=torch.int64)


# ---- token_mask

token_mask = torch.ops.sslfast.token_mask.default


@torch.library.register_fake("sslfast::token_mask")
def _(ids: Tensor, special: Tensor | None, seed: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor]:
    rows, length = ids.shape
    masked = ids.new_empty((rows * length,), dtype=torch.int64)
    return ids.new_empty((rows, length)), ids.new_empty((rows, length)), masked


# ---- patch_mask, patch_gather, patch_scatter

patch_mask = torch.ops.sslfast.patch_mask.default
patch_gather = torch.ops.sslfast.patch_gather.default
patch_scatter = torch.ops.sslfast.patch_scatter.default


@torch.library.register_fake("sslfast::patch_mask")
def _(
    like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, patches: int, keep: int, row_offset: int
) -> tuple[Tensor, Tensor, Tensor]:
    ids_keep = like.new_empty((rows, keep), dtype=torch.int64)
    ids_restore = like.new_empty((rows, patches), dtype=torch.int64)
    return ids_keep, ids_restore, like.new_empty((rows, patches), dtype=torch.bool)


@torch.library.register_fake("sslfast::patch_gather")
def _(x: Tensor, ids_keep: Tensor) -> Tensor:
    return x.new_empty((*ids_keep.shape, x.shape[2]))


@torch.library.register_fake("sslfast::patch_scatter")
def _(grad: Tensor, ids_restore: Tensor) -> Tensor:
    return grad.new_empty((*ids_restore.shape, grad.shape[2]))
