"""Masks of words: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["whole_word_mask"]

whole_word_mask = torch.ops.sslfast.whole_word_mask.default


@torch.library.register_fake("sslfast::whole_word_mask")
def _(ids: Tensor, words: Tensor, special: Tensor | None, *args: object) -> tuple[Tensor, ...]:
    rows, length = ids.shape
    masked, counts = (ids.new_empty((n,), dtype=torch.int64) for n in (rows * length, rows))
    return ids.new_empty((rows, length)), ids.new_empty((rows, length)), masked, counts
