"""Masks of spans and items, and sampled replacements: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["gumbel_sample", "span_corruption", "text_span_mask"]


# ---- span_corruption

span_corruption = torch.ops.sslfast.span_corruption.default


@torch.library.register_fake("sslfast::span_corruption")
def _(ids: Tensor, lengths: Tensor | None, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows, input_length, target_length = ids.shape[0], args[10], args[11]
    inputs, targets = ids.new_empty((rows, input_length)), ids.new_empty((rows, target_length))
    return inputs, targets, ids.new_empty((rows,), dtype=torch.int64)


# ---- text_span_mask

text_span_mask = torch.ops.sslfast.text_span_mask.default


@torch.library.register_fake("sslfast::text_span_mask")
def _(ids: Tensor, *args: object) -> tuple[Tensor, Tensor, Tensor]:
    shape = tuple(ids.shape)
    return ids.new_empty(shape), ids.new_empty(shape), ids.new_empty(shape, dtype=torch.bool)


# ---- gumbel_sample

gumbel_sample = torch.ops.sslfast.gumbel_sample.default


@torch.library.register_fake("sslfast::gumbel_sample")
def _(logits: Tensor, *args: object) -> Tensor:
    return logits.new_empty((logits.shape[0],), dtype=torch.int64)
