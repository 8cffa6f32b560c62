"""Softmax over the similarities of rows with themselves, forward, in Triton.

For rows X (M, D), S = scale * X X^T and positives p: the log-sum-exp n_i over the negatives (all j but i and p(i)) and
S_{i, p(i)}. S is never stored. The gradient is in similarity_softmax_backward.py.

2 launches, M^2 D / 2 multiply-adds: S is symmetric, so a program takes GROUP x GROUP tiles on or above the diagonal and
each tile above it serves its rows and its columns. Every row has one slot per group of columns for its partial sums, at
most 128 slots or 1 KiB, and each is written by one program alone: no atomics, the same bits in every run. The maximum
is a true running one, except where |S| <= 40 is known (unit rows at a temperature of 0.025 or more): there exp is safe
without it, and one exp serves both sides.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.logit_tile import logit_tile, merge_sums, pair_logits, shifted_sum

_BOUND = 40.0  # exp(S) of |S| up to this neither overflows nor underflows, nor does a sum of 2^50 of them


@triton.jit
def off_diagonal(row0, col0, M, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Where a tile's entry is within the matrix and off its diagonal."""
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, COLS)[None, :]
    return (row < M - row0) & (col < M - col0) & (row - col != (col0 - row0).to(tl.int32))


@triton.jit
def similarity_forward_kernel(
    x_ptr,
    positives_ptr,
    shift_ptr,
    sum_ptr,
    M,
    D,
    scale,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
    BOUNDED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Program p of the triangle is group (row_group, col_group), col_group * (col_group + 1) / 2 + row_group = p.
    program = tl.program_id(0).to(tl.int64)
    col_group = ((tl.sqrt(8.0 * program.to(tl.float32) + 1.0) - 1.0) / 2.0).to(tl.int64)
    col_group += tl.where((col_group + 1) * (col_group + 2) // 2 <= program, 1, 0)
    col_group -= tl.where(col_group * (col_group + 1) // 2 > program, 1, 0)
    row_group = program - col_group * (col_group + 1) // 2

    local = tl.arange(0, BLOCK)
    for j in range(GROUP):
        col0 = (col_group * GROUP + j) * BLOCK
        in_cols = local < M - col0
        col_positive = tl.load(positives_ptr + col0 + local, in_cols, -1)
        col_shift = tl.full((BLOCK,), float("-inf"), tl.float32)
        col_sum = tl.zeros((BLOCK,), tl.float32)
        for i in range(GROUP):
            row0 = (row_group * GROUP + i) * BLOCK
            in_rows = local < M - row0
            row_positive = tl.load(positives_ptr + row0 + local, in_rows, -1)
            logits = logit_tile(x_ptr, x_ptr, row0, col0, M, M, D, scale, BLOCK, BLOCK, BLOCK_D, PRECISION)
            other = off_diagonal(row0, col0, M, BLOCK, BLOCK)
            row_negative = other & (local[None, :] != (row_positive - col0).to(tl.int32)[:, None])
            col_negative = other & (local[:, None] != (col_positive - row0).to(tl.int32)[None, :])
            slot = col_group * M + row0 + local
            if BOUNDED:
                e = tl.exp(logits)
                tile_sum = tl.sum(tl.where(row_negative, e, 0.0), 1)
                col_sum += tl.sum(tl.where(col_negative, e, 0.0), 0)
                if j > 0:
                    # Between rounds a slot may change hands among this program's threads: wait for last round's
                    # stores, and for all loads before this round's.
                    tl.debug_barrier()
                    tile_sum += tl.load(sum_ptr + slot, in_rows, 0.0)
                    tl.debug_barrier()
            else:
                tile_shift, tile_sum = shifted_sum(logits, row_negative, 1)
                if j > 0:
                    tl.debug_barrier()
                    old_shift = tl.load(shift_ptr + slot, in_rows, float("-inf"))
                    old_sum = tl.load(sum_ptr + slot, in_rows, 0.0)
                    tl.debug_barrier()
                    tile_shift, tile_sum = merge_sums(old_shift, old_sum, tile_shift, tile_sum)
                tl.store(shift_ptr + slot, tile_shift, in_rows)
                other_shift, other_sum = shifted_sum(logits, col_negative, 0)
                col_shift, col_sum = merge_sums(col_shift, col_sum, other_shift, other_sum)
            tl.store(sum_ptr + slot, tile_sum, in_rows)
        # A group on the diagonal has taken all of its tiles for the rows' side already.
        if row_group != col_group:
            slot = row_group * M + col0 + local
            if not BOUNDED:
                tl.store(shift_ptr + slot, col_shift, in_cols)
            tl.store(sum_ptr + slot, col_sum, in_cols)


@triton.jit
def similarity_finish_kernel(
    x_ptr,
    positives_ptr,
    shift_ptr,
    sum_ptr,
    lse_ptr,
    positive_logits_ptr,
    M,
    D,
    slots,
    scale,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BOUNDED: tl.constexpr,
):
    """Adds up the slots of each row, and multiplies it with its positive."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < M
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for slot in range(slots):
        at = tl.cast(slot, tl.int64) * M + row
        slot_sum = tl.load(sum_ptr + at, inside, 0.0)
        if BOUNDED:
            total += slot_sum
        else:
            shift, total = merge_sums(shift, total, tl.load(shift_ptr + at, inside, float("-inf")), slot_sum)
    lse = tl.log(total)
    if not BOUNDED:
        lse += shift
    tl.store(lse_ptr + row, lse, inside)

    positive = tl.load(positives_ptr + row, inside, -1)
    has = inside & (positive >= 0)
    logit = pair_logits(x_ptr, x_ptr, row, positive, has, D, scale, BLOCK, BLOCK_D)
    tl.store(positive_logits_ptr + row, tl.where(has, logit, float("-inf")), inside)


def forward(rows: Tensor, positives: Tensor, scale: float, max_norm: float, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    size, dim = rows.shape
    rows = supported_rows(rows)
    config = _launch.similarity_forward(size, dim, rows.element_size())
    bounded = is_bounded(scale, max_norm)
    slots = triton.cdiv(size, config["BLOCK"] * config["GROUP"])
    sums = rows.new_empty((slots, size), dtype=torch.float32)
    shifts = sums if bounded else torch.empty_like(sums)
    lse, positive_logits = torch.empty_like(sums[0]), torch.empty_like(sums[0])
    precision = _launch.input_precision(rows)
    with _launch.on_device_of(rows):
        similarity_forward_kernel[(slots * (slots + 1) // 2,)](
            rows, positives, shifts, sums, size, dim, scale, **config, BOUNDED=bounded, PRECISION=precision
        )
        similarity_finish_kernel[(triton.cdiv(size, 64),)](
            rows,
            positives,
            shifts,
            sums,
            lse,
            positive_logits,
            size,
            dim,
            slots,
            scale,
            BLOCK=64,
            BLOCK_D=config["BLOCK_D"],
            BOUNDED=bounded,
        )
    return lse, positive_logits, lse.new_empty((keep,))


def is_bounded(scale: float, max_norm: float) -> bool:
    """Whether exp(S) is safe as it is."""
    return abs(scale) * max_norm * max_norm <= _BOUND


def supported_rows(rows: Tensor) -> Tensor:
    if rows.dtype == torch.float64:
        raise TypeError("similarity_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    return rows.contiguous()
