"""Philox4x32-10 in Triton: the same bits as csrc/include/sslfast/philox.h.

Writes 16 bytes per counter and reads nothing but the seed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sslfast.kernels import _launch

BLOCK = 256


@triton.jit
def philox(seed, stream, row, element):
    """Four uint32 words for counter (element, row low, row high, stream) and key seed."""
    row_low = (row & 0xFFFFFFFF).to(tl.uint32)
    row_high = ((row >> 32) & 0xFFFFFFFF).to(tl.uint32)
    return tl.philox(seed, element.to(tl.uint32), row_low, row_high, stream.to(tl.uint32))


@triton.jit
def philox_words_kernel(out_ptr, seed_ptr, stream, row_offset, elements, BLOCK: tl.constexpr):
    blocks = tl.cdiv(elements, BLOCK)
    row = tl.program_id(0).to(tl.int64) // blocks  # one grid dimension: the others end at 65,535
    element = tl.program_id(0).to(tl.int64) % blocks * BLOCK + tl.arange(0, BLOCK)
    zero = tl.zeros((BLOCK,), tl.int64)
    word0, word1, word2, word3 = philox(tl.load(seed_ptr), zero + stream, zero + row + row_offset, element)
    out = out_ptr + (row * elements + element) * 4
    inside = element < elements
    tl.store(out, word0.to(tl.int32, bitcast=True), inside)
    tl.store(out + 1, word1.to(tl.int32, bitcast=True), inside)
    tl.store(out + 2, word2.to(tl.int32, bitcast=True), inside)
    tl.store(out + 3, word3.to(tl.int32, bitcast=True), inside)


def philox_words(like: Tensor, seed: Tensor, stream: int, rows: int, elements: int, row_offset: int) -> Tensor:
    out = like.new_empty((rows, elements, 4), dtype=torch.int32)
    if out.numel():
        seed = seed.to(like.device, non_blocking=True)
        grid = (rows * triton.cdiv(elements, BLOCK),)
        with _launch.on_device_of(out):
            philox_words_kernel[grid](out, seed, stream, row_offset, elements, BLOCK=BLOCK)
    return out
