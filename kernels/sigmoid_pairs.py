"""Sigmoid losses of all pairs of rows with columns, and their gradients, in Triton.

For rows Q (N, D), columns K (M, D), positives p, S = Q K^T and Z = scale * S + bias: the sum of log(1 + exp(Z_ij)) over
all pairs but (i, p(i)), those of equal ids and those with S_ij above a limit of row i; and of log(1 + exp(-Z_{i,
p(i)})); with G its derivative in Z, the sums of G S and of G, and the products scale * G K and scale * G^T Q; all of it
times a share, 1 / N for the mean of rows. Where targets are smoothed, by a spread of half of the smoothing, the first
terms are less by spread * Z, and the second more. Neither S nor G is ever stored whole; scale and bias are read where
they lie, so learnable ones wait for nothing.

Two ways, of one pass each: small problems go through sigmoid_pairs_registers.py, others, and smoothed targets, for
which registers spill, through sigmoid_pairs_strips.py.

Every program leaves its share of the three sums in a slot of its own, float64, and the slots are added up in order: no
atomics, the same bits in every run. The positives, which weigh the most, are a launch of their own, in float32
throughout: 2 N D reads, and as many reads and writes of the gradients.

Early in training all of G are nearly one number, and so are the errors of rounding it to a half type, where a short
mantissa has twice those of a long one. So a launch of 16 pairs comes first, 32 D reads, from which G is multiplied by
what makes the mantissa long; bringing the products back to the sums that G had takes that out again.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _sigmoid_launch
from sslfast.kernels.aligned_rows import first_columns
from sslfast.kernels.few_rows import weighed_sides
from sslfast.kernels.logit_tile import pair_logits, softplus_and_sigmoid
from sslfast.kernels.sigmoid_pairs_registers import in_registers
from sslfast.kernels.sigmoid_pairs_strips import in_strips

_PEAK = {torch.float16: 16384.0}  # the largest weight, before factors: 1 would leave most of float16's range unused


@triton.jit
def _to_mantissa(logarithm):
    """What a number of that binary logarithm has to be multiplied by for a mantissa of 1.6; 1 if there is none."""
    above = logarithm - tl.floor(logarithm)
    return tl.where(above >= 0.0, tl.exp2(0.6780719051126377 - above), 1.0)


@triton.jit
def sigmoid_mantissas_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    scale_ptr,
    bias_ptr,
    mantissas_ptr,
    N,
    M,
    D,
    spread,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What brings the middle of G on a logarithmic scale, by some pairs, to a mantissa of 1.6; on the way to rows and,
    the next number, to columns.

    Where G spreads over less than an octave, few of it are then above 2, whose mantissas are short again.
    """
    pair = tl.arange(0, BLOCK)
    row, col = pair % N, (pair + 1) % M
    product = pair_logits(q_ptr, k_ptr, row, col, pair >= 0, D, 1.0, row_factors_ptr, col_factors_ptr, BLOCK, BLOCK_D)
    z = product * tl.load(scale_ptr) + tl.load(bias_ptr)
    if spread is None:
        minus_log, _ = softplus_and_sigmoid(-z)
        logarithm = -1.4426950408889634 * minus_log
    else:
        logarithm = tl.log2(tl.abs(1.0 / (1.0 + tl.exp(-z)) - spread))
    to_row, to_column = logarithm, logarithm
    if col_factors_ptr is not None:
        to_row += tl.log2(tl.load(col_factors_ptr + col))
    if row_factors_ptr is not None:
        to_column += tl.log2(tl.load(row_factors_ptr + row))
    tl.store(mantissas_ptr, _to_mantissa(tl.sum(to_row) / BLOCK))
    tl.store(mantissas_ptr + 1, _to_mantissa(tl.sum(to_column) / BLOCK))


@triton.jit
def sigmoid_positives_kernel(
    q_ptr,
    k_ptr,
    row_factors_ptr,
    col_factors_ptr,
    positives_ptr,
    scale_ptr,
    bias_ptr,
    d_rows_ptr,
    d_columns_ptr,
    sums_ptr,
    N,
    D,
    share,
    spread,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    NEED_ROWS: tl.constexpr,
    NEED_COLUMNS: tl.constexpr,
):
    """The pairs (i, p(i)), added to the gradients of all others; no column is the positive of two rows."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    positive = tl.load(positives_ptr + row, row < N, -1)
    has = positive >= 0
    product = pair_logits(q_ptr, k_ptr, row, positive, has, D, 1.0, row_factors_ptr, col_factors_ptr, BLOCK, BLOCK_D)
    scale, bias = tl.load(scale_ptr), tl.load(bias_ptr)
    z = product * scale + bias
    loss, weight = softplus_and_sigmoid(tl.where(has, -z, float("-inf")))
    if spread is not None:
        loss = tl.where(has, loss + spread * z, 0.0)
        weight = tl.where(has, weight - spread, 0.0)
    slot = sums_ptr + 3 * tl.program_id(0)
    # Infinite logits of the right signs would count as perfect pairs.
    tl.store(slot, tl.sum(loss) + 0.0 * tl.sum(tl.where(has, z, 0.0)) + 0.0 * scale + 0.0 * bias)
    tl.store(slot + 1, -tl.sum(weight * product))
    tl.store(slot + 2, -tl.sum(weight))
    weight *= scale * share
    to_row, to_column = weight, weight
    if col_factors_ptr is not None:
        to_row *= tl.load(col_factors_ptr + positive, has, 0.0)
    if row_factors_ptr is not None:
        to_column *= tl.load(row_factors_ptr + row, has, 0.0)
    if NEED_ROWS or NEED_COLUMNS:
        for start in range(0, D, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            mask = has[:, None] & (d < D)[None, :]
            at_row, at_column = row[:, None] * D + d[None, :], positive[:, None] * D + d[None, :]
            if NEED_ROWS:
                k = tl.load(k_ptr + at_column, mask, 0.0).to(tl.float32)
                old = tl.load(d_rows_ptr + at_row, mask, 0.0)
                tl.store(d_rows_ptr + at_row, old - to_row[:, None] * k, mask)
            if NEED_COLUMNS:
                q = tl.load(q_ptr + at_row, mask, 0.0).to(tl.float32)
                old = tl.load(d_columns_ptr + at_column, mask, 0.0)
                tl.store(d_columns_ptr + at_column, old - to_column[:, None] * q, mask)


def sigmoid_pairs(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    bias: Tensor,
    share: float,
    need_rows: bool,
    need_columns: bool,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if rows.dtype == torch.float64:
        raise TypeError("sigmoid_pairs: float64 runs on the CPU only, got float64 rows on a GPU")
    width = rows.shape[1]
    precision = _launch.input_precision(rows)
    rows, columns, row_factors, col_factors = weighed_sides(rows, columns, row_factors, col_factors)
    (size, dim), length = rows.shape, len(columns)
    inputs, needs = (rows, columns, row_factors, col_factors, positives, scale, bias), (need_rows, need_columns)
    shape = (size, length, dim, rows.element_size())
    spread = smoothing / 2 if smoothing else None
    excluded = (row_ids, col_ids, row_limits)
    some = any(vector is not None for vector in excluded)
    small = any(needs) and spread is None and _sigmoid_launch.sigmoid_in_registers(*shape, *needs, precision, some)
    block = 64
    blocks = triton.cdiv(size, block)
    with _launch.on_device_of(rows):
        mantissas = None
        if any(needs) and rows.dtype != torch.float32:
            mantissas = rows.new_empty((2,), dtype=torch.float32)
            sigmoid_mantissas_kernel[(1,)](
                *inputs[:4], scale, bias, mantissas, size, length, dim, spread, **_sigmoid_launch.sigmoid_mantissas(dim)
            )
        peak = _PEAK.get(rows.dtype, 1.0)
        rest = (needs, blocks, precision)
        if small:
            d_rows, d_columns, sums = in_registers(inputs, excluded, mantissas, peak, share, *rest)
        else:
            d_rows, d_columns, sums = in_strips(inputs, excluded, mantissas, peak, share, spread, *rest)
        sigmoid_positives_kernel[(blocks,)](
            *inputs,
            d_rows,
            d_columns,
            sums[len(sums) - blocks :],
            size,
            dim,
            share,
            spread,
            BLOCK=block,
            BLOCK_D=_sigmoid_launch.sigmoid_weights(dim, rows.element_size(), _launch.arch(rows))["BLOCK_D"],
            NEED_ROWS=need_rows,
            NEED_COLUMNS=need_columns,
        )
    totals = (sums.sum(dim=0) * share).float()
    loss, d_scale, d_bias = (total.clone() for total in totals.unbind())
    return loss, first_columns(d_rows, width), first_columns(d_columns, width), d_scale, d_bias
