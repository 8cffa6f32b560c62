"""The launches that make a strip of rows with all columns for one_way_softmax.py: exponentials, rows' sums and weights.

The first leaves, of every tile, its exponentials below its own maxima; the second adds up the tiles of each row; the
third makes weights of the exponentials, of the sides' type, for the products.
"""

import triton
import triton.language as tl

from sslfast.kernels.logit_tile import (
    among_negatives,
    label_shares,
    logit_tile,
    merge_sums,
    pair_logits,
    positive_pairs,
    softplus_and_sigmoid,
    tile_of_strip,
)
from sslfast.kernels.weight_tile import add_sums, store_weights


@triton.jit
def one_way_logits_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    strip_ptr,
    shift_ptr,
    sum_ptr,
    row_start,
    height,
    stride,
    N,
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Exponentials below the maximum of each row of a tile, and these maxima and sums; the strip may be None."""
    row_block, col_block = tile_of_strip(N - row_start, BLOCK_M)
    tile_row, tile_col = row_block * BLOCK_M, col_block * BLOCK_N
    row0 = row_start + tile_row
    scale = tl.load(scale_ptr)
    logits = logit_tile(
        q_ptr,
        k_ptr,
        row0,
        tile_col,
        N,
        M,
        D,
        scale,
        row_factors_ptr,
        col_factors_ptr,
        BLOCK_M,
        BLOCK_N,
        BLOCK_D,
        PRECISION,
    )
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    in_rows, in_cols = row < N - row0, col < M - tile_col
    negative = in_cols[None, :] & ~positive_pairs(positives_ptr, row0, tile_col, N, M, BLOCK_M, BLOCK_N)
    if row_ids_ptr is not None or row_limits_ptr is not None:
        negative = negative & among_negatives(
            logits, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, tile_col, N, M, BLOCK_M, BLOCK_N
        )
    logits = tl.where(negative, logits, float("-inf"))
    shift = tl.max(logits, 1)
    logits = tl.exp(logits - tl.where(shift == float("-inf"), 0.0, shift)[:, None])
    slot = col_block * height + tile_row + row
    tl.store(shift_ptr + slot, shift, in_rows)
    tl.store(sum_ptr + slot, tl.sum(logits, 1), in_rows)
    if strip_ptr is not None:
        at = strip_ptr + tile_row * stride + tile_col + row[:, None] * stride + col[None, :]
        tl.store(at, logits, in_rows[:, None] & in_cols[None, :])


@triton.jit
def one_way_rows_kernel(
    shift_ptr,
    sum_ptr,
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    known_lse_ptr,
    known_positive_ptr,
    weights_ptr,
    losses_ptr,
    lse_ptr,
    shares_ptr,
    row_start,
    height,
    slots,
    N,
    M,
    D,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Adds up the slots of each row of the strip, SLOTS at a time; losses, log-sum-exps and weighted derivatives."""
    line = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = row_start + line
    inside = row < N
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        at = slot.to(tl.int64)[:, None] * height + line[None, :]
        mask = (slot < slots)[:, None] & inside[None, :]
        shifts = tl.load(shift_ptr + at, mask, float("-inf"))
        top = tl.max(shifts, 0)
        safe = tl.where(top == float("-inf"), 0.0, top)
        sums = tl.load(sum_ptr + at, mask, 0.0) * tl.exp(shifts - safe[None, :])
        shift, total = merge_sums(shift, total, top, tl.sum(sums, 0))
    if known_lse_ptr is not None:
        shift, total = merge_sums(shift, total, tl.load(known_lse_ptr + row, inside, float("-inf")), 1.0)
    lse = tl.log(total) + shift
    if known_positive_ptr is not None:
        positive = tl.load(known_positive_ptr + row, inside, 0.0)
        has = positive != float("-inf")
    else:
        at = tl.load(positives_ptr + row, inside, -1)
        has = inside & (at >= 0) & (at < M)
        scale = tl.load(scale_ptr)
        positive = pair_logits(q_ptr, k_ptr, row, at, has, D, scale, row_factors_ptr, col_factors_ptr, BLOCK, BLOCK_D)
        positive = tl.where(has, positive, float("-inf"))
    loss, share = softplus_and_sigmoid(lse - positive)
    # An infinite feature may make nothing infinite but its own pair's logit, which would count as a perfect pair.
    loss += tl.where(has, 0.0 * positive, 0.0)
    if weights_ptr is not None:
        share *= tl.load(weights_ptr + row, inside, 0.0)
    tl.store(losses_ptr + row, loss, inside)
    tl.store(lse_ptr + row, lse, inside)
    tl.store(shares_ptr + row, share, inside)


@triton.jit
def one_way_weights_kernel(
    strip_ptr,
    shift_ptr,
    lse_ptr,
    shares_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    row_labels_ptr,
    col_labels_ptr,
    label_weights_ptr,
    row_weights_ptr,
    col_weights_ptr,
    row_sums_ptr,
    col_sums_ptr,
    row_start,
    height,
    stride,
    N,
    M,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Weights of the strip's exponentials, on their way to rows and to columns, as in cross_weights_kernel; the way to
    rows may be the strip itself. BLOCK_N is that of the tiles. Log-sum-exps and shares are the strip's alone. Weights
    in PARTS have rows of that many strides.
    """
    row_block, col_block = tile_of_strip(N - row_start, BLOCK_M)
    tile_row, tile_col = row_block * BLOCK_M, col_block * BLOCK_N
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    row0 = row_start + tile_row
    in_rows, in_cols = row < N - row0, col < M - tile_col
    mask = in_rows[:, None] & in_cols[None, :]
    place = tile_row * stride + tile_col
    weights = tl.load(strip_ptr + place + row[:, None] * stride + col[None, :], mask, 0.0)
    tl.debug_barrier()  # every thread has loaded before one stores to the strip
    shift = tl.load(shift_ptr + col_block * height + tile_row + row, in_rows, float("-inf"))
    lse = tl.load(lse_ptr + tile_row + row, in_rows, 0.0)
    share = tl.load(shares_ptr + tile_row + row, in_rows, 0.0)
    # Where a tile has nothing to sum its numbers are 0; a NaN among them is one in the log-sum-exp, and the share, too.
    factor = tl.where(shift == float("-inf"), 0.0, tl.exp(shift - lse)) * share
    weights *= factor[:, None]
    if row_labels_ptr is not None:
        weights -= label_shares(
            row_labels_ptr, col_labels_ptr, label_weights_ptr, row0, tile_col, N, M, BLOCK_M, BLOCK_N
        )
        positive = positive_pairs(positives_ptr, row0, tile_col, N, M, BLOCK_M, BLOCK_N)
        weights = tl.where(positive, 0.0, weights)
    split: tl.constexpr = PARTS == 2
    width = stride * PARTS
    place = tile_row * width + tile_col
    if row_weights_ptr is not None:
        left = store_weights(row_weights_ptr + place, weights, col_factors_ptr, tile_col, M, width, mask, 1, split)
        if row_sums_ptr is not None:
            add_sums(row_sums_ptr, col_block, weights, left, tile_row, height, mask, 1)
    if col_weights_ptr is not None:
        left = store_weights(col_weights_ptr + place, weights, row_factors_ptr, row0, N, width, mask, 0, split)
    if col_sums_ptr is not None:
        add_sums(col_sums_ptr, row_block, weights, left, tile_col, M, mask, 0)
