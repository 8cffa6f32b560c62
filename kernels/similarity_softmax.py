"""Softmax over the similarities of rows with themselves, in Triton.

For rows X (M, D), S = scale * X X^T and positives p: the log-sum-exp n_i over the negatives (all j but i and p(i)) and
S_{i, p(i)}; backwards, dX = scale * W X with W_ij = V_ij + V_ji, V_ij = a_i exp(S_ij - n_i), and V_{i, p(i)} the
gradient of the positive's logit. Neither S nor W is ever stored.

Forward, 2 launches, M^2 D multiply-adds / 2: S is symmetric, so a program takes GROUP x GROUP tiles on or above the
diagonal and each tile above it serves its rows and its columns. Every row has one slot per group of columns for its
partial sums, at most 128 slots or 1 KiB, and each is written by one program alone: no atomics, the same bits in every
run. The maximum is a true running one, except where |S| <= 40 is known (unit rows at a temperature of 0.025 or
more): there exp is safe without it, and one exp serves both sides.

Backward, 1 launch, 2 M^2 D multiply-adds for D up to BLOCK_OUT: a program keeps BLOCK_M rows and BLOCK_OUT columns of
dX in registers and walks over all rows of X, so each S_ij is made twice, and as often again for every further slice of
BLOCK_OUT columns. Halving that would need float atomics on dX. The gradient weight has the positive
subtracted in float32 before it is rounded for the second product.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch

BOUND = 40.0  # exp(S) of |S| up to this neither overflows nor underflows, nor does a sum of 2^50 of them


@triton.jit
def _tile(
    x_ptr,
    row0,
    col0,
    M,
    D,
    scale,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Logits of ROWS rows from row0 and COLS columns from col0, float32.

    row0 and col0 are int64 scalars; within a tile offsets fit in 32 bits, which halves the registers of addresses.
    """
    row, col, lane = tl.arange(0, ROWS), tl.arange(0, COLS), tl.arange(0, BLOCK_D)
    x_row_ptr = x_ptr + row0 * D + row[:, None] * D + lane[None, :]
    x_col_ptr = x_ptr + col0 * D + col[None, :] * D + lane[:, None]
    in_rows, in_cols = (row < M - row0)[:, None], (col < M - col0)[None, :]
    logits = tl.zeros((ROWS, COLS), tl.float32)
    for start in range(0, D, BLOCK_D):
        x_row = tl.load(x_row_ptr + start, in_rows & (lane < D - start)[None, :], 0.0)
        x_col = tl.load(x_col_ptr + start, in_cols & (lane < D - start)[:, None], 0.0)
        logits = tl.dot(x_row, x_col, logits, input_precision=PRECISION)
    return logits * scale


@triton.jit
def _other(row0, col0, M, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Where a tile's entry is within the matrix and off its diagonal."""
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, COLS)[None, :]
    return (row < M - row0) & (col < M - col0) & (row - col != (col0 - row0).to(tl.int32))


@triton.jit
def _shifted_sum(logits, mask, AXIS: tl.constexpr):
    """Maximum over an axis and the sum of exponentials below it; (-inf, 0) where the mask is empty."""
    logits = tl.where(mask, logits, float("-inf"))
    shift = tl.max(logits, AXIS)
    safe = tl.where(shift == float("-inf"), 0.0, shift)
    return shift, tl.sum(tl.exp(logits - tl.expand_dims(safe, AXIS)), AXIS)


@triton.jit
def _merge(shift, total, shift2, total2):
    """exp(shift) * total + exp(shift2) * total2, as (shift, total)."""
    top = tl.maximum(shift, shift2, propagate_nan=tl.PropagateNan.ALL)
    safe = tl.where(top == float("-inf"), 0.0, top)
    return top, total * tl.exp(shift - safe) + total2 * tl.exp(shift2 - safe)


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
            logits = _tile(x_ptr, row0, col0, M, D, scale, BLOCK, BLOCK, BLOCK_D, PRECISION)
            other = _other(row0, col0, M, BLOCK, BLOCK)
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
                tile_shift, tile_sum = _shifted_sum(logits, row_negative, 1)
                if j > 0:
                    tl.debug_barrier()
                    old_shift = tl.load(shift_ptr + slot, in_rows, float("-inf"))
                    old_sum = tl.load(sum_ptr + slot, in_rows, 0.0)
                    tl.debug_barrier()
                    tile_shift, tile_sum = _merge(old_shift, old_sum, tile_shift, tile_sum)
                tl.store(shift_ptr + slot, tile_shift, in_rows)
                other_shift, other_sum = _shifted_sum(logits, col_negative, 0)
                col_shift, col_sum = _merge(col_shift, col_sum, other_shift, other_sum)
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
            shift, total = _merge(shift, total, tl.load(shift_ptr + at, inside, float("-inf")), slot_sum)
    lse = tl.log(total)
    if not BOUNDED:
        lse += shift
    tl.store(lse_ptr + row, lse, inside)

    positive = tl.load(positives_ptr + row, inside, 0)
    logit = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        x = tl.load(x_ptr + row[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        y = tl.load(x_ptr + positive[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        logit += tl.sum(x * y, 1)
    tl.store(positive_logits_ptr + row, logit * scale, inside)


@triton.jit
def similarity_backward_kernel(
    x_ptr,
    positives_ptr,
    lse_ptr,
    grad_lse_ptr,
    grad_positive_ptr,
    grad_ptr,
    M,
    D,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row0 = tl.program_id(0).to(tl.int64) * BLOCK_M
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_rows = row < M - row0
    row_positive = tl.load(positives_ptr + row0 + row, in_rows, -1)
    row_lse = tl.load(lse_ptr + row0 + row, in_rows, 0.0)
    row_grad = tl.load(grad_lse_ptr + row0 + row, in_rows, 0.0)
    row_grad_positive = tl.load(grad_positive_ptr + row0 + row, in_rows, 0.0)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    for start in range(0, M, BLOCK_N):
        col0 = tl.cast(start, tl.int64)
        in_cols = col < M - col0
        col_positive = tl.load(positives_ptr + col0 + col, in_cols, -1)
        col_lse = tl.load(lse_ptr + col0 + col, in_cols, 0.0)
        col_grad = tl.load(grad_lse_ptr + col0 + col, in_cols, 0.0)
        col_grad_positive = tl.load(grad_positive_ptr + col0 + col, in_cols, 0.0)
        logits = _tile(x_ptr, row0, col0, M, D, scale, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION)
        from_row = tl.where(
            col[None, :] == (row_positive - col0).to(tl.int32)[:, None],
            row_grad_positive[:, None],
            row_grad[:, None] * tl.exp(logits - row_lse[:, None]),
        )
        from_col = tl.where(
            row[:, None] == (col_positive - row0).to(tl.int32)[None, :],
            col_grad_positive[None, :],
            col_grad[None, :] * tl.exp(logits - col_lse[None, :]),
        )
        weight = tl.where(_other(row0, col0, M, BLOCK_M, BLOCK_N), from_row + from_col, 0.0)
        x = tl.load(x_ptr + col0 * D + col[:, None] * D + out[None, :], in_cols[:, None] & (out < D)[None, :], 0.0)
        grad = tl.dot(weight.to(x.dtype), x, grad, input_precision=PRECISION)
    mask = in_rows[:, None] & (out < D)[None, :]
    tl.store(grad_ptr + row0 * D + row[:, None] * D + out[None, :], grad * scale, mask)


def forward(rows: Tensor, positives: Tensor, scale: float, max_norm: float) -> tuple[Tensor, Tensor]:
    size, dim = rows.shape
    rows = _supported(rows)
    config = _launch.similarity_forward(size, dim, rows.element_size())
    bounded = abs(scale) * max_norm * max_norm <= BOUND
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
    return lse, positive_logits


def backward(
    rows: Tensor,
    positives: Tensor,
    lse: Tensor,
    grad_lse: Tensor,
    grad_positive: Tensor,
    scale: float,
    max_norm: float,
) -> Tensor:
    size, dim = rows.shape
    rows = _supported(rows)
    config = _launch.similarity_backward(dim, rows.element_size())
    grad = rows.new_empty((size, dim), dtype=torch.float32)
    peak = None
    if rows.dtype == torch.float16:
        # Weights of about grad / M would be below float16's range: bring their peak to 256 and take it out again.
        peak = torch.maximum(grad_lse.abs().amax(), grad_positive.abs().amax()).clamp_min(1e-30) / 256
        grad_lse, grad_positive = grad_lse / peak, grad_positive / peak
    grid = (triton.cdiv(size, config["BLOCK_M"]), triton.cdiv(dim, config["BLOCK_OUT"]))
    with _launch.on_device_of(rows):
        similarity_backward_kernel[grid](
            rows,
            positives,
            lse,
            grad_lse.contiguous(),
            grad_positive.contiguous(),
            grad,
            size,
            dim,
            scale,
            **config,
            PRECISION=_launch.input_precision(rows),
        )
    return grad if peak is None else grad * peak


def _supported(rows: Tensor) -> Tensor:
    if rows.dtype == torch.float64:
        raise TypeError("similarity_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    return rows.contiguous()
