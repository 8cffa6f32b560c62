"""Small batches of pairs: C++ on the CPU; a GPU runs the operators in tiles."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["few_pairs"]

few_pairs = torch.ops.sslfast.few_pairs.default


@torch.library.register_fake("sslfast::few_pairs")
def _(rows: Tensor, columns: Tensor, *args: object) -> list[Tensor]:
    wide = torch.float64 if torch.float64 in (rows.dtype, columns.dtype) else torch.float32
    shapes = (rows.shape, columns.shape, (), ())
    needed = [shape for shape, need in zip(shapes, args[7:], strict=True) if need]
    return [rows.new_empty(shape, dtype=wide) for shape in ((), *needed)]
