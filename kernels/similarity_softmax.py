"""Softmax over the similarities of rows with themselves, forward, in Triton.

For rows X (M, D), S = scale * X X^T and positives p: the log-sum-exp n_i over the negatives (all j but i and p(i)) and
S_{i, p(i)}. Where rows come with factors, X are the products of both. S is never stored. The gradient is in
similarity_softmax_backward.py.

2 launches, M^2 D / 2 multiply-adds: S is symmetric, so a program takes GROUP x GROUP tiles on or above the diagonal and
each tile above it serves its rows and its columns. Every row has one slot per group of columns for its partial sums, at
most 128 slots or 1 KiB, and each is written by one program alone: no atomics, the same bits in every run. The maximum
is a true running one, except where |S| <= 40 is known (unit rows at a temperature of 0.025 or more): there exp is safe
without it, and one exp serves both sides.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch
from sslfast.kernels.aligned_rows import aligned
from sslfast.kernels.logit_tile import merge_sums, pair_logits, similarity_forward_kernel


@triton.jit
def similarity_finish_kernel(
    x_ptr,
    factors_ptr,
    positives_ptr,
    shift_ptr,
    sum_ptr,
    lse_ptr,
    positive_logits_ptr,
    M,
    D,
    slots,
    scale,
    BLOCK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BOUNDED: tl.constexpr,
):
    """Adds up the slots of each row, and multiplies it with its positive."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = row < M
    shift = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for slot in range(slots):
        at = tl.cast(slot, tl.int64) * M + row
        slot_sum = tl.load(sum_ptr + at, inside, 0.0)
        if BOUNDED:
            total += slot_sum
        else:
            shift, total = merge_sums(shift, total, tl.load(shift_ptr + at, inside, float("-inf")), slot_sum)
    lse = tl.log(total)
    if not BOUNDED:
        lse += shift
    tl.store(lse_ptr + row, lse, inside)

    positive = tl.load(positives_ptr + row, inside, -1)
    has = inside & (positive >= 0)
    logit = pair_logits(x_ptr, x_ptr, row, positive, has, D, scale, factors_ptr, factors_ptr, BLOCK, BLOCK_D)
    tl.store(positive_logits_ptr + row, tl.where(has, logit, float("-inf")), inside)


def forward(
    rows: Tensor,
    positives: Tensor,
    scale: float,
    max_norm: float,
    keep: int,
    factors: Tensor | None = None,
    packed: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = supported_rows(rows)
    size, dim = rows.shape
    config = _launch.similarity_forward(size, dim, rows.element_size())
    bounded = _launch.is_bounded(scale, max_norm)
    slots = triton.cdiv(size, config["BLOCK"] * config["GROUP"])
    sums = rows.new_empty((slots, size), dtype=torch.float32)
    shifts = sums if bounded else torch.empty_like(sums)
    lse, positive_logits = torch.empty_like(sums[0]), torch.empty_like(sums[0])
    precision = _launch.input_precision(rows)
    with _launch.on_device_of(rows):
        similarity_forward_kernel[(slots * (slots + 1) // 2,)](
            rows, factors, positives, shifts, sums, size, dim, scale, **config, BOUNDED=bounded, PRECISION=precision
        )
        similarity_finish_kernel[(triton.cdiv(size, 64),)](
            rows,
            factors,
            positives,
            shifts,
            sums,
            lse,
            positive_logits,
            size,
            dim,
            slots,
            scale,
            BLOCK=64,
            BLOCK_D=config["BLOCK_D"],
            BOUNDED=bounded,
        )
    return lse, positive_logits, lse.new_empty((keep,), dtype=torch.int16 if packed else lse.dtype)


def supported_rows(rows: Tensor) -> Tensor:
    if rows.dtype == torch.float64:
        raise TypeError("similarity_softmax: float64 runs on the CPU only, got float64 rows on a GPU")
    return aligned(rows)
