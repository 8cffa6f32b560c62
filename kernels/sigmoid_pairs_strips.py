"""Sigmoid losses of many pairs and their gradients, in strips: the way of sigmoid_pairs.py for all but small problems.

N M D multiply-adds and as many again for each side that needs a gradient. One tile of G after the other goes through a
buffer of 32 MiB, which stays in the L2 cache of an H100, and torch's matrix product takes it back to rows and columns.
Where rows or columns come with factors, Q and K are the products of both, and G, times the factors of K on its way to
rows and of Q on its way to columns, takes two buffers. Without gradients strips are larger, and nothing is stored but
sums: three float64 numbers for each program of a launch, to which the programs of the next launches add theirs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _sigmoid_launch
from sslfast.kernels.logit_tile import among_negatives, logit_tile, softplus_and_sigmoid
from sslfast.kernels.weight_tile import add_product, add_sums, correct_, store_weights


@triton.jit
def sigmoid_weights_kernel(
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
    row_weights_ptr,
    col_weights_ptr,
    row_sums_ptr,
    col_sums_ptr,
    sums_ptr,
    row_start,
    col_start,
    stride,
    N,
    M,
    D,
    peak,
    spread,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """G without the positives from (row_start, col_start) on, as far as the grid goes, times peak, into a buffer with
    rows of that stride; and adds three sums, float64, to each program's slot. What ids and limits leave out is 0.

    Its way to rows and its way to columns each have a buffer of their own where factors make two of it; None, where
    that way is not gone. What goes there is multiplied by mantissas, if given, too.
    """
    tile_row, tile_col = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    row0, col0 = tl.cast(row_start, tl.int64) + tile_row, tl.cast(col_start, tl.int64) + tile_col
    scale, bias = tl.load(scale_ptr), tl.load(bias_ptr)
    product = logit_tile(
        q_ptr, k_ptr, row0, col0, N, M, D, 1.0, row_factors_ptr, col_factors_ptr, BLOCK_M, BLOCK_N, BLOCK_D, PRECISION
    )
    row, col = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    in_rows, in_cols = row < N - row0, col < M - col0
    inside = in_rows[:, None] & in_cols[None, :]
    positive = (tl.load(positives_ptr + row0 + row, in_rows, -1) - col0).to(tl.int32)
    negative = inside & (col[None, :] != positive[:, None])
    if row_ids_ptr is not None or row_limits_ptr is not None:
        negative = negative & among_negatives(
            product, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, col0, N, M, BLOCK_M, BLOCK_N
        )
    z = tl.where(negative, product * scale + bias, float("-inf"))
    loss, weight = softplus_and_sigmoid(z)
    if spread is not None:
        loss = tl.where(negative, loss - spread * z, 0.0)
        weight = tl.where(negative, weight - spread, 0.0)
    slot = sums_ptr + 3 * (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1))
    tl.store(slot, tl.load(slot) + tl.sum(loss))
    tl.store(slot + 1, tl.load(slot + 1) + tl.sum(weight * product))
    tl.store(slot + 2, tl.load(slot + 2) + tl.sum(weight))
    place, weight = tile_row * stride + tile_col, weight * peak
    if row_weights_ptr is not None:
        long = weight if mantissas_ptr is None else weight * tl.load(mantissas_ptr)
        left = store_weights(row_weights_ptr + place, long, col_factors_ptr, col0, M, stride, inside, 1)
        if row_sums_ptr is not None:
            add_sums(row_sums_ptr, tl.program_id(1), weight, left, row0, N, inside, 1)
    if col_weights_ptr is not None:
        long = weight if mantissas_ptr is None else weight * tl.load(mantissas_ptr + 1)
        left = store_weights(col_weights_ptr + place, long, row_factors_ptr, row0, N, stride, inside, 0)
    if col_sums_ptr is not None:
        add_sums(col_sums_ptr, tl.program_id(0), weight, left, col0, M, inside, 0)


def in_strips(
    inputs: tuple[Tensor | None, ...],
    excluded: tuple[Tensor | None, ...],
    mantissas: Tensor | None,
    peak: float,
    share: float,
    spread: float | None,
    needs: tuple[bool, bool],
    further: int,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Both gradients and the slots of sums, of all pairs but the positives; and as many further slots, to be filled.

    The slots of sums are those of one launch, however many there are.
    """
    rows, columns, row_factors, col_factors, _, scale, _ = inputs
    (size, dim), length = rows.shape, len(columns)
    need_rows, need_columns = needs
    config = _sigmoid_launch.sigmoid_weights(dim, rows.element_size(), _launch.arch(rows))
    d_rows = rows.new_zeros((size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_zeros((length if need_columns else 0, dim), dtype=torch.float32)
    apart = row_factors is not None or col_factors is not None
    to_rows = to_columns = row_sums = col_sums = None
    (height, width), stride = _sigmoid_launch.sums_strip(), 0
    if need_rows or need_columns:
        ways = 2 if apart and need_rows and need_columns else 1
        height, width = _launch.weights_strip(rows.element_size() * ways)
        # A stride that is a multiple of 16 keeps the rows of a ragged tile aligned, for the kernel and the products.
        buffers = rows.new_empty((ways, min(height, size), min(width, triton.cdiv(length, 16) * 16)))
        stride = buffers.stride(1)
        to_rows = buffers[0] if need_rows or not apart else None
        to_columns = buffers[-1] if need_columns and apart else None
        if rows.dtype != torch.float32:
            row_slots, col_slots = triton.cdiv(width, config["BLOCK_N"]), triton.cdiv(height, config["BLOCK_M"])
            row_sums = d_rows.new_zeros((row_slots, 2, size)) if need_rows else None
            col_sums = d_columns.new_zeros((col_slots, 2, length)) if need_columns else None
    tiles = triton.cdiv(min(height, size), config["BLOCK_M"]) * triton.cdiv(min(width, length), config["BLOCK_N"])
    sums = rows.new_zeros((tiles + further, 3), dtype=torch.float64)
    for row0 in range(0, size, height):
        row1 = min(row0 + height, size)
        for col0 in range(0, length, width):
            col1 = min(col0 + width, length)
            sigmoid_weights_kernel[
                triton.cdiv(row1 - row0, config["BLOCK_M"]), triton.cdiv(col1 - col0, config["BLOCK_N"])
            ](
                *inputs,
                *excluded,
                mantissas,
                to_rows,
                to_columns,
                row_sums,
                col_sums,
                sums,
                row0,
                col0,
                stride,
                size,
                length,
                dim,
                peak,
                spread,
                **config,
                PRECISION=precision,
            )
            tile = (slice(row1 - row0), slice(col1 - col0))
            if need_rows:
                add_product(d_rows[row0:row1], buffers[0][tile], columns[col0:col1], 1 / peak)
            if need_columns:
                add_product(d_columns[col0:col1], buffers[-1][tile].t(), rows[row0:row1], 1 / peak)
    # Only now, in float32, and not in the weights, which may be half types.
    factor = scale * share
    for grad, sums_of_weights in ((d_rows, row_sums), (d_columns, col_sums)):
        correct_(grad, sums_of_weights)
        grad.mul_(factor)
    return d_rows, d_columns, sums
