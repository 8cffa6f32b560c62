"""Gradient of the softmax over the similarities of rows with columns, in Triton.

With n_i and m_j the log-sum-exps of cross_softmax.py, and incoming gradients a, b, c of these and of the positives'
logits: W_ij = a_i exp(S_ij - n_i) + b_j exp(S_ij - m_j) and W_{i, p(i)} = c_i, the products W K and W^T Q; 0 for
entries that are left out of the sums. With labels, W_ij is less by w_i where row and column are of one label and j is
not p(i). Neither S nor W is ever stored whole.

Two ways, each without atomics and with the same bits in every run. Up to D = 512 small problems, and in half types one
side alone up to D = 256, go through cross_softmax_registers.py.

Others go in strips, here, 3 N M D multiply-adds (2 where one side needs no gradient): one tile of W after the other
goes through a buffer of 32 MiB, which stays in the L2 cache of an H100, and torch's matrix product takes it back to
rows and columns. Where rows or columns come with factors, Q and K are the products of both, and W, times the factors of
K on its way to rows and of Q on its way to columns, takes two buffers of half the size. In half types the positives
take no place in W and are added in float32: no difference of near numbers is rounded, and no weight of all rows alike.
With labels the weights of half types go in two parts (weight_tile.py), 5 N M D multiply-adds.

Why large problems of two sides stay here: registers make S for the rows and once more for the columns, 4 N M D. That
saves one write and two reads of W, in half types 6 bytes an entry, while which, by estimate, an H200's L2 and tensor
cores do 350 multiply-adds: less than the D more from there on. Below, such a kernel would have to run at 92 % of the
plain products' speed at D = 256 and at 70 % at D = 128, with twice their bytes a FLOP.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _cross_launch, _launch
from sslfast.kernels.aligned_rows import first_columns
from sslfast.kernels.cross_softmax_registers import in_registers
from sslfast.kernels.few_rows import weighed_sides
from sslfast.kernels.logit_tile import among_negatives, label_shares, logit_tile
from sslfast.kernels.weight_tile import add_pairs, add_products, add_sums, correct_, parts_of, store_weights


@triton.jit
def cross_weights_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    row_ids_ptr,
    col_ids_ptr,
    row_limits_ptr,
    row_lse_ptr,
    col_lse_ptr,
    grad_row_ptr,
    grad_col_ptr,
    grad_positive_ptr,
    row_labels_ptr,
    col_labels_ptr,
    label_weights_ptr,
    row_weights_ptr,
    col_weights_ptr,
    row_sums_ptr,
    col_sums_ptr,
    row_start,
    col_start,
    stride,
    N,
    M,
    D,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TWO_WAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """W from (row_start, col_start) on, as far as the grid goes, into a buffer with rows of that stride.

    Its way to rows and its way to columns each have a buffer of their own where factors make two of it; None, where
    that way is not gone. Without gradients of positives, these are 0. Sums may be None.
    """
    tile_row, tile_col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    row0, col0 = tl.cast(row_start, tl.int64) + tile_row, tl.cast(col_start, tl.int64) + tile_col
    scale = tl.load(scale_ptr)
    logits = logit_tile(
        q_ptr, k_ptr, row0, col0, N, M, D, scale, row_factors_ptr, col_factors_ptr, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
    )
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    in_rows, in_cols = row < N - row0, col < M - col0
    row_lse = tl.load(row_lse_ptr + row0 + row, in_rows, 0.0)[:, None]
    weights = tl.load(grad_row_ptr + row0 + row, in_rows, 0.0)[:, None] * tl.exp(logits - row_lse)
    if TWO_WAY:
        col_lse = tl.load(col_lse_ptr + col0 + col, in_cols, 0.0)[None, :]
        weights += tl.load(grad_col_ptr + col0 + col, in_cols, 0.0)[None, :] * tl.exp(logits - col_lse)
    if row_ids_ptr is not None or row_limits_ptr is not None:
        among = among_negatives(logits, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, col0, N, M, BLOCK_M, BLOCK_N)
        weights = tl.where(among, weights, 0.0)
    if row_labels_ptr is not None:
        weights -= label_shares(row_labels_ptr, col_labels_ptr, label_weights_ptr, row0, col0, N, M, BLOCK_M, BLOCK_N)
    at = tl.load(positives_ptr + row0 + row, in_rows, -1) - col0
    if grad_positive_ptr is None:
        weights = tl.where(col[None, :] == at.to(tl.int32)[:, None], 0.0, weights)
    place, mask = tile_row * stride + tile_col, in_rows[:, None] & in_cols[None, :]
    split: tl.constexpr = row_labels_ptr is not None
    if row_weights_ptr is not None:
        left = store_weights(row_weights_ptr + place, weights, col_factors_ptr, col0, M, stride, mask, 1, split)
        if row_sums_ptr is not None:
            add_sums(row_sums_ptr, tl.program_id(1), weights, left, row0, N, mask, 1)
    if col_weights_ptr is not None:
        left = store_weights(col_weights_ptr + place, weights, row_factors_ptr, row0, N, stride, mask, 0, split)
    if col_sums_ptr is not None:
        add_sums(col_sums_ptr, tl.program_id(0), weights, left, col0, M, mask, 0)
    if grad_positive_ptr is not None:
        # The positives take their places when every thread has stored: selected before that, they take registers.
        tl.debug_barrier()
        here = (at >= 0) & (at < BLOCK_N)
        value = tl.load(grad_positive_ptr + row0 + row, in_rows, 0.0).to(row_weights_ptr.dtype.element_ty)
        tl.store(row_weights_ptr + place + row * stride + at, value, here)


def backward(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    row_lse: Tensor,
    col_lse: Tensor,
    grad_row: Tensor,
    grad_col: Tensor,
    grad_positive: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    kept: Tensor,
    need_rows: bool,
    need_columns: bool,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
    row_labels: Tensor | None = None,
    col_labels: Tensor | None = None,
    label_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    del kept  # the CPU's: here logits are made again
    width = rows.shape[1]
    precision = _launch.input_precision(rows)
    rows, columns, row_factors, col_factors = weighed_sides(rows, columns, row_factors, col_factors)
    (size, dim), length = rows.shape, len(columns)
    # A positive that is no column has no place in a tile, and no row to be read: its weight is left out.
    positives = positives.masked_fill(positives >= length, -1)
    two_way = len(col_lse) > 0
    grads = [grad_row, grad_col, grad_positive]
    peak = None
    if rows.dtype == torch.float16:
        # Weights of about grad / N would be below float16's range: bring their peak to 256 and take it out again.
        peak = torch.cat(grads).abs().amax().clamp_min(1e-30) / 256
        grads = [g / peak for g in grads]
        label_weights = None if label_weights is None else label_weights / peak
    *grads, grad_positive = (g.contiguous() for g in grads)
    sides, excluded = (rows, columns, row_factors, col_factors, positives, scale), (row_ids, col_ids, row_limits)
    classes = (row_labels, col_labels, None if label_weights is None else label_weights.contiguous())
    needs, count = (need_rows, need_columns), need_rows + need_columns
    rounded = rows.dtype != torch.float32
    apart = None if rounded else grad_positive
    shape, labelled = (size, length, dim, rows.element_size()), row_labels is not None
    with _launch.on_device_of(rows):
        if count and _cross_launch.cross_in_registers(*shape, count, labelled, precision):
            columns_too = (col_lse, grads[1]) if two_way else (None, None)
            vectors = (row_lse, columns_too[0], grads[0], columns_too[1], apart)
            d_rows, d_columns = in_registers(*sides, excluded, classes, vectors, *needs, precision)
        else:
            vectors = (row_lse, col_lse, *grads, apart)
            d_rows, d_columns = _in_strips(*sides, excluded, vectors, classes, two_way, *needs, precision)
        if rounded:
            grads_of_sides = (d_rows if need_rows else None, d_columns if need_columns else None)
            add_pairs(*grads_of_sides, rows, columns, row_factors, col_factors, positives, grad_positive)
    if peak is not None:
        d_rows.mul_(peak)
        d_columns.mul_(peak)
    return first_columns(d_rows, width), first_columns(d_columns, width)


def _in_strips(
    rows: Tensor,
    columns: Tensor,
    row_factors: Tensor | None,
    col_factors: Tensor | None,
    positives: Tensor,
    scale: Tensor,
    excluded: tuple[Tensor | None, Tensor | None, Tensor | None],
    vectors: tuple[Tensor | None, ...],
    classes: tuple[Tensor | None, Tensor | None, Tensor | None],
    two_way: bool,
    need_rows: bool,
    need_columns: bool,
    precision: str,
) -> tuple[Tensor, Tensor]:
    """Both gradients; of half types, without the positives."""
    (size, dim), length = rows.shape, len(columns)
    rounded = rows.dtype != torch.float32
    apart = row_factors is not None or col_factors is not None
    ways = 2 if apart and need_rows and need_columns else 1
    parts = parts_of(rows.dtype, classes[0])
    height, width = _launch.weights_strip(rows.element_size() * ways * parts)
    any_excluded, two = any(t is not None for t in excluded), ways * parts > 1
    config = _launch.weights(dim, rows.element_size(), _launch.arch(rows), excluded=any_excluded, two=two)
    d_rows = rows.new_zeros((size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_zeros((length if need_columns else 0, dim), dtype=torch.float32)
    # A stride that is a multiple of 16 keeps the rows of a ragged tile aligned, for the kernel and for the products.
    buffers = rows.new_empty((ways, min(height, size), parts, min(width, triton.cdiv(length, 16) * 16)))
    to_rows = buffers[0] if need_rows or not apart else None
    to_columns = buffers[-1] if need_columns and apart else None
    row_slots, col_slots = (triton.cdiv(w, config[b]) for w, b in ((width, "BLOCK_N"), (height, "BLOCK_M")))
    row_sums = d_rows.new_zeros((row_slots, 2, size)) if rounded and need_rows else None
    col_sums = d_columns.new_zeros((col_slots, 2, length)) if rounded and need_columns else None
    for row0 in range(0, size, height):
        row1 = min(row0 + height, size)
        for col0 in range(0, length, width):
            col1 = min(col0 + width, length)
            cross_weights_kernel[
                triton.cdiv(row1 - row0, config["BLOCK_M"]), triton.cdiv(col1 - col0, config["BLOCK_N"])
            ](
                rows,
                columns,
                row_factors,
                col_factors,
                positives,
                scale,
                *excluded,
                *vectors,
                *classes,
                to_rows,
                to_columns,
                row_sums,
                col_sums,
                row0,
                col0,
                buffers.stride(1),
                size,
                length,
                dim,
                **config,
                TWO_WAY=two_way,
                PRECISION=precision,
            )
            weights = buffers[:, : row1 - row0, :, : col1 - col0]
            if need_rows:
                add_products(d_rows[row0:row1], weights[0], columns[col0:col1])
            if need_columns:
                add_products(d_columns[col0:col1], weights[-1], rows[row0:row1], turned=True)
    if rounded:
        correct_(d_rows, row_sums)
        correct_(d_columns, col_sums)
    return d_rows, d_columns
