"""Softmax over the similarities of rows with columns, in Triton; cross_softmax_backward.py has the gradient.

For rows Q (N, D), columns K (M, D), S = scale * Q K^T and positives p: the log-sum-exps n_i of rows and m_j of columns
over all entries but (i, p(i)), and S_{i, p(i)}. Entries whose row and column have the same id, or whose logit is above
the limit of their row, are left out of the sums like positives. Where rows or columns come with factors, Q and K are
the products of both. S is never stored; scale is read where it lies, so a learnable temperature waits for nothing.

N M D multiply-adds: a program takes GROUP x GROUP tiles, and each tile serves its rows and its columns. Every row has
one slot per group of columns for its partial sums, every column one per group of rows, at most 128 each, and each slot
is written by one program alone: no atomics, the same bits in every run. The maximum is a true running one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.aligned_rows import aligned
from sslfast.kernels.logit_tile import among_negatives, logit_tile, merge_sums, pair_logits, positive_pairs, shifted_sum


@triton.jit
def cross_forward_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    row_shift_ptr,
    row_sum_ptr,
    col_shift_ptr,
    col_sum_ptr,
    N,
    M,
    D,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
    TWO_WAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row_group, col_group = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    scale = tl.load(scale_ptr)
    local = tl.arange(0, BLOCK)
    for j in range(GROUP):
        col0 = (col_group * GROUP + j) * BLOCK
        in_cols = local < M - col0
        col_shift = tl.full((BLOCK,), float("-inf"), tl.float32)
        col_sum = tl.zeros((BLOCK,), tl.float32)
        for i in range(GROUP):
            row0 = (row_group * GROUP + i) * BLOCK
            in_rows = local < N - row0
            logits = logit_tile(
                q_ptr,
                k_ptr,
                row0,
                col0,
                N,
                M,
                D,
                scale,
                row_factors_ptr,
                col_factors_ptr,
                BLOCK,
                BLOCK,
                BLOCK_D,
                PRECISION,
            )
            negative = in_rows[:, None] & in_cols[None, :]
            negative = negative & ~positive_pairs(positives_ptr, row0, col0, N, M, BLOCK, BLOCK)
            if row_ids_ptr is not None or row_limits_ptr is not None:
                negative = negative & among_negatives(
                    logits, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, col0, N, M, BLOCK, BLOCK
                )
            shift, total = shifted_sum(logits, negative, 1)
            slot = col_group * N + row0 + local
            if j > 0:
                # Between rounds a slot may change hands among this program's threads: wait for last round's stores,
                # and for all loads before this round's.
                tl.debug_barrier()
                old_shift = tl.load(row_shift_ptr + slot, in_rows, float("-inf"))
                old_sum = tl.load(row_sum_ptr + slot, in_rows, 0.0)
                tl.debug_barrier()
                shift, total = merge_sums(old_shift, old_sum, shift, total)
            tl.store(row_shift_ptr + slot, shift, in_rows)
            tl.store(row_sum_ptr + slot, total, in_rows)
            if TWO_WAY:
                other_shift, other_sum = shifted_sum(logits, negative, 0)
                col_shift, col_sum = merge_sums(col_shift, col_sum, other_shift, other_sum)
        if TWO_WAY:
            slot = row_group * M + col0 + local
            tl.store(col_shift_ptr + slot, col_shift, in_cols)
            tl.store(col_sum_ptr + slot, col_sum, in_cols)


@triton.jit
def cross_finish_kernel(
    shift_ptr,
    sum_ptr,
    lse_ptr,
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    positive_logits_ptr,
    size,
    M,
    D,
    slots,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    POSITIVES: tl.constexpr,
):
    """Adds up the slots of each row, or of each column; and multiplies each row with its positive."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < size
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for slot in range(slots):
        at = tl.cast(slot, tl.int64) * size + row
        other_shift = tl.load(shift_ptr + at, inside, float("-inf"))
        shift, total = merge_sums(shift, total, other_shift, tl.load(sum_ptr + at, inside, 0.0))
    tl.store(lse_ptr + row, tl.log(total) + shift, inside)
    if POSITIVES:
        positive = tl.load(positives_ptr + row, inside, -1)
        has = inside & (positive >= 0) & (positive < M)
        scale = tl.load(scale_ptr)
        logit = pair_logits(
            q_ptr, k_ptr, row, positive, has, D, scale, row_factors_ptr, col_factors_ptr, BLOCK, BLOCK_D
        )
        tl.store(positive_logits_ptr + row, tl.where(has, logit, float("-inf")), inside)


def forward(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    max_similarity: float,
    two_way: bool,
    keep: int,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
    packed: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del max_similarity  # the CPU's: here the maximum is nearly free
    if rows.dtype == torch.float64:
        raise TypeError("cross_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    rows, columns = aligned(rows), aligned(columns)
    (size, dim), length = rows.shape, len(columns)
    config = _launch.similarity_forward(max(size, length), dim, rows.element_size())
    height = config["BLOCK"] * config["GROUP"]
    row_groups, col_groups = triton.cdiv(size, height), triton.cdiv(length, height)
    row_shifts = rows.new_empty((col_groups, size), dtype=torch.float32)
    col_shifts = rows.new_empty((row_groups, length if two_way else 0), dtype=torch.float32)
    row_sums, col_sums = torch.empty_like(row_shifts), torch.empty_like(col_shifts)
    row_lse, positive_logits = torch.empty_like(row_shifts[0]), torch.empty_like(row_shifts[0])
    col_lse = torch.empty_like(col_shifts[0])
    product = (rows, columns, row_factors, col_factors, positives, scale)
    with _launch.on_device_of(rows):
        cross_forward_kernel[row_groups, col_groups](
            *product,
            row_ids,
            col_ids,
            row_limits,
            row_shifts,
            row_sums,
            col_shifts,
            col_sums,
            size,
            length,
            dim,
            **config,
            TWO_WAY=two_way,
            PRECISION=_launch.input_precision(rows),
        )
        sides = [(row_shifts, row_sums, row_lse, size, col_groups), (col_shifts, col_sums, col_lse, length, row_groups)]
        for side, (shifts, sums, lse, count, slots) in enumerate(sides[: 1 + two_way]):
            cross_finish_kernel[(triton.cdiv(count, 64),)](
                shifts,
                sums,
                lse,
                *product,
                positive_logits,
                count,
                length,
                dim,
                slots,
                BLOCK=64,
                BLOCK_D=config["BLOCK_D"],
                POSITIVES=side == 0,
            )
    return row_lse, col_lse, positive_logits, row_lse.new_empty((keep,), dtype=torch.int16 if packed else row_lse.dtype)
