"""Gradient of the softmax over the similarities of rows with themselves, in registers: one launch or two, in Triton.

dX = scale * W X with the W of similarity_softmax_backward.py, in 2 M^2 D multiply-adds: a program keeps BLOCK_M rows
and BLOCK_OUT columns of dX and walks over rows of X, so each S_ij is made twice, and as often again for every further
slice of BLOCK_OUT columns: there is one up to D = 512, which is as far as this goes, but for float32 two of 64 at
D = 128. That is for small problems, where the launches of the strips take longer than the arithmetic. Half types with
labels take one product more, of what rounding W has taken off.

Where there are fewer blocks of rows than multiprocessors, the walk is cut into runs, each of which leaves its part of
dX; a second launch adds them up: no atomics, the same bits in every run.

A step of BLOCK_M x BLOCK_N reads BLOCK_M + 2 BLOCK_N rows of X, from L2, for 4 BLOCK_M BLOCK_N D FLOPs: 24 bytes a
KFLOP with 64 x 64 logits, up to D = 256, and 32 with the 64 x 32 or 32 x 64 that are left to wider rows (40). With
labels it is 6 BLOCK_M BLOCK_N D: 16, 21 and 27. float32 reads twice as much: 64 with 64 x 32, and 96 or 128 with the
32 x 32 or 32 x 16 that are left to plain cores above D = 128.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.logit_tile import label_shares, logit_tile, off_diagonal
from sslfast.kernels.weight_tile import add_rounded, correction


@triton.jit
def one_sided(logits, lse, grad, BOUNDED: tl.constexpr):
    """V at negatives: a exp(S - n). Where BOUNDED, grad is a exp(-n)."""
    return grad * tl.exp(logits if BOUNDED else logits - lse)


@triton.jit
def similarity_backward_kernel(
    x_ptr,
    factors_ptr,
    positives_ptr,
    lse_ptr,
    grad_lse_ptr,
    grad_positive_ptr,
    labels_ptr,
    label_weights_ptr,
    grad_ptr,
    M,
    D,
    run,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BOUNDED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """BLOCK_M rows against rows [split * run, (split + 1) * run): their part of BLOCK_OUT columns of the gradient."""
    row0 = tl.program_id(0).to(tl.int64) * BLOCK_M
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_rows = row < M - row0
    row_positive = tl.load(positives_ptr + row0 + row, in_rows, -1)
    row_lse = tl.load(lse_ptr + row0 + row, in_rows, 0.0)
    row_grad = tl.load(grad_lse_ptr + row0 + row, in_rows, 0.0)
    row_grad_positive = tl.zeros((BLOCK_M,), tl.float32)
    if grad_positive_ptr is not None:
        row_grad_positive = tl.load(grad_positive_ptr + row0 + row, in_rows, 0.0)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    total, left = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    split = tl.program_id(2).to(tl.int64)
    end = tl.minimum((split + 1) * run, M)
    for start in range(split * run, end, BLOCK_N):
        col0 = tl.cast(start, tl.int64)
        in_cols = col < M - col0
        col_positive = tl.load(positives_ptr + col0 + col, in_cols, -1)
        col_lse = tl.load(lse_ptr + col0 + col, in_cols, 0.0)
        col_grad = tl.load(grad_lse_ptr + col0 + col, in_cols, 0.0)
        col_grad_positive = tl.zeros((BLOCK_N,), tl.float32)
        if grad_positive_ptr is not None:
            col_grad_positive = tl.load(grad_positive_ptr + col0 + col, in_cols, 0.0)
        logits = logit_tile(
            x_ptr, x_ptr, row0, col0, M, M, D, scale, factors_ptr, factors_ptr, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
        )
        of_row = col[None, :] == (row_positive - col0).to(tl.int32)[:, None]
        of_col = row[:, None] == (col_positive - row0).to(tl.int32)[None, :]
        from_row = one_sided(logits, row_lse[:, None], row_grad[:, None], BOUNDED)
        from_col = one_sided(logits, col_lse[None, :], col_grad[None, :], BOUNDED)
        weight = tl.where(of_row, row_grad_positive[:, None], from_row)
        weight += tl.where(of_col, col_grad_positive[None, :], from_col)
        if labels_ptr is not None:
            shares = label_shares(
                labels_ptr, labels_ptr, label_weights_ptr, row0, col0, M, M, BLOCK_M, BLOCK_N, OF_COLUMNS=True
            )
            weight -= tl.where(of_row | of_col, 0.0, shares)
        weight = tl.where(off_diagonal(row0, col0, M, BLOCK_M, BLOCK_N), weight, 0.0)
        total += tl.sum(tl.abs(weight), 1)
        grad, kept = add_rounded(
            grad, weight, x_ptr, factors_ptr, col0, M, D, out, PRECISION, SPLIT=labels_ptr is not None
        )
        left += kept
    if grad_positive_ptr is None:
        grad *= correction(total, left)[:, None]
    mask = in_rows[:, None] & (out < D)[None, :]
    tl.store(grad_ptr + (split * M + row0) * D + row[:, None] * D + out[None, :], grad * scale, mask)


def in_registers(
    rows: Tensor,
    factors: Tensor | None,
    vectors: tuple[Tensor | None, ...],
    classes: tuple[Tensor | None, ...],
    scale: float,
    bounded: bool,
    precision: str,
) -> Tensor:
    size, dim = rows.shape
    labelled = classes[0] is not None
    config = _launch.similarity_backward(dim, rows.element_size(), _launch.arch(rows), labelled, precision)
    blocks, slices = triton.cdiv(size, config["BLOCK_M"]), triton.cdiv(dim, config["BLOCK_OUT"])
    run = _launch.similarity_run(blocks * slices, size, config["BLOCK_N"])
    splits = triton.cdiv(size, run)
    grads = rows.new_empty((splits, size, dim), dtype=torch.float32)
    similarity_backward_kernel[blocks, slices, splits](
        rows,
        factors,
        *vectors,
        *classes,
        grads,
        size,
        dim,
        run,
        scale,
        **config,
        BOUNDED=bounded,
        PRECISION=precision,
    )
    return grads[0] if splits == 1 else grads.sum(0)
