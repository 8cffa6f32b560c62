"""Gradients of the softmax over the similarities of rows with columns, in registers, in Triton.

The products W K and W^T Q with the W of cross_softmax_backward.py, up to D = 512, in half types without the positives:
a program keeps BLOCK_M rows of the first and walks over all of K, or as many of the second over all of Q, and S is made
for each: 2 N M D multiply-adds a side. One launch has the programs of both sides. One side alone takes no more than in
strips, and both take 4 N M D against 3 (_cross_launch.py has where that is worth it). Half types with labels take one
product more a side, of what rounding W has taken off. A side of few programs has its walk cut into runs, each of which
leaves its part of a gradient, and a sum follows.

A step of BLOCK_M x BLOCK_N reads BLOCK_M + 2 BLOCK_N rows, from L2, for 4 BLOCK_M BLOCK_N D FLOPs, as
similarity_softmax_registers.py does, and no weight leaves the program. From device memory that is 2 (N + M) D bytes of
half types, and 4 (N + M) D of gradients, stored once, or once a run. A program adds up the pairs of each of its rows in
order, and so does the sum of the runs: no atomics, the same bits every time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _cross_launch, _launch
from sslfast.kernels.logit_tile import among_negatives, label_shares, logit_tile, positive_pairs
from sslfast.kernels.weight_tile import add_rounded, correction


@triton.jit
def _one_side(
    own,
    other,
    positives_ptr,
    scale_ptr,
    row_limits_ptr,
    label_weights_ptr,
    grad_positive_ptr,
    grad_ptr,
    program,
    size,
    length,
    D,
    runs,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A run's part of the gradient of a block of the own side, (size, D): pairs with the other, (length, D). Without
    gradients of the positives, without them.

    The own side are the columns where COLUMNS. A side is its rows, factors, ids, labels, log-sum-exps and the gradients
    of these; all but the rows may be None, log-sum-exps of one of the sides.
    """
    own_ptr, own_factors_ptr, own_ids_ptr, own_labels_ptr, own_lse_ptr, own_grads_ptr = own
    other_ptr, other_factors_ptr, other_ids_ptr, other_labels_ptr, other_lse_ptr, other_grads_ptr = other
    blocks = tl.cdiv(size, BLOCK_M)
    split, row0 = (program // blocks).to(tl.int64), (program % blocks).to(tl.int64) * BLOCK_M
    row, col, out = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_OUT)
    in_rows = row < size - row0
    scale = tl.load(scale_ptr)
    if own_lse_ptr is not None:
        own_lse = tl.load(own_lse_ptr + row0 + row, in_rows, 0.0)
        own_grad = tl.load(own_grads_ptr + row0 + row, in_rows, 0.0)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    total, left = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    run = tl.cdiv(tl.cdiv(length, runs), BLOCK_N) * BLOCK_N
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
        positive = positive_pairs(positives_ptr, row0, col0, size, length, BLOCK_M, BLOCK_N, COLUMNS)
        among = in_rows[:, None] & in_cols[None, :] & ~positive
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
        if own_labels_ptr is not None:
            weight -= label_shares(
                own_labels_ptr,
                other_labels_ptr,
                label_weights_ptr,
                row0,
                col0,
                size,
                length,
                BLOCK_M,
                BLOCK_N,
                OF_ROWS=not COLUMNS,
                OF_COLUMNS=COLUMNS,
            )
        weight = tl.where(among, weight, 0.0)
        if grad_positive_ptr is not None:
            if COLUMNS:
                grad_positive = tl.load(grad_positive_ptr + col0 + col, in_cols, 0.0)[None, :]
            else:
                grad_positive = tl.load(grad_positive_ptr + row0 + row, in_rows, 0.0)[:, None]
            weight = tl.where(positive, grad_positive, weight)
        total += tl.sum(tl.abs(weight), 1)
        grad, kept = add_rounded(
            grad,
            weight,
            other_ptr,
            other_factors_ptr,
            col0,
            length,
            D,
            out,
            PRECISION,
            SPLIT=own_labels_ptr is not None,
        )
        left += kept
    if own_ptr.dtype.element_ty != tl.float32:
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
    row_labels_ptr,
    col_labels_ptr,
    label_weights_ptr,
    row_lse_ptr,
    col_lse_ptr,
    grad_row_ptr,
    grad_col_ptr,
    grad_positive_ptr,
    d_rows_ptr,
    d_columns_ptr,
    N,
    M,
    D,
    row_runs,
    col_runs,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The blocks of rows, run by run, then those of columns; one of the gradients may be None, and so may what is of
    columns."""
    rows = (q_ptr, row_factors_ptr, row_ids_ptr, row_labels_ptr, row_lse_ptr, grad_row_ptr)
    columns = (k_ptr, col_factors_ptr, col_ids_ptr, col_labels_ptr, col_lse_ptr, grad_col_ptr)
    program, programs = tl.program_id(0), 0
    if d_rows_ptr is not None:
        programs = tl.cdiv(N, BLOCK_M) * row_runs
        if program < programs:
            _one_side(
                rows,
                columns,
                positives_ptr,
                scale_ptr,
                row_limits_ptr,
                label_weights_ptr,
                grad_positive_ptr,
                d_rows_ptr,
                program,
                N,
                M,
                D,
                row_runs,
                BLOCK_M,
                BLOCK_N,
                BLOCK_D,
                BLOCK_OUT,
                COLUMNS=False,
                PRECISION=PRECISION,
            )
    if d_columns_ptr is not None and program >= programs:
        _one_side(
            columns,
            rows,
            positives_ptr,
            scale_ptr,
            row_limits_ptr,
            label_weights_ptr,
            grad_positive_ptr,
            d_columns_ptr,
            program - programs,
            M,
            N,
            D,
            col_runs,
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
    excluded: tuple[Tensor | None, Tensor | None, Tensor | None],
    classes: tuple[Tensor | None, Tensor | None, Tensor | None],
    vectors: tuple[Tensor | None, ...],
    need_rows: bool,
    need_columns: bool,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """Both gradients over the scale, of half types without the positives. The vectors are log-sum-exps of rows and of
    columns, their gradients and those of the positives' logits, which may be None but for the first and the third.
    """
    (size, dim), length = rows.shape, len(columns)
    labelled, sides = classes[0] is not None, need_rows + need_columns
    config = _cross_launch.cross_registers(dim, rows.element_size(), _launch.arch(rows), labelled, precision)
    row_blocks, col_blocks = (triton.cdiv(n, config["BLOCK_M"]) for n in (size, length))
    row_runs = _cross_launch.walk(row_blocks * sides, length, config["BLOCK_N"]) if need_rows else 0
    col_runs = _cross_launch.walk(col_blocks * sides, size, config["BLOCK_N"]) if need_columns else 0
    d_rows = rows.new_empty((max(row_runs, 1), size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_empty((max(col_runs, 1), length if need_columns else 0, dim), dtype=torch.float32)
    cross_registers_kernel[(row_blocks * row_runs + col_blocks * col_runs,)](
        rows,
        columns,
        row_factors,
        col_factors,
        positives,
        scale,
        *excluded,
        *classes,
        *vectors,
        d_rows if need_rows else None,
        d_columns if need_columns else None,
        size,
        length,
        dim,
        row_runs,
        col_runs,
        **config,
        PRECISION=precision,
    )
    d_rows, d_columns = (parts[0] if len(parts) == 1 else parts.sum(0) for parts in (d_rows, d_columns))
    return d_rows, d_columns
