"""Sinkhorn-Knopp over scores (N, K) by the potentials of the prototypes, in Triton.

Q_nk, rows that sum to 1, is the softmax over k of scale * s_nk + potential_k. `peaks` goes down the columns once, with
a running maximum: the masses of the prototypes before any iteration. `masses` reads the scores twice, along the rows
for their sums (kernels/prototype_rows.py) and down the columns for the sums of Q, `assign` twice and writes Q. No
matrix is written before that, `potentials` is all iterations, nothing is atomic. Rows of weight 0 are not read.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _prototype_launch
from sslfast.kernels.prototype_rows import prototype_rows, row_total


@triton.jit
def sinkhorn_peaks_kernel(
    s_ptr, weights_ptr, top_ptr, sum_ptr, N, K, row_stride, scale, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """BLOCK columns, all rows."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, N, ROWS):
        row = tl.cast(start, tl.int64) + tl.arange(0, ROWS)
        read = row < N
        if weights_ptr is not None:
            read = read & (tl.load(weights_ptr + row, read, 0.0) != 0.0)
        inside = read[:, None] & (k < K)[None, :]
        s = tl.load(s_ptr + row[:, None] * row_stride + k[None, :], inside, float("-inf")).to(tl.float32)
        new_top = tl.maximum(top, tl.max(s, 0))
        safe = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp((top - safe) * scale) + tl.sum(tl.exp((s - safe[None, :]) * scale), 0)
        top = new_top
    tl.store(top_ptr + k, top, k < K)
    tl.store(sum_ptr + k, total, k < K)


@triton.jit
def sinkhorn_totals_kernel(top_ptr, sum_ptr, row_top_ptr, inverse_ptr, N, splits, scale, SPLITS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top, total = row_total(top_ptr, sum_ptr, row, N, splits, scale, SPLITS)
    tl.store(row_top_ptr + row, top)
    tl.store(inverse_ptr + row, 1.0 / total)


@triton.jit
def sinkhorn_masses_kernel(
    s_ptr,
    center_ptr,
    weights_ptr,
    row_top_ptr,
    inverse_ptr,
    mass_ptr,
    N,
    K,
    row_stride,
    scale,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """BLOCK columns, all rows."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    center = tl.load(center_ptr + k, k < K, 0.0)
    mass = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, N, ROWS):
        row = tl.cast(start, tl.int64) + tl.arange(0, ROWS)
        read = row < N
        if weights_ptr is not None:
            read = read & (tl.load(weights_ptr + row, read, 0.0) != 0.0)
        inside = read[:, None] & (k < K)[None, :]
        s = tl.load(s_ptr + row[:, None] * row_stride + k[None, :], inside, 0.0).to(tl.float32)
        top = tl.load(row_top_ptr + row, read, 0.0)
        inverse = tl.load(inverse_ptr + row, read, 0.0)
        q = tl.exp((s - center[None, :] - top[:, None]) * scale) * inverse[:, None]
        mass += tl.sum(tl.where(inside, q, 0.0), 0)
    tl.store(mass_ptr + k, mass, k < K)


@triton.jit
def sinkhorn_assign_kernel(
    s_ptr, center_ptr, row_top_ptr, inverse_ptr, out_ptr, K, row_stride, scale, BLOCK: tl.constexpr
):
    blocks = tl.cdiv(K, BLOCK)  # one grid dimension: the others end at 65,535
    row = (tl.program_id(0) // blocks).to(tl.int64)
    k = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    s = tl.load(s_ptr + row * row_stride + k, k < K, 0.0).to(tl.float32) - tl.load(center_ptr + k, k < K, 0.0)
    q = tl.exp((s - tl.load(row_top_ptr + row)) * scale) * tl.load(inverse_ptr + row)
    tl.store(out_ptr + row * K + k, q, k < K)


def _check(scores: Tensor) -> None:
    if scores.dtype == torch.float64:
        raise TypeError("sinkhorn_knopp: float64 runs on the CPU only, got float64 scores on a GPU")


def peaks(scores: Tensor, weights: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    _check(scores)
    size, width = scores.shape
    tops = scores.new_empty((width,), dtype=torch.float32)
    sums = torch.empty_like(tops)
    config = _prototype_launch.sinkhorn_columns()
    with _launch.on_device_of(scores):
        sinkhorn_peaks_kernel[(triton.cdiv(width, config["BLOCK"]),)](
            scores, weights, tops, sums, size, width, scores.stride(0), scale, **config
        )
    return tops, sums


def _row_totals(
    scores: Tensor, potentials: Tensor, weights: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The potentials as a center, and every row's largest number and the inverse of its sum."""
    center = potentials * (-1.0 / scale)
    tops, sums = prototype_rows(scores, center, weights, scale)
    splits, size = tops.shape
    row_tops, inverse = tops.new_empty((size,)), tops.new_empty((size,))
    with _launch.on_device_of(scores):
        sinkhorn_totals_kernel[(size,)](
            tops, sums, row_tops, inverse, size, splits, scale, SPLITS=triton.next_power_of_2(splits), num_warps=1
        )
    return center, row_tops, inverse


def masses(scores: Tensor, potentials: Tensor, weights: Tensor | None, scale: float) -> Tensor:
    _check(scores)
    size, width = scores.shape
    if size == 0:
        return potentials.new_zeros((width,))
    center, row_tops, inverse = _row_totals(scores, potentials, weights, scale)
    result = torch.empty_like(potentials)
    config = _prototype_launch.sinkhorn_columns()
    with _launch.on_device_of(scores):
        sinkhorn_masses_kernel[(triton.cdiv(width, config["BLOCK"]),)](
            scores, center, weights, row_tops, inverse, result, size, width, scores.stride(0), scale, **config
        )
    return result


def potentials(scores: Tensor, weights: Tensor | None, scale: float, iterations: int) -> Tensor:
    tops, sums = peaks(scores, weights, scale)
    highest = tops.amax()
    result = torch.where(tops == -torch.inf, 0.0, highest - tops) * scale - _log(sums)
    for _ in range(iterations - 1):
        result -= result.amax()
        result -= _log(masses(scores, result, weights, scale))
    return result - result.amax()


def _log(mass: Tensor) -> Tensor:
    """A prototype that no sample reaches within the range of a float stays as it is."""
    return torch.where(mass == 0, 0.0, mass.log())


def assign(scores: Tensor, potentials: Tensor, scale: float, rows: int) -> Tensor:
    _check(scores)
    out = potentials.new_empty((rows, scores.shape[1]))
    if rows == 0:
        return out
    first, width = scores[:rows], scores.shape[1]
    center, row_tops, inverse = _row_totals(first, potentials, None, scale)
    config = _prototype_launch.sinkhorn_assign(width)
    with _launch.on_device_of(scores):
        sinkhorn_assign_kernel[(rows * triton.cdiv(width, config["BLOCK"]),)](
            first, center, row_tops, inverse, out, width, scores.stride(0), scale, **config
        )
    return out
