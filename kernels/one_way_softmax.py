"""Softmax cross-entropy of rows that pick their positive among columns, and its gradients in the same pass, in Triton.

For rows Q (N, D), columns K (M, D), S = scale * Q K^T and positives p: n_i, the log-sum-exp of row i over its
negatives, all entries but (i, p(i)) and those that ids and limits leave out, and further ones that are known; the
losses log(1 + exp(n_i - S_{i, p(i)})); their derivatives g_i in n_i, times the weights of the rows; and with
W_ij = g_i exp(S_ij - n_i) and W_{i, p(i)} = -g_i the products W K and W^T Q. Where the logits of the positives are
given, these are no business of the columns. scale is read where it lies: a learnable temperature waits for nothing.

Two ways. Up to D = 512 half types, where that moves less, and small problems go through one_way_registers.py.

Others go in strips, here, N M D multiply-adds, and as many again for each side that needs a gradient: no logit is made,
nor any exponential taken, twice. A strip of rows with all columns is held, so that its softmax is complete. A tile of
the first launch leaves exp(S_ij - m_i) in float32, with its own maxima m_i and its sums in slots of its own; the second
launch adds up the slots of each row in order; and what lies between m_i and n_i is one factor, with which the third
makes weights of the sides' type. torch's matrix product takes these to rows and columns: no atomics, the same bits in
every run. The strip is 32 MiB, which stay in the L2 cache of an H100; 14 to 18 bytes a logit go through memory where so
many columns make a strip of 1,024 rows (256 in float32) larger.

Rounding is that of cross_softmax: weights are rounded once, after the factors of the other side, each row's and each
column's sum of products is brought back to the sum that its weights had, and the positives, which may weigh as much as
all the rest, are added in float32.

With labels, W_ij is less by w_i where row and column are of one label and j is not p(i): a share that may be near the
softmax's, so that it is taken off in float32, before rounding; and half types go in two parts (weight_tile.py).
"""

import torch
import triton
from torch import Tensor

from sslfast.kernels import _cross_launch, _launch
from sslfast.kernels.aligned_rows import first_columns
from sslfast.kernels.few_rows import weighed_sides
from sslfast.kernels.one_way_registers import in_registers
from sslfast.kernels.one_way_strip import one_way_logits_kernel, one_way_rows_kernel, one_way_weights_kernel
from sslfast.kernels.weight_tile import add_pairs, add_products, correct_, parts_of


def one_way_softmax(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: Tensor,
    row_ids: Tensor | None,
    col_ids: Tensor | None,
    row_limits: Tensor | None,
    known_lse: Tensor | None,
    known_positive: Tensor | None,
    weights: Tensor | None,
    need_rows: bool,
    need_columns: bool,
    row_factors: Tensor | None = None,
    col_factors: Tensor | None = None,
    row_labels: Tensor | None = None,
    col_labels: Tensor | None = None,
    label_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if rows.dtype == torch.float64:
        raise TypeError("one_way_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    width = rows.shape[1]
    precision = _launch.input_precision(rows)
    rows, columns, row_factors, col_factors = weighed_sides(rows, columns, row_factors, col_factors)
    sides = (rows, columns, row_factors, col_factors, positives, scale)
    excluded, known = (row_ids, col_ids, row_limits), (known_lse, known_positive, weights)
    labels = (row_labels, col_labels, label_weights)
    needs = (need_rows, need_columns)
    shape = (len(rows), len(columns), rows.shape[1], rows.element_size())
    with _launch.on_device_of(rows):
        if _cross_launch.one_way_in_registers(*shape, *needs, row_labels is not None, precision):
            found = in_registers(*sides, excluded, known, labels, *needs, precision)
        else:
            found = _in_strips(*sides, excluded, known, labels, *needs, precision)
        losses, lse, shares, d_rows, d_columns = found
        if known_positive is None:
            grads = (d_rows if need_rows else None, d_columns if need_columns else None)
            picks = positives.masked_fill(positives >= len(columns), -1)
            add_pairs(*grads, rows, columns, row_factors, col_factors, picks, shares, -1.0)
    return losses, lse, shares, first_columns(d_rows, width), first_columns(d_columns, width)


def _in_strips(
    rows: Tensor,
    columns: Tensor,
    row_factors: Tensor | None,
    col_factors: Tensor | None,
    positives: Tensor,
    scale: Tensor,
    excluded: tuple[Tensor | None, Tensor | None, Tensor | None],
    known: tuple[Tensor | None, Tensor | None, Tensor | None],
    labels: tuple[Tensor | None, Tensor | None, Tensor | None],
    need_rows: bool,
    need_columns: bool,
    precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses, log-sum-exps and shares; and both gradients, without the positives."""
    (size, dim), length = rows.shape, len(columns)
    rounded, half = rows.dtype != torch.float32, rows.dtype == torch.float16
    need, apart = need_rows or need_columns, row_factors is not None or col_factors is not None
    row_labels, col_labels, label_weights = labels
    any_excluded = any(t is not None for t in excluded)
    config = _launch.weights(dim, rows.element_size(), _launch.arch(rows), excluded=any_excluded)
    blocks = _launch.one_way_weights(config["BLOCK_N"])
    height = min(_launch.one_way_rows(length, rows.element_size()), size)
    slots = triton.cdiv(length, config["BLOCK_N"])
    shifts = rows.new_empty((slots, height), dtype=torch.float32)
    sums = torch.empty_like(shifts)
    losses, lse, shares = (rows.new_empty((size,), dtype=torch.float32) for _ in range(3))
    d_rows = rows.new_zeros((size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_zeros((length if need_columns else 0, dim), dtype=torch.float32)
    # A stride that is a multiple of 16 keeps the rows of a ragged tile aligned, for the kernels and for the products.
    stride = triton.cdiv(length, 16) * 16
    strip = rows.new_empty((height, stride), dtype=torch.float32) if need else None
    parts = parts_of(rows.dtype, row_labels)
    buffers = [strip.unsqueeze(1) if strip is not None else None]
    if rounded and need:
        ways = 2 if apart and need_rows and need_columns else 1
        buffers = [rows.new_empty((height, parts, stride)) for _ in range(ways)]
    to_rows = buffers[0] if need_rows or not apart else None
    to_columns = buffers[-1] if need_columns and apart else None
    product, col_sums = (rows, columns, row_factors, col_factors, positives, scale), None
    for row0 in range(0, size, height):
        row1 = min(row0 + height, size)
        one_way_logits_kernel[(triton.cdiv(row1 - row0, config["BLOCK_M"]) * slots,)](
            *product,
            *excluded,
            strip,
            shifts,
            sums,
            row0,
            height,
            stride,
            row1,
            length,
            dim,
            **config,
            PRECISION=precision,
        )
        one_way_rows_kernel[(triton.cdiv(row1 - row0, 16),)](
            shifts,
            sums,
            *product,
            *known,
            losses,
            lse,
            shares,
            row0,
            height,
            slots,
            row1,
            length,
            dim,
            BLOCK=16,
            BLOCK_D=config["BLOCK_D"],
            SLOTS=64,
        )
        if not need:
            continue
        tile, strip_shares, peak = (slice(row1 - row0), slice(None), slice(length)), shares[row0:row1], None
        if half:
            # Weights of about 1 / N would be below float16's range: bring their peak to 256 and take it out again.
            peak = strip_shares.abs().amax().clamp_min(1e-30) / 256
            strip_shares = strip_shares / peak
        taken_off = label_weights if label_weights is None or peak is None else label_weights / peak
        row_sums = d_rows.new_zeros((slots, 2, height)) if rounded and need_rows else None
        if rounded and need_columns and (half or row0 == 0):
            col_sums = d_columns.new_zeros((triton.cdiv(height, blocks["BLOCK_M"]), 2, length))
        one_way_weights_kernel[(triton.cdiv(row1 - row0, blocks["BLOCK_M"]) * slots,)](
            strip,
            shifts,
            lse[row0:row1],
            strip_shares,
            row_factors,
            col_factors,
            positives,
            row_labels,
            col_labels,
            taken_off,
            to_rows,
            to_columns,
            row_sums,
            col_sums,
            row0,
            height,
            stride,
            row1,
            length,
            **blocks,
            PARTS=parts,
        )
        if need_rows:
            part = d_rows[row0:row1]
            add_products(part, buffers[0][tile], columns)
            correct_(part, None if row_sums is None else row_sums[..., : len(part)])
            if peak is not None:
                part.mul_(peak)
        if need_columns:
            part = d_columns if peak is None else torch.zeros_like(d_columns)
            add_products(part, buffers[-1][tile], rows[row0:row1], turned=True)
            if peak is not None:
                correct_(part, col_sums)
                d_columns.addcmul_(part, peak)
    if not half:
        correct_(d_columns, col_sums)
    return losses, lse, shares, d_rows, d_columns
