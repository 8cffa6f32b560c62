"""Masks by cells and blocks: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["cell_mask"]


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
