"""MSN's cross-entropies, sums of shares and gradient from the logits of anchors over K prototypes, in Triton.

With y = scale s of a row s (K), p = softmax(y) and q the target that all views of its sample share: loss =
log sum_k exp(y_k) sum_k q_k - sum_k q_k y_k, and the shares are the sums of p over the anchors, of whose mean m the
regulariser is weight sum_k m_k log m_k. With levels l = weight log m the gradient of both is
(p (1 + l - <p, l>) - q) times a factor: it needs the shares of all anchors, of all ranks, first. No p is written.

Three launches. Rows: an online softmax reads every logit and target once, and leaves 3 numbers a row. Shares: chunks
of anchors by blocks of prototypes read the logits again and leave (chunks, K) partial sums, which are added in order:
the same bits in every run. Gradient: a program walks over its rows twice, for <p, l> and then to write the gradient
over the logits, the second time with what L1 and L2 still have. So of A anchors in V views 3 A K numbers are read and
A K written, and A K targets read twice, of which L2 has all but the first 1 / V. Without levels, the second launch
and the first walk are left out.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _prototype_launch


@triton.jit
def msn_rows_kernel(s_ptr, q_ptr, loss_ptr, stat_ptr, N, samples, K, scale, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < N
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total, mass, along = (tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32))
    for start in range(0, K, BLOCK):
        k = (start + tl.arange(0, BLOCK))[None, :]
        there = inside[:, None] & (k < K)
        s = tl.load(s_ptr + row[:, None] * K + k, there, float("-inf"))
        q = tl.load(q_ptr + (row % samples)[:, None] * K + k, there, 0.0)
        best = tl.max(s, 1)
        new_top = tl.where(best > top, best, top)
        safe = tl.where(new_top == float("-inf"), 0.0, new_top)
        fall = tl.where(top == float("-inf"), 0.0, top - safe)
        y = s - safe[:, None]
        total = total * tl.exp(fall * scale) + tl.sum(tl.exp(y * scale), 1)
        along += fall * mass + tl.sum(tl.where(there, q * y, 0.0), 1)
        mass += tl.sum(q, 1)
        top = new_top
    tl.store(loss_ptr + row, mass * tl.log(total) - along * scale, inside)
    tl.store(stat_ptr + row, top, inside)
    tl.store(stat_ptr + N + row, 1.0 / total, inside)


@triton.jit
def msn_shares_kernel(
    s_ptr, stat_ptr, partial_ptr, N, K, scale, CHUNK: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    chunks = tl.cdiv(N, CHUNK)  # one grid dimension: the others end at 65,535
    chunk = (tl.program_id(0) % chunks).to(tl.int64)
    k = tl.program_id(0) // chunks * BLOCK + tl.arange(0, BLOCK)
    shares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, CHUNK, ROWS):
        row = chunk * CHUNK + start + tl.arange(0, ROWS)
        there = (row < N)[:, None] & (k < K)[None, :]
        top = tl.load(stat_ptr + row, row < N, 0.0)[:, None]
        inverse = tl.load(stat_ptr + N + row, row < N, 0.0)[:, None]
        s = tl.load(s_ptr + row[:, None] * K + k[None, :], there, float("-inf"))
        shares += tl.sum(tl.exp((s - top) * scale) * inverse, 0)
    tl.store(partial_ptr + chunk * K + k, shares, k < K)


@triton.jit
def msn_gradient_kernel(
    s_ptr,
    q_ptr,
    stat_ptr,
    level_ptr,
    N,
    samples,
    K,
    scale,
    factor,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < N
    top = tl.load(stat_ptr + row, inside, 0.0)[:, None]
    inverse = tl.load(stat_ptr + N + row, inside, 0.0)[:, None]
    along = tl.zeros((ROWS,), tl.float32)
    if level_ptr is not None:
        for start in range(0, K, BLOCK):
            k = (start + tl.arange(0, BLOCK))[None, :]
            s = tl.load(s_ptr + row[:, None] * K + k, inside[:, None] & (k < K), float("-inf"))
            along += tl.sum(tl.exp((s - top) * scale) * inverse * tl.load(level_ptr + k, k < K, 0.0), 1)
    for start in range(0, K, BLOCK):
        k = (start + tl.arange(0, BLOCK))[None, :]
        there = inside[:, None] & (k < K)
        p = tl.exp((tl.load(s_ptr + row[:, None] * K + k, there, 0.0) - top) * scale) * inverse
        if level_ptr is not None:
            p *= 1.0 + (tl.load(level_ptr + k, k < K, 0.0) - along[:, None])
        q = tl.load(q_ptr + (row % samples)[:, None] * K + k, there, 0.0)
        tl.store(s_ptr + row[:, None] * K + k, (p - q) * factor, there)


def rows(logits: Tensor, targets: Tensor, scale: float, need_shares: bool) -> tuple[Tensor, Tensor, Tensor]:
    _check(logits)
    anchors, width = logits.shape
    losses, stats = logits.new_empty((anchors,)), logits.new_empty((2, anchors))
    config = _prototype_launch.msn_rows(width)
    with _launch.on_device_of(logits):
        msn_rows_kernel[(triton.cdiv(anchors, config["ROWS"]),)](
            logits, targets, losses, stats, anchors, len(targets), width, scale, **config
        )
        if not need_shares:
            return losses, stats, logits.new_empty((0,))
        config = _prototype_launch.msn_shares(anchors, width)
        chunks = triton.cdiv(anchors, config["CHUNK"])
        partial = logits.new_empty((chunks, width))
        msn_shares_kernel[(chunks * triton.cdiv(width, config["BLOCK"]),)](
            logits, stats, partial, anchors, width, scale, **config
        )
    return losses, stats, partial.sum(0)


def gradient_(
    logits: Tensor, targets: Tensor, stats: Tensor, levels: Tensor | None, scale: float, factor: float
) -> None:
    _check(logits)
    anchors, width = logits.shape
    config = _prototype_launch.msn_rows(width)
    with _launch.on_device_of(logits):
        msn_gradient_kernel[(triton.cdiv(anchors, config["ROWS"]),)](
            logits, targets, stats, levels, anchors, len(targets), width, scale, factor, **config
        )


def _check(logits: Tensor) -> None:
    if logits.dtype == torch.float64:
        raise TypeError("msn: float64 runs on the CPU only, got float64 logits on a GPU")
