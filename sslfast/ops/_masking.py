"""Masks of tokens and patches: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = [
    "mask_indices",
    "mask_token_apply",
    "mask_token_apply_backward",
    "patch_gather",
    "patch_mask",
    "patch_scatter",
    "patch_sum",
    "patch_unshuffle",
    "patch_unshuffle_backward",
    "token_mask",
]


# ---- mask_indices

mask_indices = torch.ops.sslfast.mask_indices.default


@torch.library.register_fake("sslfast::mask_indices")
def _(mask: Tensor) -> tuple[Tensor, Tensor]:
    rows, length = mask.shape
    return mask.new_empty((rows * length,), dtype=torch.int64), mask.new_empty((rows,), dtype=torch.int64)


# ---- token_mask

token_mask = torch.ops.sslfast.token_mask.default


@torch.library.register_fake("sslfast::token_mask")
def _(ids: Tensor, special: Tensor | None, seed: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, length = ids.shape
    masked, counts = (ids.new_empty((n,), dtype=torch.int64) for n in (rows * length, rows))
    return ids.new_empty((rows, length)), ids.new_empty((rows, length)), masked, counts


# ---- patch_mask

patch_mask = torch.ops.sslfast.patch_mask.default


@torch.library.register_fake("sslfast::patch_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    rows: int,
    patches: int,
    keep: int,
    row_offset: int,
    prefix: int = 0,
    ascending: bool = False,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    ids_keep = like.new_empty((rows, prefix + keep), dtype=torch.int64)
    ids_restore = like.new_empty((rows, prefix + patches), dtype=torch.int64)
    return ids_keep, ids_restore, like.new_empty((rows, prefix + patches), dtype=torch.bool)


# ---- patch_gather, patch_scatter, patch_sum

patch_gather = torch.ops.sslfast.patch_gather.default
patch_scatter = torch.ops.sslfast.patch_scatter.default
patch_sum = torch.ops.sslfast.patch_sum.default


@torch.library.register_fake("sslfast::patch_gather")
def _(x: Tensor, ids: Tensor) -> Tensor:
    return x.new_empty((*ids.shape, x.shape[2]))


@torch.library.register_fake("sslfast::patch_scatter")
def _(grad: Tensor, ids_restore: Tensor) -> Tensor:
    return grad.new_empty((*ids_restore.shape, grad.shape[2]))


@torch.library.register_fake("sslfast::patch_sum")
def _(grad: Tensor, ids: Tensor, x_rows: int, patches: int) -> Tensor:
    return grad.new_empty((x_rows, patches, grad.shape[2]))


# ---- patch_unshuffle, mask_token_apply

patch_unshuffle = torch.ops.sslfast.patch_unshuffle.default
patch_unshuffle_backward = torch.ops.sslfast.patch_unshuffle_backward.default
mask_token_apply = torch.ops.sslfast.mask_token_apply.default
mask_token_apply_backward = torch.ops.sslfast.mask_token_apply_backward.default


def _wide(grad: Tensor) -> torch.dtype:
    return torch.float64 if grad.dtype == torch.float64 else torch.float32


@torch.library.register_fake("sslfast::patch_unshuffle")
def _(
    tokens: Tensor,
    mask_token: Tensor,
    positions: Tensor | None,
    ids_restore: Tensor,
    prefix: int,
    dtype: torch.dtype,
) -> Tensor:
    rows, patches = ids_restore.shape
    return tokens.new_empty((rows, prefix + patches, tokens.shape[2]), dtype=dtype)


@torch.library.register_fake("sslfast::patch_unshuffle_backward")
def _(
    grad: Tensor,
    ids_restore: Tensor,
    keep: int,
    prefix: int,
    dtype: torch.dtype,
    need_tokens: bool,
    need_mask_token: bool,
    need_positions: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows, length, width = grad.shape
    tokens = grad.new_empty((rows if need_tokens else 0, prefix + keep, width), dtype=dtype)
    mask_token = grad.new_empty((width if need_mask_token else 0,), dtype=_wide(grad))
    return tokens, mask_token, grad.new_empty((length if need_positions else 0, width), dtype=_wide(grad))


@torch.library.register_fake("sslfast::mask_token_apply")
def _(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("sslfast::mask_token_apply_backward")
def _(grad: Tensor, mask: Tensor, need_x: bool, need_mask_token: bool) -> tuple[Tensor, Tensor]:
    rows, length, width = grad.shape
    x = grad.new_empty((rows if need_x else 0, length, width))
    return x, grad.new_empty((width if need_mask_token else 0,), dtype=_wide(grad))
