"""What the kernels of the similarity operators share: a tile of logits and its sums; weight_tile has the way back.

Rows and columns of half types may come as they are, with a factor each, float32, that makes unit vectors of them: a
unit vector would have to be rounded again. Logits are multiplied by the factors of both; without factors nothing is.
The factors of float16 have to be about 1, for weights to stay in its range.
"""

import triton
import triton.language as tl


@triton.jit
def logit_tile(
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
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """scale * Q K^T for ROWS rows of Q (N, D) from row0 and COLS rows of K (M, D) from col0, float32.

    row0 and col0 are int64 scalars; within a tile offsets fit in 32 bits, which halves the registers of addresses.
    Factors of rows or of columns may be None.
    """
    row, col, lane = tl.arange(0, ROWS), tl.arange(0, COLS), tl.arange(0, BLOCK_D)
    row_ptr = q_ptr + row0 * D + row[:, None] * D + lane[None, :]
    col_ptr = k_ptr + col0 * D + col[None, :] * D + lane[:, None]
    in_rows, in_cols = (row < N - row0)[:, None], (col < M - col0)[None, :]
    logits = tl.zeros((ROWS, COLS), tl.float32)
    for start in range(0, D, BLOCK_D):
        q = tl.load(row_ptr + start, in_rows & (lane < D - start)[None, :], 0.0)
        k = tl.load(col_ptr + start, in_cols & (lane < D - start)[:, None], 0.0)
        logits = tl.dot(q, k, logits, input_precision=PRECISION)
    logits *= scale
    if row_factors_ptr is not None:
        logits *= tl.load(row_factors_ptr + row0 + row, row < N - row0, 0.0)[:, None]
    if col_factors_ptr is not None:
        logits *= tl.load(col_factors_ptr + col0 + col, col < M - col0, 0.0)[None, :]
    return logits


@triton.jit
def tile_of_strip(rows, BLOCK_M: tl.constexpr):
    """Blocks of rows and of columns, int64, of a program's tile in a strip of so many rows with all columns.

    The tiles of the same columns are neighbours, which read these once. They are on one grid dimension, as the others
    end at 65,535: 4 million columns in blocks of 64.
    """
    program, blocks = tl.program_id(0), tl.cdiv(rows, BLOCK_M)
    return (program % blocks).to(tl.int64), (program // blocks).to(tl.int64)


@triton.jit
def pair_logits(
    q_ptr,
    k_ptr,
    row,
    other,
    inside,
    D,
    scale,
    row_factors_ptr,
    col_factors_ptr,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """scale * <Q_row, K_other> for BLOCK pairs of rows, float32; factors may be None."""
    logit = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        q = tl.load(q_ptr + row[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        k = tl.load(k_ptr + other[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        logit += tl.sum(q * k, 1)
    logit *= scale
    if row_factors_ptr is not None:
        logit *= tl.load(row_factors_ptr + row, inside, 0.0)
    if col_factors_ptr is not None:
        logit *= tl.load(col_factors_ptr + other, inside, 0.0)
    return logit


@triton.jit
def positive_pairs(
    positives_ptr, row0, col0, N, M, ROWS: tl.constexpr, COLS: tl.constexpr, TURNED: tl.constexpr = False
):
    """Where a tile's column is the positive of its row; where TURNED, its row that of its column. -1 is none."""
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    if TURNED:
        at = tl.load(positives_ptr + col0 + col, col < M - col0, -1) - row0
        pairs = row[:, None] == at.to(tl.int32)[None, :]
    else:
        at = tl.load(positives_ptr + row0 + row, row < N - row0, -1) - col0
        pairs = col[None, :] == at.to(tl.int32)[:, None]
    return pairs


@triton.jit
def among_negatives(
    logits,
    row_ids_ptr,
    col_ids_ptr,
    limits_ptr,
    row0,
    col0,
    N,
    M,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    TURNED: tl.constexpr = False,
):
    """Where a tile's rows and columns differ in their ids and its logits are not above the limit of their row, or of
    their column where TURNED.

    Ids or limits may be None. A NaN is above no limit.
    """
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    among = tl.full((ROWS, COLS), 1, tl.int1)
    if row_ids_ptr is not None:
        row_ids = tl.load(row_ids_ptr + row0 + row, row < N - row0, 0)
        col_ids = tl.load(col_ids_ptr + col0 + col, col < M - col0, 0)
        among = row_ids[:, None] != col_ids[None, :]
    if limits_ptr is not None:
        if TURNED:
            limits = tl.load(limits_ptr + col0 + col, col < M - col0, 0.0)[None, :]
        else:
            limits = tl.load(limits_ptr + row0 + row, row < N - row0, 0.0)[:, None]
        among = among & ((logits <= limits) | (logits != logits))
    return among


@triton.jit
def label_shares(
    row_labels_ptr,
    col_labels_ptr,
    weights_ptr,
    row0,
    col0,
    N,
    M,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    OF_ROWS: tl.constexpr = True,
    OF_COLUMNS: tl.constexpr = False,
):
    """Where a tile's row and column are of one label, the weight of the row, of the column or of both; else 0."""
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    row_labels = tl.load(row_labels_ptr + row0 + row, row < N - row0, 0)
    col_labels = tl.load(col_labels_ptr + col0 + col, col < M - col0, 0)
    shares = tl.zeros((ROWS, COLS), tl.float32)
    if OF_ROWS:
        shares += tl.load(weights_ptr + row0 + row, row < N - row0, 0.0)[:, None]
    if OF_COLUMNS:
        shares += tl.load(weights_ptr + col0 + col, col < M - col0, 0.0)[None, :]
    return tl.where(row_labels[:, None] == col_labels[None, :], shares, 0.0)


@triton.jit
def shifted_sum(logits, mask, AXIS: tl.constexpr):
    """Maximum over an axis and the sum of exponentials below it; (-inf, 0) where the mask is empty."""
    logits = tl.where(mask, logits, float("-inf"))
    shift = tl.max(logits, AXIS)
    safe = tl.where(shift == float("-inf"), 0.0, shift)
    return shift, tl.sum(tl.exp(logits - tl.expand_dims(safe, AXIS)), AXIS)


@triton.jit
def merge_sums(shift, total, shift2, total2):
    """exp(shift) * total + exp(shift2) * total2, as (shift, total)."""
    top = tl.maximum(shift, shift2, propagate_nan=tl.PropagateNan.ALL)
    safe = tl.where(top == float("-inf"), 0.0, top)
    return top, total * tl.exp(shift - safe) + total2 * tl.exp(shift2 - safe)


@triton.jit
def log1p_unit(x):
    """log(1 + x) for x in [0, 1], within 2 ulp; the GPU's logarithm of 1 + x loses a small x.

    The upper part of the range is halved, 1 + x = 2 (1 + f); the polynomial is that of Cephes' logf.
    """
    upper = x > 0.41421356
    f = tl.where(upper, 0.5 * (x - 1.0), x)
    p = 7.0376836292e-2 * f - 1.1514610310e-1
    p = p * f + 1.1676998740e-1
    p = p * f - 1.2420140846e-1
    p = p * f + 1.4249322787e-1
    p = p * f - 1.6668057665e-1
    p = p * f + 2.0000714765e-1
    p = p * f - 2.4999993993e-1
    p = p * f + 3.3333331174e-1
    square = f * f
    result = f + (square * f * p - 0.5 * square)
    return tl.where(upper, result + 0.693147181, result)


@triton.jit
def softplus_and_sigmoid(z):
    """log(1 + exp(z)) and its derivative, both with the relative precision of small values."""
    return tl.where(z > 0.0, z, 0.0) + log1p_unit(tl.exp(-tl.abs(z))), 1.0 / (1.0 + tl.exp(-z))


@triton.jit
def off_diagonal(row0, col0, M, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Where a tile's entry is within the matrix and off its diagonal."""
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, COLS)[None, :]
    return (row < M - row0) & (col < M - col0) & (row - col != (col0 - row0).to(tl.int32))


@triton.jit
def similarity_forward_kernel(
    x_ptr,
    factors_ptr,
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
            logits = logit_tile(
                x_ptr, x_ptr, row0, col0, M, M, D, scale, factors_ptr, factors_ptr, BLOCK, BLOCK, BLOCK_D, PRECISION
            )
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
