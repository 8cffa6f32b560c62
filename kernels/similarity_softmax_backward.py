"""Gradient of the softmax over the similarities of rows with themselves, in Triton.

With n_i the log-sum-exp of row i's negatives and a_i its incoming gradient, dX = scale * W X, W_ij = V_ij + V_ji,
V_ij = a_i exp(S_ij - n_i) and V_{i, p(i)} the gradient of the positive's logit; W_ii = 0. Where |S| <= 40 is known, one
exp serves both sides: W_ij = exp(S_ij) (a_i exp(-n_i) + a_j exp(-n_j)). With labels, W_ij is less by w_i + w_j where i
and j are of one label and neither is the other's positive. Neither S nor W is ever stored whole. W is rounded to the
dtype of X for the product with X; in half types V_{i, p(i)} is left out of it and added in float32. Where rows come
with factors, X are the products of both, and W is multiplied by the factors before it is rounded.

Two ways, each without atomics and with the same bits in every run. Small problems go through
similarity_softmax_registers.py.

Others go in strips, here, 1.5 M^2 D multiply-adds: W is symmetric like S, so a strip of rows takes the tiles on and
right of the diagonal. similarity_weights_kernel writes one tile of W, M^2 D / 2 in all, and torch's matrix product
takes it back to its rows and, transposed, to its columns. (A tile on the diagonal is made whole and serves its rows
only: 1024 M D more with strips of 2,048 rows.) Every tile goes through the same buffer, 32 MiB at most, which stays in
the L2 cache of an H100. From device memory each strip reads half of X on average, and reads and writes half of dX:
5 M^2 D / 2048 bytes with half types. Half types with labels take 2.5 M^2 D: W goes in two parts (weight_tile.py).
"""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.aligned_rows import first_columns
from sslfast.kernels.few_rows import weighed_rows
from sslfast.kernels.logit_tile import label_shares, logit_tile, pair_logits
from sslfast.kernels.similarity_softmax import supported_rows
from sslfast.kernels.similarity_softmax_registers import in_registers, one_sided
from sslfast.kernels.weight_tile import add_pairs, add_products, add_sums, correct_, parts_of, store_weights


@triton.jit
def similarity_positives_kernel(
    x_ptr,
    factors_ptr,
    positives_ptr,
    lse_ptr,
    grad_lse_ptr,
    grad_positive_ptr,
    weights_ptr,
    M,
    D,
    scale,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BOUNDED: tl.constexpr,
):
    """W_{i, p(i)} of every row that has a positive; without gradients of positives, what V_{p(i), i} makes of it."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < M
    positive = tl.maximum(tl.load(positives_ptr + row, inside, 0), 0)  # of rows without one nothing is used
    logit = pair_logits(x_ptr, x_ptr, row, positive, inside, D, scale, factors_ptr, factors_ptr, BLOCK, BLOCK_D)
    back = one_sided(logit, tl.load(lse_ptr + positive), tl.load(grad_lse_ptr + positive), BOUNDED)
    mutual = tl.load(positives_ptr + positive) == row
    if grad_positive_ptr is not None:
        back = tl.where(mutual, tl.load(grad_positive_ptr + positive), back)
        back += tl.load(grad_positive_ptr + row, inside, 0.0)
    else:
        back = tl.where(mutual, 0.0, back)
    tl.store(weights_ptr + row, back, inside)


@triton.jit
def _store_positives(at, value, factors_ptr, towards, mask):
    """Weights of positives, on the way to the rows `towards`."""
    if factors_ptr is not None:
        value *= tl.load(factors_ptr + towards, mask, 0.0)
    tl.store(at, value.to(at.dtype.element_ty), mask)


@triton.jit
def similarity_weights_kernel(
    x_ptr,
    factors_ptr,
    positives_ptr,
    lse_ptr,
    grad_lse_ptr,
    positive_weights_ptr,
    labels_ptr,
    label_weights_ptr,
    row_weights_ptr,
    col_weights_ptr,
    sums_ptr,
    row_start,
    col_start,
    stride,
    M,
    D,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BOUNDED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """W from (row_start, col_start) on, as far as the grid goes, into a buffer with rows of that stride.

    Its way to rows and its way to columns each have a buffer of their own where factors make two of it, or else one.
    """
    tile_row, tile_col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    row0, col0 = tl.cast(row_start, tl.int64) + tile_row, tl.cast(col_start, tl.int64) + tile_col
    logits = logit_tile(
        x_ptr, x_ptr, row0, col0, M, M, D, scale, factors_ptr, factors_ptr, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
    )
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    in_rows, in_cols = row < M - row0, col < M - col0
    row_grad = tl.load(grad_lse_ptr + row0 + row, in_rows, 0.0)[:, None]
    col_grad = tl.load(grad_lse_ptr + col0 + col, in_cols, 0.0)[None, :]
    if BOUNDED:
        weights = tl.exp(logits) * (row_grad + col_grad)
    else:
        row_lse = tl.load(lse_ptr + row0 + row, in_rows, 0.0)[:, None]
        col_lse = tl.load(lse_ptr + col0 + col, in_cols, 0.0)[None, :]
        weights = one_sided(logits, row_lse, row_grad, False) + one_sided(logits, col_lse, col_grad, False)
    if labels_ptr is not None:
        weights -= label_shares(
            labels_ptr, labels_ptr, label_weights_ptr, row0, col0, M, M, BLOCK_M, BLOCK_N, OF_COLUMNS=True
        )
    row_at = tl.load(positives_ptr + row0 + row, in_rows, -1) - col0
    col_at = tl.load(positives_ptr + col0 + col, in_cols, -1) - row0
    place, mask = tile_row * stride + tile_col, in_rows[:, None] & in_cols[None, :]
    if sums_ptr is not None:
        positive = (col[None, :] == row_at.to(tl.int32)[:, None]) | (row[:, None] == col_at.to(tl.int32)[None, :])
        itself = row[:, None] - col[None, :] == (col0 - row0).to(tl.int32)
        weights = tl.where(positive | itself, 0.0, weights)
    split: tl.constexpr = labels_ptr is not None
    left = store_weights(row_weights_ptr + place, weights, factors_ptr, col0, M, stride, mask, 1, split)
    if sums_ptr is not None:
        add_sums(sums_ptr, tl.program_id(1), weights, left, row0, M, mask, 1)
    # A tile right of the diagonal serves its columns, too. They are no rows of the grid's, so slots do not meet.
    if row_start != col_start:
        if col_weights_ptr is not None:
            left = store_weights(col_weights_ptr + place, weights, factors_ptr, row0, M, stride, mask, 0, split)
        if sums_ptr is not None:
            add_sums(sums_ptr, tl.program_id(0), weights, left, col0, M, mask, 0)

    # The positives of rows, those of columns and the diagonal take their places when every thread has stored: selected
    # before that, they would take twice the registers.
    tl.debug_barrier()
    row_value = tl.load(positive_weights_ptr + row0 + row, in_rows, 0.0)
    col_value = tl.load(positive_weights_ptr + col0 + col, in_cols, 0.0)
    own_at = row0 - col0 + row
    for_rows, for_cols = (row_at >= 0) & (row_at < BLOCK_N), (col_at >= 0) & (col_at < BLOCK_M)
    _store_positives(row_weights_ptr + place + row * stride + row_at, row_value, factors_ptr, col0 + row_at, for_rows)
    _store_positives(row_weights_ptr + place + col_at * stride + col, col_value, factors_ptr, col0 + col, for_cols)
    if col_weights_ptr is not None:
        at = col_weights_ptr + place
        _store_positives(at + row * stride + row_at, row_value, factors_ptr, row0 + row, for_rows)
        _store_positives(at + col_at * stride + col, col_value, factors_ptr, row0 + col_at, for_cols)
    zero = tl.zeros((BLOCK_M,), row_weights_ptr.dtype.element_ty)
    tl.store(row_weights_ptr + place + row * stride + own_at, zero, in_rows & (own_at >= 0) & (own_at < BLOCK_N))


def backward(
    rows: Tensor,
    positives: Tensor,
    lse: Tensor,
    grad_lse: Tensor,
    grad_positive: Tensor,
    kept: Tensor,
    scale: float,
    max_norm: float,
    factors: Tensor | None = None,
    labels: Tensor | None = None,
    label_weights: Tensor | None = None,
    need_first: bool = True,
    need_second: bool = True,
) -> Tensor:
    del kept, need_first, need_second  # the CPU's: here logits are made again, and the gradients of all rows
    width = rows.shape[1]
    precision = _launch.input_precision(rows)
    rows, factors = weighed_rows(supported_rows(rows), factors)
    bounded = _launch.is_bounded(scale, max_norm)
    peak = None
    if rows.dtype == torch.float16:
        # Weights of about grad / M would be below float16's range: bring their peak to 256 and take it out again.
        peak = torch.maximum(grad_lse.abs().amax(), grad_positive.abs().amax()).clamp_min(1e-30) / 256
        grad_lse, grad_positive = grad_lse / peak, grad_positive / peak
        label_weights = None if label_weights is None else label_weights / peak
    if bounded:
        # Once for all tiles. Where a row has no negatives, n = -inf, a is lost, and no entry is left that needs it.
        grad_lse = grad_lse / lse.exp()
    grad_positive = grad_positive.contiguous()
    rounded = rows.dtype != torch.float32
    vectors = (positives, lse, grad_lse.contiguous(), None if rounded else grad_positive)
    classes = (labels, None if label_weights is None else label_weights.contiguous())
    small = _launch.similarity_in_registers(*rows.shape, rows.element_size(), labels is not None, precision)
    with _launch.on_device_of(rows):
        grad = (in_registers if small else _in_strips)(rows, factors, vectors, classes, scale, bounded, precision)
        if rounded:
            add_pairs(grad, grad, rows, rows, factors, factors, positives, grad_positive, scale)
    return first_columns(grad if peak is None else grad.mul_(peak), width)


def _in_strips(
    rows: Tensor,
    factors: Tensor | None,
    vectors: tuple[Tensor | None, ...],
    classes: tuple[Tensor | None, ...],
    scale: float,
    bounded: bool,
    precision: str,
) -> Tensor:
    size, dim = rows.shape
    ways = 1 if factors is None else 2
    parts = parts_of(rows.dtype, classes[0])
    height, width = _launch.weights_strip(rows.element_size() * ways * parts)
    config = _launch.weights(dim, rows.element_size(), _launch.arch(rows), two=ways * parts > 1)
    *vectors_of_negatives, _ = vectors
    positive_weights = rows.new_empty((size,), dtype=torch.float32)
    similarity_positives_kernel[(triton.cdiv(size, 64),)](
        rows,
        factors,
        *vectors,
        positive_weights,
        size,
        dim,
        scale,
        BLOCK=64,
        BLOCK_D=config["BLOCK_D"],
        BOUNDED=bounded,
    )
    grad = torch.zeros_like(rows, dtype=torch.float32)
    slots = max(triton.cdiv(height, config["BLOCK_M"]), triton.cdiv(width, config["BLOCK_N"]))
    sums = None if rows.dtype == torch.float32 else grad.new_zeros((slots, 2, size))
    # A stride that is a multiple of 16 keeps the rows of a ragged tile aligned, for the kernel and for the products.
    buffers = rows.new_empty((ways, min(height, size), parts, min(width, triton.cdiv(size, 16) * 16)))
    for row0, row1, col0, col1 in _tiles(size, height, width):
        similarity_weights_kernel[
            triton.cdiv(row1 - row0, config["BLOCK_M"]), triton.cdiv(col1 - col0, config["BLOCK_N"])
        ](
            rows,
            factors,
            *vectors_of_negatives,
            positive_weights,
            *classes,
            buffers[0],
            buffers[1] if ways == 2 else None,
            sums,
            row0,
            col0,
            buffers.stride(1),
            size,
            dim,
            scale,
            **config,
            BOUNDED=bounded,
            PRECISION=precision,
        )
        weights = buffers[:, : row1 - row0, :, : col1 - col0]
        add_products(grad[row0:row1], weights[0], rows[col0:col1], scale)
        if col0 > row0:
            add_products(grad[col0:col1], weights[-1], rows[row0:row1], scale, turned=True)
    correct_(grad, sums)
    return grad


def _tiles(size: int, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """(row0, row1, col0, col1) of every tile, those of csrc/ops/similarity_softmax.cpp."""
    for row0 in range(0, size, height):
        row1 = min(row0 + height, size)
        yield row0, row1, row0, row1
        for col0 in range(row1, size, width):
            yield row0, row1, col0, min(col0 + width, size)
