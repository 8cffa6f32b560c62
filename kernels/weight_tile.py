"""The way of weights back to the gradients of rows and columns, which the kernels of the similarity operators share.

A weight is multiplied by the factor, if there is one, of the row that it is to multiply, before it is rounded. Weights
of half types are rounded, and the errors of many average out; but where a row has one that is far above the others, or
all are alike, they do not. So each row's sum of products is brought back to the sum that its weights had: what is one
number in all of them, or one weight's, is not lost by rounding. The gradient of a positive, which may be as large as
those of all negatives, is never rounded: it takes no place in a tile of half types and is added by a launch of its own.

Where labels give a row several positives they do take places in the tile, a few large weights among many small ones,
whose rounding errors do not average out. The weights of half types are then split: the rounded ones and what rounding
took off, rounded in turn, side by side, with a product each. Losses without labels do not pay for it. Nor do the errors
of few rows average out, whose weights are not rounded (few_rows.py).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch


@triton.jit
def store_weights(
    weights_ptr, weights, factors_ptr, start, end, stride, mask, AXIS: tl.constexpr, SPLIT: tl.constexpr = False
):
    """A tile of weights, rounded to a buffer with rows of that stride; first, if factors are not None, times those from
    start to end along AXIS: of the columns (1) on the way to rows, of the rows (0) on the way to columns.

    Where SPLIT, half types take twice the place: the second half of a row gets what the rounding took off, rounded.
    Returns what the rounding has left of the weights, float32, without the factors.
    """
    row, col = tl.arange(0, weights.shape[0]), tl.arange(0, weights.shape[1])
    at = weights_ptr + row[:, None] * stride + col[None, :]
    if factors_ptr is not None:
        line = col if AXIS == 1 else row
        factors = tl.expand_dims(tl.load(factors_ptr + start + line, line < end - start, 1.0), 1 - AXIS)
        left = _store_rounded(at, weights * factors, stride, mask, SPLIT) * (1.0 / factors)
    else:
        left = _store_rounded(at, weights, stride, mask, SPLIT)
    return left


@triton.jit
def _store_rounded(at, weights, stride, mask, SPLIT: tl.constexpr):
    """Stores weights, and where SPLIT their rest; returns what is left of them, float32."""
    rounded = weights.to(at.dtype.element_ty)
    tl.store(at, rounded, mask)
    left = rounded.to(tl.float32)
    if SPLIT and at.dtype.element_ty != tl.float32:
        rest = (weights - left).to(at.dtype.element_ty)
        tl.store(at + stride // 2, rest, mask)
        left += rest.to(tl.float32)
    return left


@triton.jit
def add_sums(sums_ptr, slot, weights, left, start, size, mask, AXIS: tl.constexpr):
    """Adds the sums over AXIS, without signs, of weights and of what rounding has left of them to a slot (2, size)."""
    line = tl.arange(0, weights.shape[1 - AXIS])
    inside = line < size - start
    at = sums_ptr + tl.cast(slot, tl.int64) * 2 * size + start + line
    tl.store(at, tl.load(at, inside, 0.0) + tl.sum(tl.where(mask, tl.abs(weights), 0.0), AXIS), inside)
    at += size
    tl.store(at, tl.load(at, inside, 0.0) + tl.sum(tl.where(mask, tl.abs(left), 0.0), AXIS), inside)


@triton.jit
def add_rounded(
    sums,
    weights,
    x_ptr,
    factors_ptr,
    start,
    end,
    D,
    out,
    PRECISION: tl.constexpr,
    SPLIT: tl.constexpr = False,
):
    """sums + W X for a tile of weights and the rows of X, (end, D), from start on, columns ``out``, rounded as in
    store_weights. Also the sum, without signs, of what the rounding has left of each row of W, without the factors.

    Where SPLIT, half types take two products: that with what the rounding took off, rounded, too.
    """
    col = tl.arange(0, weights.shape[1])
    inside = col < end - start
    split: tl.constexpr = SPLIT and x_ptr.dtype.element_ty != tl.float32
    at, mask = x_ptr + start * D + col[:, None] * D + out[None, :], inside[:, None] & (out < D)[None, :]
    if not split:
        x = tl.load(at, mask, 0.0)
    rounded = weights
    if factors_ptr is not None:
        factors = tl.load(factors_ptr + start + col, inside, 1.0)[None, :]
        rounded *= factors
    high = rounded.to(x_ptr.dtype.element_ty)
    kept = high.to(tl.float32)
    if split:
        low = (rounded - kept).to(x_ptr.dtype.element_ty)
        kept += low.to(tl.float32)
    if factors_ptr is not None:
        kept *= 1.0 / factors
    left = tl.sum(tl.abs(kept), 1)
    if split:
        # After the sums, and a loop, which stays one: two products spill 4,000 bytes on Hopper at D = 512.
        x = tl.load(at, mask, 0.0)
        for part in range(2):
            sums = tl.dot(tl.where(part == 0, high, low), x, sums, input_precision=PRECISION)
    else:
        sums = tl.dot(high, x, sums, input_precision=PRECISION)
    return sums, left


@triton.jit
def correction(total, left):
    """What brings a product with rounded weights back to the sum that they had."""
    return tl.where(left > 0.0, total / left, 1.0)


@triton.jit
def pairs_kernel(
    out_ptr,
    from_ptr,
    factors_ptr,
    weights_ptr,
    pairs_ptr,
    begin_ptr,
    alpha,
    size,
    D,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """out_i += alpha * weights * factors * from, for every pair of row i; the factors may be None.

    Without begin it has one pair: weights_i and, if it is not negative, the row pairs_i. Else those from begin_i to
    begin_{i + 1}: each is a row, whose weight has its number.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside, in_dim = row < size, (d < D)[None, :]
    if begin_ptr is None:
        other = tl.load(pairs_ptr + row, inside, -1)
        has = inside & (other >= 0)
        weight = alpha * tl.load(weights_ptr + row, has, 0.0)
        if factors_ptr is not None:
            weight *= tl.load(factors_ptr + other, has, 0.0)
        total = weight[:, None] * tl.load(from_ptr + other[:, None] * D + d[None, :], has[:, None] & in_dim, 0.0)
    else:
        begin = tl.load(begin_ptr + row, inside, 0)
        count = tl.load(begin_ptr + row + 1, inside, 0) - begin
        total = tl.zeros((BLOCK, BLOCK_D), tl.float32)
        for k in range(tl.max(count)):
            has = k < count
            other = tl.load(pairs_ptr + begin + k, has, 0)
            weight = alpha * tl.load(weights_ptr + other, has, 0.0)
            if factors_ptr is not None:
                weight *= tl.load(factors_ptr + other, has, 0.0)
            total += weight[:, None] * tl.load(from_ptr + other[:, None] * D + d[None, :], has[:, None] & in_dim, 0.0)
    at, mask = out_ptr + row[:, None] * D + d[None, :], inside[:, None] & in_dim
    tl.store(at, tl.load(at, mask, 0.0) + total, mask)


def add_pairs(
    out_rows: Tensor | None,
    out_columns: Tensor | None,
    rows: Tensor,
    columns: Tensor,
    row_factors: Tensor | None,
    col_factors: Tensor | None,
    positives: Tensor,
    weights: Tensor,
    alpha: float = 1.0,
) -> None:
    """What weights of the pairs (i, positives_i) alone add to the gradients of rows and of columns, in float32.

    The pairs of a column, which may be the positive of several rows, are added up in order: no atomics.
    """
    config = _launch.pairs(rows.shape[1])

    def add(out: Tensor, *rest: Tensor | None) -> None:
        grid = (triton.cdiv(len(out), config["BLOCK"]), triton.cdiv(out.shape[1], config["BLOCK_D"]))
        pairs_kernel[grid](out, *rest, alpha, *out.shape, **config)

    if out_rows is not None:
        add(out_rows, columns, col_factors, weights, positives, None)
    if out_columns is not None:
        sorted_positives, order = positives.sort(stable=True)
        begin = torch.searchsorted(sorted_positives, torch.arange(len(out_columns) + 1, device=positives.device))
        add(out_columns, rows, row_factors, weights, order, begin)


def correct_(out: Tensor, sums: Tensor | None) -> None:
    """Brings sums of products with rounded weights back to the sums (slots, 2, N) that the weights had, if given."""
    if sums is not None:
        total, left = sums.sum(dim=0)
        out.mul_(torch.where(left > 0.0, total / left, 1.0).unsqueeze(1))


def add_product(out: Tensor, a: Tensor, b: Tensor, alpha: float = 1.0) -> None:
    """out += alpha * a b, in float32 whatever the dtype of a and b.

    Where torch may accumulate products of float16 in float16 it has none that end in float32: float32 copies are taken.
    """
    narrow = a.dtype == torch.float16 and getattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", False)
    if a.is_cuda and a.dtype != torch.float32 and not narrow:
        torch.addmm(out, a, b, out_dtype=torch.float32, alpha=alpha, out=out)
    else:  # the interpreter's half types are widened, too: torch has out_dtype on CUDA only
        out.addmm_(a.float(), b.float(), alpha=alpha)


def parts_of(weights_dtype: torch.dtype, labels: Tensor | None) -> int:
    """How many numbers a weight is split into: see above."""
    return 1 if labels is None or weights_dtype == torch.float32 else 2


def add_products(out: Tensor, weights: Tensor, b: Tensor, alpha: float = 1.0, *, turned: bool = False) -> None:
    """out += alpha * W b, or W^T b where ``turned``, for the weights W (N, parts, M), the sum of their parts."""
    for part in weights.unbind(1):
        add_product(out, part.t() if turned else part, b, alpha)
