"""Rows of norm 1 and their gradient: C++ on the CPU, Triton on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops._library import triton_library

__all__ = ["unit_rows", "unit_rows_backward_", "unit_rows_gradient"]

unit_rows = torch.ops.sslfast.unit_rows.default
unit_rows_backward_ = torch.ops.sslfast.unit_rows_backward_.default
unit_rows_gradient = torch.ops.sslfast.unit_rows_gradient.default  # the CPU's: a GPU has the other in place


@torch.library.register_fake("sslfast::unit_rows")
def _(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    wide = torch.float64 if z.dtype == torch.float64 else torch.float32
    return z.new_empty(z.shape, dtype=dtype), z.new_empty((z.shape[0], 1), dtype=wide)


@torch.library.register_fake("sslfast::unit_rows_backward_")
def _(grad: Tensor, unit: Tensor, inverse_norm: Tensor) -> None:
    return None


@torch.library.register_fake("sslfast::unit_rows_gradient")
def _(grad: Tensor, z: Tensor, inverse_norm: Tensor) -> Tensor:
    return z.new_empty(z.shape)


def _unit_rows_triton(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    from sslfast.kernels.unit_rows import forward

    return forward(z, dtype)


def _unit_rows_backward_triton(grad: Tensor, unit: Tensor, inverse_norm: Tensor) -> None:
    from sslfast.kernels.unit_rows import backward_

    backward_(grad, unit, inverse_norm)


triton_library.impl("unit_rows", _unit_rows_triton)
triton_library.impl("unit_rows_backward_", _unit_rows_backward_triton)
