"""Sums and gradients of a Gumbel quantiser, in Triton.

Forward: each row of logits (a frame's group) gives its largest and its log-sum-exp, then the softmax of the rows of a
chunk of frames is summed by column, for the perplexity. Backward: with y = softmax((x + noise) / T), its derivative h,
p = softmax(x) and the derivative a in the sums of p: grad = y (h - <y, h>) / T + p (a - <p, a>), the second where the
frame counts. The noise is drawn again, -log(-log u) of the words that chose the codes; neither noise nor softmax is
stored. Bytes: the logits twice forward, of which once from L2; logits and h twice backward, of which once from L2, and
the gradient once. Launches: two forward, one backward. Chunks' sums are added by torch, in a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch, _prototype_launch
from sslfast.kernels.philox import philox

_GUMBEL = tl.constexpr(28)  # the stream of csrc/include/sslfast/philox.h
_CHUNK = 32  # kQuantizeChunk


@triton.jit
def gumbel_rows_kernel(x_ptr, best_ptr, lse_ptr, vars, BLOCK: tl.constexpr):
    """The largest logit of a row, the first of equal ones, and log sum exp; -1 where there is no softmax."""
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * vars
    top = float("-inf")
    total = 0.0
    best = tl.zeros((), tl.int64)
    for start in range(0, vars, BLOCK):
        k = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + k, k < vars, float("-inf")).to(tl.float32)
        block_top = tl.max(x, 0)
        first = tl.min(tl.where(x == block_top, k, vars), 0)
        best = tl.where(block_top > top, first, best)
        new_top = tl.maximum(top, block_top)
        safe = tl.where(new_top == float("-inf"), 0.0, new_top)
        total = total * tl.exp(top - safe) + tl.sum(tl.exp(x - safe), 0)
        top = new_top
    there = (total > 0.0) & (total < float("inf"))
    tl.store(best_ptr + row, tl.where(there, best, -1))
    tl.store(lse_ptr + row, tl.where(there, top + tl.log(total), float("nan")))


@triton.jit
def gumbel_sums_kernel(
    x_ptr,
    mask_ptr,
    best_ptr,
    lse_ptr,
    probs_ptr,
    counts_ptr,
    frames,
    groups,
    vars,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The sums of the softmax, and of the largest, over CHUNK frames: BLOCK columns of a group a program."""
    blocks = tl.cdiv(vars, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    chunk = program // (groups * blocks)
    g = program // blocks % groups
    k = program % blocks * BLOCK + tl.arange(0, BLOCK)
    probs = tl.zeros((BLOCK,), tl.float32)
    counts = tl.zeros((BLOCK,), tl.float32)
    for i in range(CHUNK):
        frame = tl.minimum(chunk * CHUNK + i, frames - 1)
        counted = chunk * CHUNK + i < frames
        if mask_ptr is not None:
            counted = counted & (tl.load(mask_ptr + frame) != 0)
        row = frame * groups + g
        x = tl.load(x_ptr + row * vars + k, k < tl.where(counted, vars, 0), float("-inf")).to(tl.float32)
        lse = tl.where(counted, tl.load(lse_ptr + row), 0.0)
        best = tl.where(counted, tl.load(best_ptr + row), -2)
        probs += tl.exp(x - lse)
        counts += tl.where(k == 0, tl.where(best == -1, float("nan"), 0.0), 0.0) + tl.where(k == best, 1.0, 0.0)
    out = (chunk * groups + g) * vars + k
    tl.store(probs_ptr + out, probs, k < vars)
    tl.store(counts_ptr + out, counts, k < vars)


@triton.jit
def gumbel_noise(word):
    """As csrc/shared/gumbel_noise.h."""
    low = word < 0x80000000
    x = (tl.where(low, word, 0xFFFFFFFF - word).to(tl.float32) + 0.5) * (1.0 / 4294967296.0)
    w = tl.where(low, x, 1.0 - x)
    gap = 1.0 - w
    plain = -tl.log(w)
    near = tl.where(gap > 0.0, plain * (x / tl.where(gap > 0.0, gap, 1.0)), x)
    return -tl.log(tl.where(low, plain, near))


@triton.jit
def perturbed(x_ptr, seed, number, start, vars, inverse, BLOCK: tl.constexpr):
    """(x + noise) / T of BLOCK logits from ``start``, a multiple of 4, on; -inf behind the row."""
    k = start + tl.arange(0, BLOCK)
    counter = start // 4 + tl.arange(0, BLOCK // 4)
    zero = tl.zeros((BLOCK // 4,), tl.int64)
    w0, w1, w2, w3 = philox(seed, zero + _GUMBEL, zero + number, counter)
    word = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3)).to(tl.int64)
    x = tl.load(x_ptr + k, k < vars, float("-inf")).to(tl.float32)
    return (x + gumbel_noise(word)) * inverse


@triton.jit
def gumbel_backward_kernel(
    x_ptr,
    mask_ptr,
    lse_ptr,
    h_ptr,
    a_ptr,
    seed_ptr,
    number_ptr,
    grad_ptr,
    frames,
    groups,
    vars,
    inverse,
    BLOCK: tl.constexpr,
):
    """The gradient of one row."""
    row = tl.program_id(0).to(tl.int64)
    frame = row // groups
    g = row % groups
    x_ptr += row * vars
    counted = True
    if mask_ptr is not None:
        counted = tl.load(mask_ptr + frame) != 0
    lse = tl.load(lse_ptr + row)
    seed = tl.load(seed_ptr)
    number = tl.load(number_ptr + row)
    top = float("-inf")
    total = 0.0
    along = 0.0  # of y with h, times the sum
    soft_along = 0.0  # of p with a
    for start in range(0, vars, BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = k < vars
        if h_ptr is not None:
            z = perturbed(x_ptr, seed, number, start, vars, inverse, BLOCK)
            h = tl.load(h_ptr + (g * frames + frame) * vars + k, inside, 0.0)
            new_top = tl.maximum(top, tl.max(z, 0))
            safe = tl.where(new_top == float("-inf"), 0.0, new_top)
            y = tl.exp(z - safe)
            total = total * tl.exp(top - safe) + tl.sum(y, 0)
            along = along * tl.exp(top - safe) + tl.sum(y * h, 0)
            top = new_top
        if a_ptr is not None:
            x = tl.load(x_ptr + k, inside, float("-inf")).to(tl.float32)
            soft_along += tl.sum(tl.exp(x - lse) * tl.load(a_ptr + g * vars + k, inside, 0.0), 0)
    for start in range(0, vars, BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = k < vars
        grad = tl.zeros((BLOCK,), tl.float32)
        if h_ptr is not None:
            z = perturbed(x_ptr, seed, number, start, vars, inverse, BLOCK)
            h = tl.load(h_ptr + (g * frames + frame) * vars + k, inside, 0.0)
            grad += tl.exp(z - top) / total * (h - along / total) * inverse
        if a_ptr is not None:
            x = tl.load(x_ptr + k, inside, float("-inf")).to(tl.float32)
            soft = tl.exp(x - lse) * (tl.load(a_ptr + g * vars + k, inside, 0.0) - soft_along)
            grad += tl.where(counted, soft, 0.0)
        tl.store(grad_ptr + row * vars + k, grad, inside)


def _refuse_double(logits: Tensor) -> None:
    if logits.dtype == torch.float64:
        raise TypeError("gumbel_quantize: float64 runs on the CPU only, got float64 on a GPU")


def forward(logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _refuse_double(logits)
    frames, groups, width = logits.shape
    chunks = triton.cdiv(frames, _CHUNK)
    best = logits.new_empty((frames, groups), dtype=torch.int64)
    lse = logits.new_empty((frames, groups), dtype=torch.float32)
    probs = logits.new_empty((chunks, groups, width), dtype=torch.float32)
    counts = torch.empty_like(probs)
    if logits.numel():
        config = _prototype_launch.gumbel_rows(width)
        columns = _prototype_launch.gumbel_sums(width)
        programs = chunks * groups * triton.cdiv(width, columns["BLOCK"])
        with _launch.on_device_of(logits):
            gumbel_rows_kernel[(frames * groups,)](logits, best, lse, width, **config)
            gumbel_sums_kernel[(programs,)](
                logits, mask, best, lse, probs, counts, frames, groups, width, CHUNK=_CHUNK, **columns
            )
    return best, lse, probs, counts


def backward(
    logits: Tensor,
    mask: Tensor | None,
    lse: Tensor,
    products: Tensor | None,
    shares: Tensor | None,
    seed: Tensor,
    numbers: Tensor,
    temperature: float,
) -> Tensor:
    _refuse_double(logits)
    frames, groups, width = logits.shape
    grad = torch.empty_like(logits)
    if logits.numel():
        seed = seed.to(logits.device, non_blocking=True)
        with _launch.on_device_of(logits):
            gumbel_backward_kernel[(frames * groups,)](
                logits,
                mask,
                lse,
                products,
                shares,
                seed,
                numbers,
                grad,
                frames,
                groups,
                width,
                1.0 / temperature,
                **_prototype_launch.gumbel_rows(width),
            )
    return grad
