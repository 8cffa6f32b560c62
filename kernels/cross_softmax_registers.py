"""Gradients of the softmax over the similarities of rows with columns, in registers, in Triton.

The products W K and W^T Q with the W of cross_softmax_backward.py, of half types up to D = 512, without the positives:
a program keeps BLOCK_M rows of the first and walks over all of K, or as many of the second over all of Q, and S is made
for each: 2 N M D multiply-adds a side. One launch has the programs of both sides. One side alone takes no more than in
strips, and both take 4 N M D against 3 (_launch.py has where that is worth it). Where there are fewer programs than
multiprocessors, the walk is cut into runs, each of which leaves its part of a gradient, and a sum follows.

A step of BLOCK_M x BLOCK_N reads BLOCK_M + 2 BLOCK_N rows, from L2, for 4 BLOCK_M BLOCK_N D FLOPs, as
similarity_softmax_registers.py does, and no weight leaves the program. From device memory that is 2 (N + M) D bytes,
and 4 (N + M) D of gradients, stored once, or once a run. A program adds up the pairs of each of its rows in order, and
so does the sum of the runs: no atomics, the same bits every time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.logit_tile import among_negatives, logit_tile, positive_pairs
from sslfast.kernels.weight_tile import add_rounded, correction


@triton.jit
def _one_side(
    own_ptr,
    other_ptr,
    own_factors_ptr,
    other_factors_ptr,
    positives_ptr,
    scale_ptr,
    own_ids_ptr,
    other_ids_ptr,
    row_limits_ptr,
    own_lse_ptr,
    own_grads_ptr,
    other_lse_ptr,
    other_grads_ptr,
    grad_ptr,
    block,
    size,
    length,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A run's part of the gradient of a block of the own side, (size, D): pairs with the other, (length, D), but
    positives.

    The own side are the columns where COLUMNS. Log-sum-exps and their gradients may be None for one of the sides.
    """
    row0 = block.to(tl.int64) * BLOCK_M
    row, col, out = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_OUT)
    in_rows = row < size - row0
    scale = tl.load(scale_ptr)
    if own_lse_ptr is not None:
        own_lse = tl.load(own_lse_ptr + row0 + row, in_rows, 0.0)
        own_grad = tl.load(own_grads_ptr + row0 + row, in_rows, 0.0)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    total, left = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    split = tl.program_id(1).to(tl.int64)
    run = tl.cdiv(tl.cdiv(length, tl.num_programs(1)), BLOCK_N) * BLOCK_N
    for start in range(split * run, tl.minimum((split + 1) * run, length), BLOCK_N):
        col0 = tl.cast(start, tl.int64)
        in_cols = col < length - col0
        logits = logit_tile(
            own_ptr,
            other_ptr,
            row0,
            col0,
            size,
            length,
            D,
            scale,
            own_factors_ptr,
            other_factors_ptr,
            BLOCK_M,
            BLOCK_N,
            BLOCK_D,
            PRECISION,
        )
        among = in_rows[:, None] & in_cols[None, :]
        among = among & ~positive_pairs(positives_ptr, row0, col0, size, length, BLOCK_M, BLOCK_N, COLUMNS)
        if own_ids_ptr is not None or row_limits_ptr is not None:
            among = among & among_negatives(
                logits, own_ids_ptr, other_ids_ptr, row_limits_ptr, row0, col0, size, length, BLOCK_M, BLOCK_N, COLUMNS
            )
        weight = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        if own_lse_ptr is not None:
            weight += own_grad[:, None] * tl.exp(logits - own_lse[:, None])
        if other_lse_ptr is not None:
            other_lse = tl.load(other_lse_ptr + col0 + col, in_cols, 0.0)
            other_grad = tl.load(other_grads_ptr + col0 + col, in_cols, 0.0)
            weight += other_grad[None, :] * tl.exp(logits - other_lse[None, :])
        weight = tl.where(among, weight, 0.0)
        total += tl.sum(tl.abs(weight), 1)
        grad, kept = add_rounded(grad, weight, other_ptr, other_factors_ptr, col0, length, D, out, PRECISION)
        left += kept
    grad *= correction(total, left)[:, None]
    at = grad_ptr + (split * size + row0) * D
    tl.store(at + row[:, None] * D + out[None, :], grad, in_rows[:, None] & (out < D)[None, :])


@triton.jit
def cross_registers_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    row_lse_ptr,
    col_lse_ptr,
    grad_row_ptr,
    grad_col_ptr,
    d_rows_ptr,
    d_columns_ptr,
    N,
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The blocks of rows, then those of columns; one of the gradients may be None, and so may what is of columns."""
    program, blocks = tl.program_id(0), 0
    if d_rows_ptr is not None:
        blocks = tl.cdiv(N, BLOCK_M)
        if program < blocks:
            _one_side(
                q_ptr,
                k_ptr,
                row_factors_ptr,
                col_factors_ptr,
                positives_ptr,
                scale_ptr,
                row_ids_ptr,
                col_ids_ptr,
                row_limits_ptr,
                row_lse_ptr,
                grad_row_ptr,
                col_lse_ptr,
                grad_col_ptr,
                d_rows_ptr,
                program,
                N,
                M,
                D,
                BLOCK_M,
                BLOCK_N,
                BLOCK_D,
                BLOCK_OUT,
                COLUMNS=False,
                PRECISION=PRECISION,
            )
    if d_columns_ptr is not None and program >= blocks:
        _one_side(
            k_ptr,
            q_ptr,
            col_factors_ptr,
            row_factors_ptr,
            positives_ptr,
            scale_ptr,
            col_ids_ptr,
            row_ids_ptr,
            row_limits_ptr,
            col_lse_ptr,
            grad_col_ptr,
            row_lse_ptr,
            grad_row_ptr,
            d_columns_ptr,
            program - blocks,
            M,
            N,
            D,
            BLOCK_M,
            BLOCK_N,
            BLOCK_D,
            BLOCK_OUT,
            COLUMNS=True,
            PRECISION=PRECISION,
        )


def in_registers(
    rows: Tensor,
    columns: Tensor,
    row_factors: Tensor | None,
    col_factors: Tensor | None,
    positives: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    row_lse: Tensor,
    col_lse: Tensor | None,
    grad_row: Tensor,
    grad_col: Tensor | None,
    need_rows: bool,
    need_columns: bool,
) -> tuple[Tensor, Tensor]:
    """Both gradients of all pairs but the positives, over the scale."""
    (size, dim), length = rows.shape, len(columns)
    config = _launch.side_registers(dim, _launch.arch(rows))
    blocks = sum(triton.cdiv(n, config["BLOCK_M"]) for n, need in ((size, need_rows), (length, need_columns)) if need)
    shortest = min(n for n, need in ((length, need_rows), (size, need_columns)) if need)
    splits = triton.cdiv(shortest, _launch.similarity_run(blocks, shortest, config["BLOCK_N"]))
    d_rows = rows.new_empty((splits, size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_empty((splits, length if need_columns else 0, dim), dtype=torch.float32)
    cross_registers_kernel[blocks, splits](
        rows,
        columns,
        row_factors,
        col_factors,
        positives,
        scale,
        row_ids,
        col_ids,
        row_limits,
        row_lse,
        col_lse,
        grad_row,
        grad_col,
        d_rows if need_rows else None,
        d_columns if need_columns else None,
        size,
        length,
        dim,
        **config,
        PRECISION=_launch.input_precision(rows),
    )
    if splits == 1:
        return d_rows[0], d_columns[0]
    return d_rows.sum(0), d_columns.sum(0)
