"""Softmax of rows over their similarities with a queue that takes no gradient, in Triton.

For rows X (N, D) and a queue Q (K, D), S = scale * X Q^T: lse_i = log sum_k exp S_ik, and the mean of the queue under
row i's softmax, mean_i = sum_k exp(S_ik - lse_i) Q_k, which is d lse_i / d X_i divided by scale. One pass, so there is
nothing left to compute backwards. S is never stored. Where rows or the queue come with factors, X and Q are the
products of both, and a weight is multiplied by its factor before it is rounded for the product with the queue. A row's
positive, entries whose row and column have the same id, and logits above the limit of their row can be left out of
both.

This is the forward pass of flash attention with Q for keys and for values: 2 N K D multiply-adds for D up to BLOCK_OUT,
which is 512, but 64 for float32 up to D = 128 (and N K D more for every further slice of BLOCK_OUT columns of the mean,
which makes S again). The queue is cut into `splits` runs, so that few rows still fill the GPU; each run leaves its
maximum, sum and mean, and a second launch adds them up in order: no atomics, the same bits in every run. The maximum is
a true running one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.aligned_rows import first_columns
from sslfast.kernels.few_rows import weighed_sides
from sslfast.kernels.logit_tile import among_negatives, logit_tile
from sslfast.kernels.weight_tile import correction


@triton.jit
def queue_softmax_kernel(
    x_ptr,
    queue_ptr,
    row_factors_ptr,
    col_factors_ptr,
    scale_ptr,
    positives_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    shift_ptr,
    sum_ptr,
    mean_ptr,
    N,
    K,
    D,
    run,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    NEED_MEAN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """BLOCK_M rows against queue rows [split * run, (split + 1) * run), for BLOCK_OUT columns of the mean."""
    row0 = tl.program_id(0).to(tl.int64) * BLOCK_M
    split = tl.program_id(2).to(tl.int64)
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_rows = row < N - row0
    scale = tl.load(scale_ptr)
    shift = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    left = tl.zeros((BLOCK_M,), tl.float32)  # of total, after rounding
    mean = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    end = tl.minimum((split + 1) * run, K)
    for start in range(split * run, end, BLOCK_N):
        col0 = tl.cast(start, tl.int64)
        in_cols = col < end - col0
        logits = logit_tile(
            x_ptr,
            queue_ptr,
            row0,
            col0,
            N,
            end,
            D,
            scale,
            row_factors_ptr,
            col_factors_ptr,
            BLOCK_M,
            BLOCK_N,
            BLOCK_D,
            PRECISION,
        )
        among = in_rows[:, None] & in_cols[None, :]
        if positives_ptr is not None:
            positive = tl.load(positives_ptr + row0 + row, in_rows, -1) - col0
            among = among & (col[None, :] != positive[:, None])
        if row_ids_ptr is not None or row_limits_ptr is not None:
            among = among & among_negatives(
                logits, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, col0, N, end, BLOCK_M, BLOCK_N
            )
        logits = tl.where(among, logits, float("-inf"))
        new_shift = tl.maximum(shift, tl.max(logits, 1))
        safe = tl.where(new_shift == float("-inf"), 0.0, new_shift)  # nothing to sum so far
        factor = tl.exp(shift - safe)
        weights = tl.exp(logits - safe[:, None])
        total = total * factor + tl.sum(weights, 1)
        shift = new_shift
        if NEED_MEAN:
            in_block = in_cols[:, None] & (out < D)[None, :]
            values = tl.load(queue_ptr + col0 * D + col[:, None] * D + out[None, :], in_block, 0.0)
            if col_factors_ptr is not None:
                col_factors = tl.load(col_factors_ptr + col0 + col, in_cols, 1.0)[None, :]
                rounded = (weights * col_factors).to(values.dtype)
                left = left * factor + tl.sum(rounded.to(tl.float32) * (1.0 / col_factors), 1)
            else:
                rounded = weights.to(values.dtype)
                left = left * factor + tl.sum(rounded.to(tl.float32), 1)
            mean = tl.dot(rounded, values, mean * factor[:, None], input_precision=PRECISION)
    at = split * N + row0 + row
    if tl.program_id(1) == 0:
        tl.store(shift_ptr + at, shift, in_rows)
        tl.store(sum_ptr + at, total, in_rows)
    if NEED_MEAN:
        mean *= correction(total, left)[:, None]
        tl.store(mean_ptr + at[:, None] * D + out[None, :], mean, in_rows[:, None] & (out < D)[None, :])


@triton.jit
def queue_softmax_finish_kernel(
    shift_ptr,
    sum_ptr,
    partial_ptr,
    lse_ptr,
    mean_ptr,
    N,
    D,
    splits,
    BLOCK_M: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    NEED_MEAN: tl.constexpr,
):
    """Adds up the runs of each row."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_rows = row < N
    mask = in_rows[:, None] & (out < D)[None, :]
    shift = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    mean = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    for split in range(splits):
        at = tl.cast(split, tl.int64) * N + row
        split_shift = tl.load(shift_ptr + at, in_rows, 0.0)
        new_shift = tl.maximum(shift, split_shift, propagate_nan=tl.PropagateNan.ALL)
        safe = tl.where(new_shift == float("-inf"), 0.0, new_shift)
        factor, split_factor = tl.exp(shift - safe), tl.exp(split_shift - safe)
        total = total * factor + tl.load(sum_ptr + at, in_rows, 0.0) * split_factor
        if NEED_MEAN:
            partial = tl.load(partial_ptr + at[:, None] * D + out[None, :], mask, 0.0)
            mean = mean * factor[:, None] + partial * split_factor[:, None]
        shift = new_shift
    if tl.program_id(1) == 0:
        tl.store(lse_ptr + row, shift + tl.log(total), in_rows)
    if NEED_MEAN:
        mean = tl.where(total[:, None] == 0.0, 0.0, mean / total[:, None])
        tl.store(mean_ptr + row[:, None] * D + out[None, :], mean, mask)


def queue_softmax(
    rows: Tensor,
    queue: Tensor,
    scale: Tensor,
    positives: Tensor | None,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    need_mean: bool,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    if rows.dtype == torch.float64:
        raise TypeError("queue_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    width = rows.shape[1]
    precision = _launch.input_precision(rows)
    rows, queue, row_factors, col_factors = weighed_sides(rows, queue, row_factors, col_factors)
    (size, dim), length = rows.shape, len(queue)
    config = _launch.queue_softmax(dim, rows.element_size(), _launch.arch(rows), precision, need_mean)
    blocks = triton.cdiv(size, config["BLOCK_M"])
    slices = triton.cdiv(dim, config["BLOCK_OUT"]) if need_mean else 1
    run = _launch.queue_run(blocks * slices, length, config["BLOCK_N"])
    splits = triton.cdiv(length, run)
    shifts = rows.new_empty((splits, size), dtype=torch.float32)
    sums, lse = torch.empty_like(shifts), torch.empty_like(shifts[0])
    mean = rows.new_empty((size if need_mean else 0, dim), dtype=torch.float32)
    means = rows.new_empty((splits, *mean.shape), dtype=torch.float32)
    with _launch.on_device_of(rows):
        queue_softmax_kernel[(blocks, slices, splits)](
            rows,
            queue,
            row_factors,
            col_factors,
            scale,
            positives,
            row_ids,
            col_ids,
            row_limits,
            shifts,
            sums,
            means,
            size,
            length,
            dim,
            run,
            **config,
            NEED_MEAN=need_mean,
            PRECISION=precision,
        )
        block, out = 16, config["BLOCK_OUT"]
        queue_softmax_finish_kernel[(triton.cdiv(size, block), slices)](
            shifts,
            sums,
            means,
            lse,
            mean,
            size,
            dim,
            splits,
            BLOCK_M=block,
            BLOCK_OUT=out,
            NEED_MEAN=need_mean,
        )
    return lse, first_columns(mean, width)
