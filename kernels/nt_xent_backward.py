"""Gradient of NT-Xent in the two views, in Triton.

In the notation of nt_xent.py the gradient of the unit rows is scale / 2N * W X, with W_ij = a_i exp(S_ij - n_i) +
a_j exp(S_ij - n_j), W_{i, p(i)} = -(a_i + a_p(i)) and W_ii = 0. That of a view's row z, of norm r, with u = z / r, is
(g - u <u, g>) / r; where the loss is small most of g lies along u, so u is made of z again: x is rounded. W is never
stored whole; it is rounded to the dtype of X for the product with X. Half types have factors (nt_xent.py), by which a
weight is multiplied before it is rounded, and positives take no place in W there: their part is added in float32. For
few rows W goes in two parts (weight_tile.py).

In one kernel, 1 launch and 8 N^2 D multiply-adds, up to D = 128 where the problem is small: a program keeps BLOCK_M
rows and walks over all of X, of which each block is read once and serves both products; the projection, the incoming
gradient and the rounding to the views' dtypes happen before the only store. Views that need no gradient have no
programs. (It ends with three more rows beside those of the gradient: at D = 256 144 bytes a thread spill on Ampere and
248 on Hopper, at D = 512 over 2,000.) Otherwise similarity_softmax_backward.py makes the gradient of the unit rows, in
registers up to D = 512 or in strips, and one more launch takes it to the views: 2 N D reads of it and of the views, and
as many writes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _nt_xent_launch, similarity_softmax_backward
from sslfast.kernels.aligned_rows import first_columns, padded
from sslfast.kernels.few_rows import are_few
from sslfast.kernels.nt_xent import mantissa, rows_of_views
from sslfast.kernels.weight_tile import correction

_HUGE = tl.constexpr(1e12)  # where a row's norm is below eps, F.normalize divides by the constant eps: no projection


@triton.jit
def _store_views(
    grad0_ptr, grad1_ptr, grad, row, lane, N, D, inside, NEED_FIRST: tl.constexpr, NEED_SECOND: tl.constexpr
):
    """Rows of the gradient to the view they belong to."""
    mask = inside[:, None] & (lane < D)[None, :]
    if NEED_FIRST:
        at = grad0_ptr + row[:, None] * D + lane[None, :]
        tl.store(at, grad.to(grad0_ptr.dtype.element_ty), mask & (row < N)[:, None])
    if NEED_SECOND:
        at = grad1_ptr + (row - N)[:, None] * D + lane[None, :]
        tl.store(at, grad.to(grad1_ptr.dtype.element_ty), mask & (row >= N)[:, None])


@triton.jit
def nt_xent_backward_kernel(
    x_ptr,
    inverse_norm_ptr,
    lse_ptr,
    share_ptr,
    peak_ptr,
    grad_loss_ptr,
    z0_ptr,
    z1_ptr,
    grad0_ptr,
    grad1_ptr,
    first_row,
    N,
    D,
    row0_stride,
    col0_stride,
    row1_stride,
    col1_stride,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BOUNDED: tl.constexpr,
    HAS_FACTORS: tl.constexpr,
    SPLIT: tl.constexpr,
    NEED_FIRST: tl.constexpr,
    NEED_SECOND: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """BLOCK_M rows of the gradient; where SPLIT, from weights in two parts of the half type, with a product each."""
    M = 2 * N
    row0 = first_row + tl.program_id(0) * BLOCK_M
    row, col, lane = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_OUT)
    in_rows, in_dim = row < M - row0, lane < D
    x_row_at = x_ptr + tl.cast(row0, tl.int64) * D + row[:, None] * D + lane[None, :]
    x_row = tl.load(x_row_at, in_rows[:, None] & in_dim[None, :], 0.0)
    # The largest a becomes 256: small losses and their weights stay within the range of float16, and of float32.
    gain = 256.0 / tl.maximum(tl.load(peak_ptr), 1e-30)
    row_lse = tl.load(lse_ptr + row0 + row, in_rows, 0.0)
    row_share = tl.load(share_ptr + row0 + row, in_rows, 0.0) * gain
    inverse_norm = tl.load(inverse_norm_ptr + row0 + row, in_rows, 1.0)
    # Where the logits are bounded one exp serves both sides: exp(S) (a_i exp(-n_i) + a_j exp(-n_j)). A row without
    # negatives has n = -inf there, and no entry that needs it.
    row_factor = row_share * tl.exp(-row_lse) if BOUNDED else row_share
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    total, left = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    for col0 in range(0, M, BLOCK_N):
        in_cols = col < M - col0
        x_col_at = x_ptr + tl.cast(col0, tl.int64) * D + col[:, None] * D + lane[None, :]
        x_col = tl.load(x_col_at, in_cols[:, None] & in_dim[None, :], 0.0)
        col_lse = tl.load(lse_ptr + col0 + col, in_cols, 0.0)
        col_share = tl.load(share_ptr + col0 + col, in_cols, 0.0) * gain
        logits = tl.dot(x_row, x_col.trans(), input_precision=PRECISION) * scale
        if HAS_FACTORS:
            col_factor = mantissa(tl.load(inverse_norm_ptr + col0 + col, in_cols, 1.0))[None, :]
            logits *= mantissa(inverse_norm)[:, None] * col_factor
        if BOUNDED:
            weight = tl.exp(logits) * (row_factor[:, None] + (col_share * tl.exp(-col_lse))[None, :])
        else:
            weight = row_factor[:, None] * tl.exp(logits - row_lse[:, None])
            weight += col_share[None, :] * tl.exp(logits - col_lse[None, :])
        # Few tiles touch the diagonal, a positive or the end.
        ahead = col0 - row0
        itself = (ahead < BLOCK_M) & (ahead > -BLOCK_N)
        upper = (ahead - N < BLOCK_M) & (ahead - N > -BLOCK_N)
        lower = (ahead + N < BLOCK_M) & (ahead + N > -BLOCK_N)
        if itself | upper | lower | (col0 + BLOCK_N > M):
            step = ahead + col[None, :] - row[:, None]
            positive = (step == N) | (step == -N)
            weight = tl.where(positive, 0.0 if HAS_FACTORS else -(row_share[:, None] + col_share[None, :]), weight)
            weight = tl.where((step == 0) | (col >= M - col0)[None, :], 0.0, weight)
        rounded = weight
        if HAS_FACTORS:
            factored = weight * col_factor
            rounded = factored.to(x_col.dtype)
            kept = rounded.to(tl.float32)
            if SPLIT:
                rest = (factored - kept).to(x_col.dtype)
                kept += rest.to(tl.float32)
                grad = tl.dot(rest, x_col, grad)
            total += tl.sum(weight, 1)
            left += tl.sum(kept * (1.0 / col_factor), 1)
        grad = tl.dot(rounded, x_col, grad, input_precision=PRECISION)
    at = tl.cast(row0, tl.int64) + row
    if HAS_FACTORS:
        other = tl.where(at < N, at + N, at - N)
        share = row_share + tl.load(share_ptr + other, in_rows, 0.0) * gain
        share *= mantissa(tl.load(inverse_norm_ptr + other, in_rows, 1.0))
        grad *= correction(total, left)[:, None]
        x_other = tl.load(x_ptr + other[:, None] * D + lane[None, :], in_rows[:, None] & in_dim[None, :], 0.0)
        grad -= share[:, None] * x_other
    z = rows_of_views(z0_ptr, z1_ptr, at, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride)
    unit = z * inverse_norm[:, None]
    along = tl.where(inverse_norm < _HUGE, tl.sum(grad * unit, 1), 0.0)
    factor = tl.load(grad_loss_ptr).to(tl.float32) * (scale / M) / gain
    grad = (grad - unit * along[:, None]) * (inverse_norm * factor)[:, None]
    _store_views(grad0_ptr, grad1_ptr, grad, at, lane, N, D, in_rows, NEED_FIRST, NEED_SECOND)


@triton.jit
def nt_xent_project_kernel(
    unit_grad_ptr,
    inverse_norm_ptr,
    grad_loss_ptr,
    z0_ptr,
    z1_ptr,
    grad0_ptr,
    grad1_ptr,
    N,
    D,
    row0_stride,
    col0_stride,
    row1_stride,
    col1_stride,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    NEED_FIRST: tl.constexpr,
    NEED_SECOND: tl.constexpr,
):
    """The gradient of unit rows, taken to the views and multiplied with that of the loss."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < 2 * tl.cast(N, tl.int64)
    inverse_norm = tl.load(inverse_norm_ptr + row, inside, 0.0)
    along = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK_D):
        lane = start + tl.arange(0, BLOCK_D)
        z = rows_of_views(z0_ptr, z1_ptr, row, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride)
        at = row[:, None] * D + lane[None, :]
        grad = tl.load(unit_grad_ptr + at, inside[:, None] & (lane < D)[None, :], 0.0)
        along += tl.sum(grad * (z * inverse_norm[:, None]), 1)
    along = tl.where(inverse_norm < _HUGE, along, 0.0)
    factor = inverse_norm * tl.load(grad_loss_ptr).to(tl.float32)
    for start in range(0, D, BLOCK_D):
        lane = start + tl.arange(0, BLOCK_D)
        z = rows_of_views(z0_ptr, z1_ptr, row, lane, N, D, row0_stride, col0_stride, row1_stride, col1_stride)
        at = row[:, None] * D + lane[None, :]
        grad = tl.load(unit_grad_ptr + at, inside[:, None] & (lane < D)[None, :], 0.0)
        grad = (grad - z * (inverse_norm * along)[:, None]) * factor[:, None]
        _store_views(grad0_ptr, grad1_ptr, grad, row, lane, N, D, inside, NEED_FIRST, NEED_SECOND)


def backward(
    z0: Tensor,
    z1: Tensor,
    unit: Tensor,
    inverse_norm: Tensor,
    lse: Tensor,
    share: Tensor,
    peak: Tensor,
    grad: Tensor,
    scale: float,
    need_z0: bool,
    need_z1: bool,
) -> tuple[Tensor, Tensor]:
    """Contiguous gradients in the dtypes of z0 and z1; of a view that needs none, (0, D)."""
    width = z0.shape[1]
    z0, z1, unit = padded(z0), padded(z1), padded(unit)
    pairs, dim = z0.shape
    needs = {"NEED_FIRST": need_z0, "NEED_SECOND": need_z1}
    grads = tuple(
        torch.empty((pairs if need else 0, dim), dtype=z.dtype, device=z.device)
        for z, need in ((z0, need_z0), (z1, need_z1))
    )
    with _launch.on_device_of(unit):
        if dim <= 128 and _launch.similarity_in_registers(2 * pairs, dim, unit.element_size()):
            split = are_few(2 * pairs, 2 * pairs, unit.element_size(), same=True)
            config = _nt_xent_launch.nt_xent_backward(dim, unit.element_size(), split)
            first, last = 0 if need_z0 else pairs, 2 * pairs if need_z1 else pairs
            nt_xent_backward_kernel[(triton.cdiv(last - first, config["BLOCK_M"]),)](
                unit,
                inverse_norm,
                lse,
                share,
                peak,
                grad,
                z0,
                z1,
                *grads,
                first,
                pairs,
                dim,
                *z0.stride(),
                *z1.stride(),
                scale,
                **config,
                BOUNDED=_launch.is_bounded(scale, 1.0),
                HAS_FACTORS=unit.dtype != torch.float32,
                SPLIT=split,
                **needs,
                PRECISION=_launch.input_precision(unit),
            )
        else:
            positives = torch.arange(2 * pairs, device=unit.device).roll(pairs)
            share = share / (2 * pairs)
            factors = None if unit.dtype == torch.float32 else torch.frexp(inverse_norm).mantissa.mul_(2.0)
            unit_grad = similarity_softmax_backward.backward(
                unit, positives, lse, share, -share, lse[:0], scale, 1.0, factors
            )
            config = _nt_xent_launch.nt_xent_rows(dim)
            nt_xent_project_kernel[(triton.cdiv(2 * pairs, config["BLOCK"]),)](
                unit_grad, inverse_norm, grad, z0, z1, *grads, pairs, dim, *z0.stride(), *z1.stride(), **config, **needs
            )
    return first_columns(grads[0], width), first_columns(grads[1], width)
