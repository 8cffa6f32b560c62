"""The largest number and the sum of exponentials of rows over prototypes, in Triton.

Of rows x (N, K) with x = t - center: top_n = max_k x_nk and sum_n = sum_k exp(scale (x_nk - top_n)), by runs of columns
that few rows, too, fill a GPU with: (splits, N) of each, which `row_total` puts together. One launch; every number is
read once. Rows of weight 0 are not read: their sum is 0. Sinkhorn-Knopp needs these sums by themselves, between the
columns' sums of one iteration and of the next; soft_cross_entropy_pass.py takes those of its teachers on its way.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _prototype_launch


@triton.jit
def prototype_rows_kernel(
    t_ptr,
    center_ptr,
    weights_ptr,
    top_ptr,
    sum_ptr,
    N,
    K,
    row_stride,
    run,
    scale,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """ROWS rows, columns [split * run, (split + 1) * run)."""
    block, split = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = block * ROWS + tl.arange(0, ROWS)
    read = row < N
    if weights_ptr is not None:
        read = read & (tl.load(weights_ptr + row, read, 0.0) != 0.0)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    end = tl.minimum((split + 1) * run, K)
    for start in range(split * run, end, BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = read[:, None] & (k < end)[None, :]
        x = tl.load(t_ptr + row[:, None] * row_stride + k[None, :], inside, 0.0).to(tl.float32)
        if center_ptr is not None:
            x -= tl.load(center_ptr + k, k < end, 0.0)[None, :]
        x = tl.where(inside, x, float("-inf"))
        new_top = tl.maximum(top, tl.max(x, 1))
        safe = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp((top - safe) * scale) + tl.sum(tl.exp((x - safe[:, None]) * scale), 1)
        top = new_top
    at = split * N + row
    tl.store(top_ptr + at, top, row < N)
    tl.store(sum_ptr + at, total, row < N)


@triton.jit
def row_total(top_ptr, sum_ptr, row, N, splits, scale, SPLITS: tl.constexpr):
    """The largest number of a row and the sum relative to it, of its splits."""
    split = tl.arange(0, SPLITS)
    tops = tl.load(top_ptr + split.to(tl.int64) * N + row, split < splits, float("-inf"))
    sums = tl.load(sum_ptr + split.to(tl.int64) * N + row, split < splits, 0.0)
    top = tl.max(tops, 0)
    return top, tl.sum(tl.where(split < splits, tl.exp((tops - top) * scale) * sums, 0.0), 0)


def prototype_rows(rows: Tensor, center: Tensor | None, weights: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """``(tops, sums)``, each (splits, N)."""
    size, width = rows.shape
    config = _prototype_launch.prototype_rows(width)
    blocks = triton.cdiv(size, config["ROWS"])
    run = _prototype_launch.prototype_run(blocks, width, config["BLOCK"])
    splits = triton.cdiv(width, run)
    tops = rows.new_empty((splits, size), dtype=torch.float32)
    sums = torch.empty_like(tops)
    with _launch.on_device_of(rows):
        prototype_rows_kernel[(blocks, splits)](
            rows, center, weights, tops, sums, size, width, rows.stride(0), run, scale, **config
        )
    return tops, sums
