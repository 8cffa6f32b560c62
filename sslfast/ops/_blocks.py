"""Masks by cells and blocks: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["block_mask", "cell_mask", "dino_mask", "ijepa_mask", "inverse_block_mask", "square_mask", "vjepa_mask"]


# ---- cell_mask

cell_mask = torch.ops.sslfast.cell_mask.default


@torch.library.register_fake("sslfast::cell_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    stream: int,
    rows: int,
    frames: int,
    height: int,
    width: int,
    *args: int,
) -> Tensor:
    return like.new_empty((rows, frames, height, width), dtype=torch.bool)


# ---- block_mask, inverse_block_mask

block_mask = torch.ops.sslfast.block_mask.default
inverse_block_mask = torch.ops.sslfast.inverse_block_mask.default


@torch.library.register_fake("sslfast::block_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    targets: Tensor | None,
    target_low: float,
    target_high: float,
    mask_probability: float,
    rows: int,
    height: int,
    width: int,
    *args: object,
) -> Tensor:
    return like.new_empty((rows, height, width), dtype=torch.bool)


@torch.library.register_fake("sslfast::inverse_block_mask")
def _(
    like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, height: int, width: int, *args: object
) -> Tensor:
    return like.new_empty((rows, height, width), dtype=torch.bool)


square_mask = torch.ops.sslfast.square_mask.default


@torch.library.register_fake("sslfast::square_mask")
def _(
    like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, height: int, width: int, *args: object
) -> Tensor:
    return like.new_empty((rows, height, width), dtype=torch.bool)


# ---- dino_mask

dino_mask = torch.ops.sslfast.dino_mask.default


@torch.library.register_fake("sslfast::dino_mask")
def _(
    like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, height: int, width: int, *args: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    capacity = args[9]
    mask = like.new_empty((rows, height * width), dtype=torch.bool)
    indices = like.new_empty((capacity,), dtype=torch.int64)
    return mask, indices, like.new_empty((capacity,), dtype=torch.float32), like.new_empty((1,), dtype=torch.int64)


# ---- ijepa_mask, vjepa_mask

ijepa_mask = torch.ops.sslfast.ijepa_mask.default
vjepa_mask = torch.ops.sslfast.vjepa_mask.default


@torch.library.register_fake("sslfast::ijepa_mask")
def _(like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    encoders, predictors, enc_capacity, pred_capacity = args[8], args[9], args[14], args[15]
    contexts = like.new_empty((encoders, rows, enc_capacity), dtype=torch.int64)
    return contexts, contexts.new_empty((predictors, rows, pred_capacity)), contexts.new_empty((encoders + 1,))


@torch.library.register_fake("sslfast::vjepa_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    rows: int,
    frames: int,
    height: int,
    width: int,
    *args: object,
) -> tuple[Tensor, Tensor]:
    indices = like.new_empty((2, rows, frames * height * width), dtype=torch.int64)
    return indices, indices.new_empty((2,))
