"""What one_way_softmax.py has, up to D = 512, in registers, in Triton.

The columns are a queue to the rows: the pass of queue_softmax.py leaves of every run of them its maximum, sum and mean,
2 N M D multiply-adds, the gradient in the forward pass. Rows of one_way_strip.py add up the runs to log-sum-exps,
losses and shares, and a third launch the means to the gradient. Where columns need one, too, it is the columns' side of
cross_softmax_registers.py with these log-sum-exps: 2 N M D more, S once again, while the strips, with N M D for S and
for each side, write and read 14 to 18 bytes a logit. Here nothing of N x M is stored. From device memory it is
2 (N + M) D bytes, 4 N D for each run's means, and the gradients.

With labels the pass leaves maxima and sums alone, N M D: a share of a label is taken off a weight before that is
rounded, for which its row's softmax has to be complete. Both sides are then those of cross_softmax_registers.py.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, cross_softmax_registers
from sslfast.kernels.one_way_strip import one_way_rows_kernel
from sslfast.kernels.queue_softmax import queue_softmax_kernel


@triton.jit
def one_way_gradient_kernel(
    shift_ptr,
    mean_ptr,
    lse_ptr,
    shares_ptr,
    grad_ptr,
    N,
    D,
    splits,
    BLOCK_M: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """share_i * sum_k exp(S_ik - n_i) K_k of the means that the runs have left, in order."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    out = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_rows = row < N
    mask = in_rows[:, None] & (out < D)[None, :]
    lse = tl.load(lse_ptr + row, in_rows, 0.0)
    share = tl.load(shares_ptr + row, in_rows, 0.0)
    grad = tl.zeros((BLOCK_M, BLOCK_OUT), tl.float32)
    for split in range(splits):
        at = tl.cast(split, tl.int64) * N + row
        shift = tl.load(shift_ptr + at, in_rows, float("-inf"))
        # Where a run has nothing to sum its mean is 0; a NaN there is one in the share, too.
        factor = tl.where(shift == float("-inf"), 0.0, tl.exp(shift - lse)) * share
        grad += factor[:, None] * tl.load(mean_ptr + at[:, None] * D + out[None, :], mask, 0.0)
    tl.store(grad_ptr + row[:, None] * D + out[None, :], grad, mask)


def in_registers(
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
    """Losses, log-sum-exps and shares; and both gradients, of all pairs but the positives."""
    (size, dim), length = rows.shape, len(columns)
    *classes, label_weights = labels
    in_pass = need_rows and label_weights is None
    config = _launch.queue_softmax(dim, rows.element_size(), _launch.arch(rows), precision, in_pass)
    blocks = triton.cdiv(size, config["BLOCK_M"])
    slices = triton.cdiv(dim, config["BLOCK_OUT"]) if in_pass else 1
    run = _launch.queue_run(blocks * slices, length, config["BLOCK_N"])
    splits = triton.cdiv(length, run)
    shifts = rows.new_empty((splits, size), dtype=torch.float32)
    sums = torch.empty_like(shifts)
    losses, lse, shares = (torch.empty_like(shifts[0]) for _ in range(3))
    d_rows = rows.new_empty((size if need_rows else 0, dim), dtype=torch.float32)
    d_columns = rows.new_empty((0, dim), dtype=torch.float32)
    means = rows.new_empty((splits, size if in_pass else 0, dim), dtype=torch.float32)
    queue_softmax_kernel[(blocks, slices, splits)](
        rows,
        columns,
        row_factors,
        col_factors,
        scale,
        positives,
        *excluded,
        shifts,
        sums,
        means,
        size,
        length,
        dim,
        run,
        **config,
        NEED_MEAN=in_pass,
        PRECISION=precision,
    )
    sides = (rows, columns, row_factors, col_factors, positives, scale)
    one_way_rows_kernel[(triton.cdiv(size, 16),)](
        shifts,
        sums,
        *sides,
        *known,
        losses,
        lse,
        shares,
        0,
        size,
        splits,
        size,
        length,
        dim,
        BLOCK=16,
        BLOCK_D=config["BLOCK_D"],
        SLOTS=64,
    )
    if in_pass:
        block, out = 16, config["BLOCK_OUT"]
        one_way_gradient_kernel[triton.cdiv(size, block), triton.cdiv(dim, out)](
            shifts, means, lse, shares, d_rows, size, dim, splits, BLOCK_M=block, BLOCK_OUT=out
        )
    walks = (need_rows and not in_pass, need_columns)
    if any(walks):
        peak, parts = None, shares
        if rows.dtype == torch.float16:
            # Weights of about 1 / N would be below float16's range: bring their peak to 256 and take it out again.
            peak = shares.abs().amax().clamp_min(1e-30) / 256
            parts = shares / peak
            label_weights = None if label_weights is None else label_weights / peak
        vectors = (lse, None, parts, None, None)
        labels = (*classes, label_weights)
        found = cross_softmax_registers.in_registers(*sides, excluded, labels, vectors, *walks, precision)
        grads = found if peak is None else tuple(grad.mul_(peak) for grad in found)
        d_rows, d_columns = d_rows if in_pass else grads[0], grads[1]
    return losses, lse, shares, d_rows, d_columns
