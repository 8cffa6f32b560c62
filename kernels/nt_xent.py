"""NT-Xent from the two views of a batch to the loss, forward, in Triton; its gradient is in nt_xent_backward.py.

With X (2N, D) the unit rows of both views, z0 above z1, S = scale * X X^T, p(i) = i + N or i - N, n_i the log-sum-exp
of S_ij over all j but i and p(i), and m_i = n_i - S_{i, p(i)}: the loss is the mean of log(1 + exp(m_i)), and its
derivative in n_i is a_i / 2N, a_i = sigmoid(m_i). S is never stored.

4 launches, 2 N^2 D multiply-adds: the rows are normalised into one matrix, in the dtype of the product; half of the
tiles of S are made (logit_tile.py); each row's sums are added up to n_i, a_i and its loss; and one program adds up the
losses. No atomics, the same bits in every run. Read and written beside the tiles: about 6 N D numbers. Saved for the
gradient: the matrix, the factors that made X, n, a and the largest a.

In half types unit rows would have to be rounded. There the matrix has the rows times powers of two that bring their
norms into (1/2, 1], which is exact, and the rest of their factors, in [1, 2), goes to the logits and to the weights.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _nt_xent_launch
from sslfast.kernels.aligned_rows import first_columns, padded
from sslfast.kernels.logit_tile import merge_sums, pair_logits, similarity_forward_kernel, softplus_and_sigmoid

_EPS = tl.constexpr(1e-12)  # of F.normalize


@triton.jit
def rows_of_views(z0_ptr, z1_ptr, row, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride):
    """Rows of both views, z0 above z1, float32; row is int64."""
    lane = lane.to(tl.int64)
    in_dim = (lane < D)[None, :]
    first = tl.load(z0_ptr + row[:, None] * row0_stride + lane[None, :] * col0_stride, (row < N)[:, None] & in_dim, 0.0)
    other = row - N
    in_other = ((other >= 0) & (other < N))[:, None] & in_dim
    second = tl.load(z1_ptr + other[:, None] * row1_stride + lane[None, :] * col1_stride, in_other, 0.0)
    return tl.where((row < N)[:, None], first.to(tl.float32), second.to(tl.float32))


@triton.jit
def mantissa(x):
    """In [1, 2): x, a positive float32, over a power of two."""
    return ((x.to(tl.int32, bitcast=True) & 0x007FFFFF) | 0x3F800000).to(tl.float32, bitcast=True)


@triton.jit
def power_of_two(x):
    """What is left of x over its mantissa."""
    return (x.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)


@triton.jit
def nt_xent_normalise_kernel(
    z0_ptr,
    z1_ptr,
    unit_ptr,
    inverse_norm_ptr,
    factors_ptr,
    positives_ptr,
    N,
    D,
    row0_stride,
    col0_stride,
    row1_stride,
    col1_stride,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Unit rows of both views in one matrix, what they were multiplied with, and the row that each has as positive.

    Where factors are wanted they are left out of the matrix.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < 2 * tl.cast(N, tl.int64)
    square = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK_D):
        lane = start + tl.arange(0, BLOCK_D)
        z = rows_of_views(z0_ptr, z1_ptr, row, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride)
        square += tl.sum(z * z, 1)
    inverse_norm = 1.0 / tl.maximum(tl.sqrt_rn(square), _EPS, propagate_nan=tl.PropagateNan.ALL)
    tl.store(inverse_norm_ptr + row, inverse_norm, inside)
    tl.store(positives_ptr + row, tl.where(row < N, row + N, row - N), inside)
    if factors_ptr is not None:
        tl.store(factors_ptr + row, mantissa(inverse_norm), inside)
        inverse_norm = power_of_two(inverse_norm)
    for start in range(0, D, BLOCK_D):
        lane = start + tl.arange(0, BLOCK_D)
        z = rows_of_views(z0_ptr, z1_ptr, row, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride)
        unit = (z * inverse_norm[:, None]).to(unit_ptr.dtype.element_ty)
        tl.store(unit_ptr + row[:, None] * D + lane[None, :], unit, inside[:, None] & (lane < D)[None, :])


@triton.jit
def nt_xent_finish_kernel(
    x_ptr,
    factors_ptr,
    positives_ptr,
    shift_ptr,
    sum_ptr,
    lse_ptr,
    share_ptr,
    partial_ptr,
    M,
    D,
    slots,
    scale,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SLOTS: tl.constexpr,
    BOUNDED: tl.constexpr,
):
    """n and a of each row from its slots and its positive; the sum of the losses and the largest a of each program."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < M
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, slots, SLOTS):
        slot = start + tl.arange(0, SLOTS)
        at = slot[:, None].to(tl.int64) * M + row[None, :]
        mask = (slot < slots)[:, None] & inside[None, :]
        sums = tl.load(sum_ptr + at, mask, 0.0)
        if BOUNDED:
            total += tl.sum(sums, 0)
        else:
            shifts = tl.load(shift_ptr + at, mask, float("-inf"))
            top = tl.max(shifts, 0)
            safe = tl.where(top == float("-inf"), 0.0, top)
            shift, total = merge_sums(shift, total, top, tl.sum(sums * tl.exp(shifts - safe[None, :]), 0))
    lse = tl.log(total)
    if not BOUNDED:
        lse += shift
    tl.store(lse_ptr + row, lse, inside)

    positive = tl.load(positives_ptr + row, inside, 0)
    margin = lse - pair_logits(x_ptr, x_ptr, row, positive, inside, D, scale, factors_ptr, factors_ptr, BLOCK, BLOCK_D)
    loss, share = softplus_and_sigmoid(tl.where(inside, margin, float("-inf")))
    tl.store(share_ptr + row, share, inside)
    tl.store(partial_ptr + tl.program_id(0), tl.sum(loss))
    tl.store(partial_ptr + tl.num_programs(0) + tl.program_id(0), tl.max(share))


@triton.jit
def nt_xent_mean_kernel(partial_ptr, loss_ptr, peak_ptr, partials, M, BLOCK: tl.constexpr):
    """The mean loss and the largest a of all rows, from those of the programs; one program."""
    losses, peaks = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, partials, BLOCK):
        at = start + tl.arange(0, BLOCK)
        losses += tl.load(partial_ptr + at, at < partials, 0.0)
        peaks = tl.maximum(peaks, tl.load(partial_ptr + partials + at, at < partials, 0.0))
    tl.store(loss_ptr, tl.sum(losses) / M)
    tl.store(peak_ptr, tl.max(peaks))


def forward(z0: Tensor, z1: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``(loss, unit, inverse_norm, lse, share, peak)``; unit is in the dtype that z0 and z1 promote to.

    In half types it lacks the mantissas of inverse_norm.
    """
    width = z0.shape[1]
    z0, z1 = padded(z0), padded(z1)
    pairs, dim = z0.shape
    size = 2 * pairs
    unit = z0.new_empty((size, dim), dtype=torch.promote_types(z0.dtype, z1.dtype))
    if unit.dtype == torch.float64:
        raise TypeError("nt_xent: float64 runs on the CPU only, got float64 rows on a GPU")
    config = _launch.similarity_forward(size, dim, unit.element_size())
    bounded = _launch.is_bounded(scale, 1.0)
    slots = triton.cdiv(size, config["BLOCK"] * config["GROUP"])
    rows_config, finish_config = _nt_xent_launch.nt_xent_rows(dim), _nt_xent_launch.nt_xent_finish(dim)
    programs = triton.cdiv(size, finish_config["BLOCK"])
    positives = z0.new_empty((size,), dtype=torch.int64)
    sums = z0.new_empty((slots, size), dtype=torch.float32)
    shifts = sums if bounded else torch.empty_like(sums)
    inverse_norm, lse, share = (sums.new_empty((size,)) for _ in range(3))
    factors = None if unit.dtype == torch.float32 else torch.empty_like(lse)
    partials, loss, peak = sums.new_empty((2, programs)), sums.new_empty(()), sums.new_empty(())
    with _launch.on_device_of(z0):
        nt_xent_normalise_kernel[(triton.cdiv(size, rows_config["BLOCK"]),)](
            z0, z1, unit, inverse_norm, factors, positives, pairs, dim, *z0.stride(), *z1.stride(), **rows_config
        )
        similarity_forward_kernel[(slots * (slots + 1) // 2,)](
            unit,
            factors,
            positives,
            shifts,
            sums,
            size,
            dim,
            scale,
            **config,
            BOUNDED=bounded,
            PRECISION=_launch.input_precision(unit),
        )
        nt_xent_finish_kernel[(programs,)](
            unit,
            factors,
            positives,
            shifts,
            sums,
            lse,
            share,
            partials,
            size,
            dim,
            slots,
            scale,
            **finish_config,
            BOUNDED=bounded,
        )
        nt_xent_mean_kernel[(1,)](partials, loss, peak, programs, size, BLOCK=1024)
    return loss, first_columns(unit, width), inverse_norm, lse, share, peak
