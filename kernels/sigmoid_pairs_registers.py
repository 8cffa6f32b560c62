"""Sigmoid losses of all pairs, and their gradients, in registers, in Triton.

What sigmoid_pairs.py has, up to D = 512: nothing has to be known of all pairs before G of one is. A program keeps
BLOCK_M rows of dQ and walks over all of K, or as many of dK over all of Q: 2 N M D multiply-adds a side, 4 N M D for
both against 3 N M D of the strips, as S is made for each. Some of the programs of one launch take the rows, with the
losses and the sums for scale and bias, the others the columns. That is for small problems, where the launches of the
strips take longer than the arithmetic (_sigmoid_launch.py). Where there are fewer programs than multiprocessors, the
walk is cut into runs, each of which leaves its part of a gradient, and a sum follows.

A step of BLOCK_M x BLOCK_N reads BLOCK_M + 2 BLOCK_N rows, from L2, for 4 BLOCK_M BLOCK_N D FLOPs, as
similarity_softmax_registers.py does, and nothing of G leaves the program. From device memory that is 2 (N + M) D bytes
of half types, and 4 (N + M) D of gradients, stored once, or once a run: rounding is taken out, scale and share are in.
Every program adds up the pairs of each of its rows in order and leaves three numbers in a slot of its own: no atomics,
the same bits in every run.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _sigmoid_launch
from sslfast.kernels.logit_tile import among_negatives, logit_tile, softplus_and_sigmoid
from sslfast.kernels.weight_tile import correction


@triton.jit
def _one_side(
    own_ptr,
    other_ptr,
    own_factors_ptr,
    other_factors_ptr,
    positives_ptr,
    scale_ptr,
    bias_ptr,
    own_ids_ptr,
    other_ids_ptr,
    row_limits_ptr,
    mantissas_ptr,
    grad_ptr,
    sums_ptr,
    block,
    size,
    length,
    D,
    peak,
    share,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    COLUMNS: tl.constexpr,
    SUMS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """A run's part of the gradient of a block of the own side, (size, D): pairs with the other, (length, D), but
    positives and what ids and the limits of rows leave out.

    The own side are the columns where COLUMNS. Where SUMS, the program leaves its three sums. Half types alone have
    mantissas (sigmoid_pairs.py).
    """
    row0 = block.to(tl.int64) * BLOCK_M
    row, col, out = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_OUT)
    in_rows = row < size - row0
    scale, bias = tl.load(scale_ptr), tl.load(bias_ptr)
    if mantissas_ptr is not None:
        lengthen = tl.load(mantissas_ptr + (1 if COLUMNS else 0)) * peak
    if not COLUMNS:
        positive = tl.load(positives_ptr + row0 + row, in_rows, -1)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    total, left = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    losses, products = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    split = tl.program_id(1)
    run = tl.cdiv(tl.cdiv(length, tl.num_programs(1)), BLOCK_N) * BLOCK_N
    for start in range(split * run, tl.minimum((split + 1) * run, length), BLOCK_N):
        col0 = tl.cast(start, tl.int64)
        in_cols = col < length - col0
        product = logit_tile(
            own_ptr,
            other_ptr,
            row0,
            col0,
            size,
            length,
            D,
            1.0,
            own_factors_ptr,
            other_factors_ptr,
            BLOCK_M,
            BLOCK_N,
            BLOCK_D,
            PRECISION,
        )
        if COLUMNS:
            at = tl.load(positives_ptr + col0 + col, in_cols, -1) - row0
            negative = row[:, None] != at.to(tl.int32)[None, :]
        else:
            negative = col[None, :] != (positive - col0).to(tl.int32)[:, None]
        negative = negative & in_rows[:, None] & in_cols[None, :]
        if own_ids_ptr is not None or row_limits_ptr is not None:
            negative = negative & among_negatives(
                product,
                own_ids_ptr,
                other_ids_ptr,
                row_limits_ptr,
                row0,
                col0,
                size,
                length,
                BLOCK_M,
                BLOCK_N,
                TURNED=COLUMNS,
            )
        z = tl.where(negative, product * scale + bias, float("-inf"))
        if SUMS:
            loss, weight = softplus_and_sigmoid(z)
            losses += tl.sum(loss, 1)
            products += tl.sum(weight * product, 1)
        else:
            weight = 1.0 / (1.0 + tl.exp(-z))
        total += tl.sum(weight, 1)
        x = tl.load(other_ptr + col0 * D + col[:, None] * D + out[None, :], in_cols[:, None] & (out < D)[None, :], 0.0)
        if mantissas_ptr is None:  # nothing is rounded
            rounded = weight
        else:
            weight *= lengthen
            if other_factors_ptr is not None:
                factors = tl.load(other_factors_ptr + col0 + col, in_cols, 1.0)[None, :]
                rounded = (weight * factors).to(x.dtype)
                left += tl.sum(rounded.to(tl.float32) * (1.0 / factors), 1)
            else:
                rounded = weight.to(x.dtype)
                left += tl.sum(rounded.to(tl.float32), 1)
        grad = tl.dot(rounded, x, grad, input_precision=PRECISION)
    grad *= scale * share
    if mantissas_ptr is not None:
        grad *= correction(total, left)[:, None]  # which takes out peak and mantissa, too
    at = grad_ptr + (split.to(tl.int64) * size + row0) * D
    tl.store(at + row[:, None] * D + out[None, :], grad, in_rows[:, None] & (out < D)[None, :])
    if SUMS:
        slot = sums_ptr + 3 * (block * tl.num_programs(1) + split)
        tl.store(slot, tl.sum(losses))
        tl.store(slot + 1, tl.sum(products))
        tl.store(slot + 2, tl.sum(total))


@triton.jit
def sigmoid_registers_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    bias_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    mantissas_ptr,
    d_rows_ptr,
    d_columns_ptr,
    sums_ptr,
    N,
    M,
    D,
    peak,
    share,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The blocks of rows, then those of columns; one of the gradients may be None."""
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
                bias_ptr,
                row_ids_ptr,
                col_ids_ptr,
                row_limits_ptr,
                mantissas_ptr,
                d_rows_ptr,
                sums_ptr,
                program,
                N,
                M,
                D,
                peak,
                share,
                BLOCK_M,
                BLOCK_N,
                BLOCK_D,
                BLOCK_OUT,
                COLUMNS=False,
                SUMS=True,
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
            bias_ptr,
            col_ids_ptr,
            row_ids_ptr,
            row_limits_ptr,
            mantissas_ptr,
            d_columns_ptr,
            sums_ptr,
            program - blocks,
            M,
            N,
            D,
            peak,
            share,
            BLOCK_M,
            BLOCK_N,
            BLOCK_D,
            BLOCK_OUT,
            COLUMNS=True,
            SUMS=d_rows_ptr is None,
            PRECISION=PRECISION,
        )


def in_registers(
    inputs: tuple[Tensor | None, ...],
    excluded: tuple[Tensor | None, ...],
    mantissas: Tensor | None,
    peak: float,
    share: float,
    needs: tuple[bool, bool],
    further: int,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Both gradients and the slots of sums, of all pairs but the positives; and as many further slots, to be filled."""
    rows, columns, *_ = inputs
    (size, dim), length = rows.shape, len(columns)
    need_rows, need_columns = needs
    some = any(vector is not None for vector in excluded)
    config = _sigmoid_launch.sigmoid_registers(dim, rows.element_size(), _launch.arch(rows), precision, some)
    row_blocks, col_blocks = (
        triton.cdiv(n, config["BLOCK_M"]) if need else 0 for n, need in zip((size, length), needs, strict=True)
    )
    blocks = row_blocks + col_blocks
    shortest = min(n for n, need in ((length, need_rows), (size, need_columns)) if need)
    splits = triton.cdiv(shortest, _launch.similarity_run(blocks, shortest, config["BLOCK_N"]))
    sums = rows.new_empty(((row_blocks or col_blocks) * splits + further, 3), dtype=torch.float64)
    d_rows = rows.new_empty((splits, size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_empty((splits, length if need_columns else 0, dim), dtype=torch.float32)
    sigmoid_registers_kernel[blocks, splits](
        *inputs,
        *excluded,
        mantissas,
        d_rows if need_rows else None,
        d_columns if need_columns else None,
        sums,
        size,
        length,
        dim,
        peak,
        share,
        **config,
        PRECISION=precision,
    )
    if splits == 1:
        return d_rows[0], d_columns[0], sums
    return d_rows.sum(0), d_columns.sum(0), sums
