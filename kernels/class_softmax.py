"""The kernels of a linear layer's cross-entropy: s = f(Q K^T + b) of a tile, with f a cap or nothing, and its softmax;
what the slots of all tiles of a row come to; and the gradients in the logits. linear_cross_entropy has the equations.
"""

import triton
import triton.language as tl

from sslfast.kernels.logit_tile import logit_tile, merge_sums, softplus_and_sigmoid, tile_of_strip
from sslfast.kernels.weight_tile import add_sums, store_weights


@triton.jit
def tanh(x):
    """tanh within 4 ulp: an odd polynomial, Cephes', below 0.625."""
    size, square = tl.abs(x), x * x
    p = -5.70498872745e-3 * square + 2.06390887954e-2
    p = p * square - 5.37397155531e-2
    p = p * square + 1.33314422036e-1
    p = p * square - 3.33332819422e-1
    e = tl.exp(-2.0 * size)
    large = (1.0 - e) / (1.0 + e)
    return tl.where(size < 0.625, p * square * x + x, tl.where(x < 0.0, -large, large))


@triton.jit
def slope(s, cap):
    """The derivative of cap * tanh(logit / cap), from its value."""
    t = s / cap
    return (1.0 - t) * (1.0 + t)


@triton.jit
def class_logits_kernel(
    q_ptr,
    k_ptr,
    bias_ptr,
    class_weights_ptr,
    targets_ptr,
    strip_ptr,
    shift_ptr,
    sum_ptr,
    weighted_ptr,
    positive_ptr,
    cap,
    row_start,
    height,
    stride,
    N,
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CAPPED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """s of a tile, -inf for a row's target; maxima, sums and, unless its slots are None, weighted sums of its rows."""
    row_block, col_block = tile_of_strip(N - row_start, BLOCK_M)
    tile_row, tile_col = row_block * BLOCK_M, col_block * BLOCK_N
    row0 = row_start + tile_row
    s = logit_tile(q_ptr, k_ptr, row0, tile_col, N, M, D, 1.0, None, None, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION)
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    in_rows, in_cols = row < N - row0, col < M - tile_col
    if bias_ptr is not None:
        s += tl.load(bias_ptr + tile_col + col, in_cols, 0.0)[None, :]
    if CAPPED:
        s = cap * tanh(s / cap)
    slot = col_block * height + tile_row + row
    if weighted_ptr is not None:
        if class_weights_ptr is not None:
            weighted = s * tl.load(class_weights_ptr + tile_col + col, in_cols, 0.0)[None, :]
        else:
            weighted = s
        tl.store(weighted_ptr + slot, tl.sum(tl.where(in_cols[None, :], weighted, 0.0), 1), in_rows)
    own = (tl.load(targets_ptr + row0 + row, in_rows, -1) - tile_col).to(tl.int32)
    is_own = col[None, :] == own[:, None]
    here = in_rows & (own >= 0) & (own < tl.minimum(M - tile_col, BLOCK_N))
    tl.store(positive_ptr + row0 + row, tl.sum(tl.where(is_own, s, 0.0), 1), here)
    s = tl.where(in_cols[None, :] & ~is_own, s, float("-inf"))
    if strip_ptr is not None:
        at = strip_ptr + tile_row * stride + tile_col + row[:, None] * stride + col[None, :]
        tl.store(at, s, in_rows[:, None] & in_cols[None, :])
    shift = tl.max(s, 1)
    tl.store(shift_ptr + slot, shift, in_rows)
    s = tl.exp(s - tl.where(shift == float("-inf"), 0.0, shift)[:, None])
    tl.store(sum_ptr + slot, tl.sum(s, 1), in_rows)


@triton.jit
def class_rows_kernel(
    shift_ptr,
    sum_ptr,
    weighted_ptr,
    positive_ptr,
    targets_ptr,
    weights_ptr,
    others_ptr,
    class_weights_ptr,
    total_ptr,
    nll_ptr,
    lse_ptr,
    sums_ptr,
    own_ptr,
    top_ptr,
    scale_ptr,
    offset_ptr,
    flat_ptr,
    pair_ptr,
    elsewhere_ptr,
    elsewhere_own_ptr,
    keep,
    smoothing,
    z_loss,
    cap,
    row_start,
    height,
    slots,
    N,
    M,
    BLOCK: tl.constexpr,
    SLOTS: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """Adds up the slots of each row of the strip, SLOTS at a time; its results, and what its gradient is made of.

    Classes that are elsewhere come as their log-sum-exp without the target, and the logit of targets among them, which
    are M here. A target above every class makes its loss NaN and, where the row counts, its gradients.
    """
    line = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = row_start + line
    inside = row < N
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    weighted = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        at = slot.to(tl.int64)[:, None] * height + line[None, :]
        mask = (slot < slots)[:, None] & inside[None, :]
        shifts = tl.load(shift_ptr + at, mask, float("-inf"))
        top = tl.max(shifts, 0)
        safe = tl.where(top == float("-inf"), 0.0, top)
        sums = tl.load(sum_ptr + at, mask, 0.0) * tl.exp(shifts - safe[None, :])
        shift, total = merge_sums(shift, total, top, tl.sum(sums, 0))
        if weighted_ptr is not None:
            weighted += tl.sum(tl.load(weighted_ptr + at, mask, 0.0), 0)
    rest = shift + tl.log(total)
    target = tl.load(targets_ptr + row, inside, -1)
    has = inside & (target >= 0)
    own = tl.load(positive_ptr + row, has & (target < M), float("-inf"))
    if elsewhere_ptr is not None:
        elsewhere = tl.load(elsewhere_ptr + row, inside, float("-inf"))
        over_rest, _ = softplus_and_sigmoid(elsewhere - rest)
        over_elsewhere, _ = softplus_and_sigmoid(rest - elsewhere)
        both = tl.where(elsewhere > rest, elsewhere + over_elsewhere, rest + over_rest)
        rest = tl.where(rest == float("-inf"), elsewhere, tl.where(elsewhere == float("-inf"), rest, both))
        own = tl.where(target < M, own, tl.load(elsewhere_own_ptr + row, has & (target >= M), float("-inf")))
    stray = target >= M
    if elsewhere_ptr is not None:
        stray = target > M
        own = tl.where(stray, float("-inf"), own)  # what is said of such a target may be NaN, which 0 does not undo
    nll, share = softplus_and_sigmoid(rest - own)
    # log(exp(rest) + exp(own)) and the share of the target, with the relative precision of a small one.
    higher, other_share = softplus_and_sigmoid(own - rest)
    lse = tl.where(own > rest, own + nll, tl.where(own == float("-inf"), rest, rest + higher))
    weight = tl.full((BLOCK,), keep, tl.float32)
    if weights_ptr is not None:
        weight *= tl.load(weights_ptr + row, inside, 0.0)
    other = tl.full((BLOCK,), 1.0, tl.float32)
    if others_ptr is not None:
        other = tl.load(others_ptr + row, inside, 0.0)
    own_weight = tl.full((BLOCK,), 1.0, tl.float32)
    if class_weights_ptr is not None:
        own_weight = tl.load(class_weights_ptr + target, has & (target < M), 0.0)
    common = smoothing * tl.load(total_ptr) + 2.0 * z_loss * lse
    scale = share * (weight + other * common)
    nll = tl.where(stray, float("nan"), nll)
    scale = tl.where(stray & ((weight != 0.0) | (other != 0.0)), float("nan"), scale)
    pair = other * (common * other_share - smoothing * own_weight) - weight * share
    if CAPPED:
        pair *= slope(own, cap)
    tl.store(nll_ptr + row, tl.where(has, nll, 0.0), inside)
    tl.store(lse_ptr + row, tl.where(has, lse, 0.0), inside)
    tl.store(sums_ptr + row, tl.where(has, weighted, 0.0), inside)
    tl.store(own_ptr + row, tl.where(has, own, 0.0), inside)
    tl.store(top_ptr + row, tl.where(has, shift, 0.0), inside)
    tl.store(scale_ptr + row, tl.where(has, scale, 0.0), inside)
    # Where there is no other class that could be, its exponentials are 0 below any offset.
    tl.store(offset_ptr + row, tl.where(rest == float("-inf"), 0.0, rest), inside)
    tl.store(flat_ptr + row, tl.where(has, other * smoothing, 0.0), inside)
    tl.store(pair_ptr + row, tl.where(has, pair, 0.0), inside)


@triton.jit
def class_gradients_kernel(
    strip_ptr,
    out_ptr,
    targets_ptr,
    scale_ptr,
    offset_ptr,
    flat_ptr,
    class_weights_ptr,
    row_sums_ptr,
    col_sums_ptr,
    bias_sums_ptr,
    cap,
    row_start,
    height,
    stride,
    N,
    M,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """Gradients in the logits of the strip, rounded to out, which may be the strip itself; 0 for targets and for rows
    without one. Scales and flats are the strip's alone. Sums may be None: those of what is rounded, and those over
    the rows, which are added to.
    """
    row_block, col_block = tile_of_strip(N - row_start, BLOCK_M)
    tile_row, tile_col = row_block * BLOCK_M, col_block * BLOCK_N
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    row0 = row_start + tile_row
    in_rows, in_cols = row < N - row0, col < M - tile_col
    mask = in_rows[:, None] & in_cols[None, :]
    place = tile_row * stride + tile_col
    s = tl.load(strip_ptr + place + row[:, None] * stride + col[None, :], mask, 0.0)
    tl.debug_barrier()  # every thread has loaded before one stores to the strip
    target = tl.load(targets_ptr + row0 + row, in_rows, -1)
    scale = tl.load(scale_ptr + tile_row + row, in_rows, 0.0)
    offset = tl.load(offset_ptr + row0 + row, in_rows, 0.0)
    flat = tl.load(flat_ptr + tile_row + row, in_rows, 0.0)[:, None]
    if class_weights_ptr is not None:
        flat *= tl.load(class_weights_ptr + tile_col + col, in_cols, 0.0)[None, :]
    g = scale[:, None] * tl.exp(s - offset[:, None]) - flat
    if CAPPED:
        g *= slope(s, cap)
    g = tl.where(mask & (target >= 0)[:, None] & (col[None, :] != (target - tile_col)[:, None]), g, 0.0)
    left = store_weights(out_ptr + place, g, None, tile_col, M, stride, mask, 1)
    if row_sums_ptr is not None:
        add_sums(row_sums_ptr, col_block, g, left, tile_row, height, mask, 1)
    if col_sums_ptr is not None:
        add_sums(col_sums_ptr, row_block, g, left, tile_col, M, mask, 0)
    if bias_sums_ptr is not None:
        at = bias_sums_ptr + row_block * M + tile_col + col
        tl.store(at, tl.load(at, in_cols, 0.0) + tl.sum(g, 0), in_cols)
