"""What the kernels of the similarity operators share: a tile of logits, its sums, and the way of its weights back."""

import torch
import triton
import triton.language as tl
from torch import Tensor


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
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """scale * Q K^T for ROWS rows of Q (N, D) from row0 and COLS rows of K (M, D) from col0, float32.

    row0 and col0 are int64 scalars; within a tile offsets fit in 32 bits, which halves the registers of addresses.
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
    return logits * scale


@triton.jit
def pair_logits(q_ptr, k_ptr, row, other, inside, D, scale, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """scale * <Q_row, K_other> for BLOCK pairs of rows, float32."""
    logit = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        q = tl.load(q_ptr + row[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        k = tl.load(k_ptr + other[:, None] * D + d[None, :], mask, 0.0).to(tl.float32)
        logit += tl.sum(q * k, 1)
    return logit * scale


@triton.jit
def among_negatives(
    logits, row_ids_ptr, col_ids_ptr, row_limits_ptr, row0, col0, N, M, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """Where a tile's rows and columns differ in their ids and its logits are not above the limit of their row.

    Ids or limits may be None. A NaN is above no limit.
    """
    row, col = tl.arange(0, ROWS), tl.arange(0, COLS)
    among = tl.full((ROWS, COLS), 1, tl.int1)
    if row_ids_ptr is not None:
        row_ids = tl.load(row_ids_ptr + row0 + row, row < N - row0, 0)
        col_ids = tl.load(col_ids_ptr + col0 + col, col < M - col0, 0)
        among = row_ids[:, None] != col_ids[None, :]
    if row_limits_ptr is not None:
        limits = tl.load(row_limits_ptr + row0 + row, row < N - row0, 0.0)
        among = among & ((logits <= limits[:, None]) | (logits != logits))
    return among


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


def add_product(out: Tensor, a: Tensor, b: Tensor, alpha: float = 1.0) -> None:
    """out += alpha * a b, in float32 whatever the dtype of a and b."""
    if a.is_cuda and a.dtype != torch.float32:
        torch.addmm(out, a, b, out_dtype=torch.float32, alpha=alpha, out=out)
    else:  # the interpreter's half types are widened: torch has out_dtype on CUDA only
        out.addmm_(a.float(), b.float(), alpha=alpha)
