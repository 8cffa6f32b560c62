"""Rows divided by their norms, and the way of a gradient back, in Triton.

unit = z / max(|z|, 1e-12) row by row, as F.normalize; grad becomes (grad - unit <grad, unit>) / max(|z|, 1e-12),
without the projection where the norm is below 1e-12. One launch each; a program takes a few rows, which are read twice,
the second time from the cache: N D numbers read and N D written. Saved for backward: unit and one factor a row.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch

_EPS = tl.constexpr(1e-12)


@triton.jit
def unit_rows_kernel(z_ptr, unit_ptr, inverse_norm_ptr, N, D, row_stride, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < N
    square = tl.zeros((ROWS,), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        z = tl.load(z_ptr + row[:, None] * row_stride + d[None, :], inside[:, None] & (d < D)[None, :], 0.0)
        square += tl.sum(z.to(tl.float32) * z.to(tl.float32), 1)
    inverse_norm = 1.0 / tl.maximum(tl.sqrt_rn(square), _EPS, propagate_nan=tl.PropagateNan.ALL)
    tl.store(inverse_norm_ptr + row, inverse_norm, inside)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        z = tl.load(z_ptr + row[:, None] * row_stride + d[None, :], mask, 0.0).to(tl.float32)
        unit = (z * inverse_norm[:, None]).to(unit_ptr.dtype.element_ty)
        tl.store(unit_ptr + row[:, None] * D + d[None, :], unit, mask)


@triton.jit
def unit_rows_backward_kernel(grad_ptr, unit_ptr, inverse_norm_ptr, N, D, ROWS: tl.constexpr, BLOCK_D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < N
    along = tl.zeros((ROWS,), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        at = row[:, None] * D + d[None, :]
        along += tl.sum(tl.load(grad_ptr + at, mask, 0.0) * tl.load(unit_ptr + at, mask, 0.0).to(tl.float32), 1)
    inverse_norm = tl.load(inverse_norm_ptr + row, inside, 0.0)
    along = tl.where(inverse_norm < 1.0 / _EPS, along, 0.0)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        at = row[:, None] * D + d[None, :]
        unit = tl.load(unit_ptr + at, mask, 0.0).to(tl.float32)
        grad = (tl.load(grad_ptr + at, mask, 0.0) - along[:, None] * unit) * inverse_norm[:, None]
        tl.store(grad_ptr + at, grad, mask)


def forward(z: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if z.dtype == torch.float64:
        raise TypeError("unit_rows: float64 runs on the CPU only, got float64 rows on a GPU")
    size, dim = z.shape
    unit, inverse_norm = z.new_empty((size, dim), dtype=dtype), z.new_empty((size, 1), dtype=torch.float32)
    config = _launch.unit_rows(dim)
    with _launch.on_device_of(z):
        unit_rows_kernel[(triton.cdiv(size, config["ROWS"]),)](z, unit, inverse_norm, size, dim, z.stride(0), **config)
    return unit, inverse_norm


def backward_(grad: Tensor, unit: Tensor, inverse_norm: Tensor) -> None:
    size, dim = unit.shape
    config = _launch.unit_rows(dim)
    with _launch.on_device_of(grad):
        unit_rows_backward_kernel[(triton.cdiv(size, config["ROWS"]),)](grad, unit, inverse_norm, size, dim, **config)
