"""Masks of time series and of spectrograms, negatives among frames: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["negative_indices", "time_span_mask"]


# ---- time_span_mask

time_span_mask = torch.ops.sslfast.time_span_mask.default


@torch.library.register_fake("sslfast::time_span_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    rows: int,
    length: int,
    *args: object,
) -> tuple[Tensor, Tensor]:
    return like.new_empty((rows, length), dtype=torch.bool), like.new_empty((rows,), dtype=torch.int64)


# ---- negative_indices

negative_indices = torch.ops.sslfast.negative_indices.default


@torch.library.register_fake("sslfast::negative_indices")
def _(
    mask: Tensor, seed: Tensor, sample_ids: Tensor | None, negatives: int, dtype: torch.dtype, row_offset: int
) -> Tensor:
    return mask.new_empty((*mask.shape, negatives), dtype=dtype)
