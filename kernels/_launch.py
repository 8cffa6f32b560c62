"""Block sizes and warp counts, one table per kernel; nothing is tuned at run time.

The choices compile without register spills for sm_80, sm_90 and sm_100 (tests/test_codegen.py).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def input_precision(rows: Tensor) -> str:
    """tl.dot's precision for float32 operands: tf32 only where torch's own switch allows it."""
    return "tf32" if rows.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def similarity_forward(size: int, dim: int, element_size: int) -> dict[str, int]:
    """BLOCK x BLOCK logits a tile, GROUP x GROUP tiles a program.

    GROUP keeps the number of partial sums of a row, one per group of columns, at 128 or fewer: 1 KiB a row.
    """
    block = 64
    group = triton.next_power_of_2(triton.cdiv(size, 128 * block))
    block_d, stages = (64, 3) if element_size == 2 else (32, 2)
    block_d = min(block_d, max(16, triton.next_power_of_2(dim)))
    return {"BLOCK": block, "BLOCK_D": block_d, "GROUP": group, "num_warps": 8, "num_stages": stages}


def similarity_in_registers(size: int, dim: int, element_size: int) -> bool:
    """Whether the gradient is one launch with twice the tiles instead of strips.

    By estimate: the strips of 16,384 rows are about 50 launches, which take the host longer than tensor cores take for
    the doubled arithmetic at D = 128. In float32 that takes ten times as long, and 2,048 rows are one tile anyway.
    """
    return dim <= 128 and size <= (16384 if element_size == 2 else 2048)


def similarity_backward(dim: int, element_size: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M x BLOCK_OUT of the gradient in registers."""
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_D": 64, "BLOCK_OUT": 128, "num_warps": 8, "num_stages": 2}
    else:
        config = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_D": 32, "BLOCK_OUT": 64, "num_warps": 4, "num_stages": 2}
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def weights_strip(element_size: int) -> tuple[int, int]:
    """Rows and columns of a tile of weights, 32 MiB: multiples of ``weights``' blocks."""
    return 2048, 16384 // element_size


def weights(dim: int, element_size: int, excluded: bool = False) -> dict[str, int]:
    """BLOCK_M x BLOCK_N weights a program; what ids and limits take of the registers halves the tile."""
    if element_size == 2:
        config = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_D": 64, "num_warps": 8, "num_stages": 3}
    else:
        config = {"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_D": 32, "num_warps": 8, "num_stages": 2}
    config["BLOCK_N"] = 64 if excluded else config["BLOCK_N"]
    return config | {"BLOCK_D": min(config["BLOCK_D"], max(16, triton.next_power_of_2(dim)))}


def sigmoid_weights(dim: int, element_size: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N weights a program.

    With half types, by estimate, the losses take as long as the product: half of ``weights``' tile, so that the
    registers of two programs fit on a multiprocessor, which then does both at once.
    """
    return weights(dim, element_size) | ({"BLOCK_N": 64} if element_size == 2 else {"BLOCK_D": 16})


def unit_rows(dim: int) -> dict[str, int]:
    """Rows a program and numbers of each at a time: 2,048 numbers, 16 a thread."""
    block_d = min(512, max(16, triton.next_power_of_2(dim)))
    return {"ROWS": 2048 // block_d, "BLOCK_D": block_d, "num_warps": 4}


def nt_xent_rows(dim: int) -> dict[str, int]:
    """BLOCK rows a program, BLOCK_D numbers of each at a time: 16 a thread."""
    block_d = min(256, max(32, triton.next_power_of_2(dim)))
    return {"BLOCK": 2048 // block_d, "BLOCK_D": block_d, "num_warps": 4}


def nt_xent_finish(dim: int) -> dict[str, int]:
    """BLOCK rows a program, SLOTS of their partial sums at a time: a load waits as long for one as for many."""
    return {"BLOCK": 32, "BLOCK_D": min(64, triton.next_power_of_2(dim)), "SLOTS": 32, "num_warps": 8}


def nt_xent_backward(dim: int, element_size: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M rows of the gradient in registers, whole."""
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 8, "num_stages": 3}
    else:
        config = {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 2}
    return config | {"BLOCK_OUT": max(16, triton.next_power_of_2(dim))}


def queue_softmax(dim: int, element_size: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M x BLOCK_OUT of the mean in registers."""
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_D": 64, "BLOCK_OUT": 256, "num_warps": 8, "num_stages": 2}
    else:
        config = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_D": 32, "BLOCK_OUT": 64, "num_warps": 4, "num_stages": 2}
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def queue_run(programs: int, length: int, block: int) -> int:
    """Rows of the queue that one program walks over, a multiple of ``block``.

    As many runs as bring the launch to 512 programs, which is about two for each multiprocessor of the largest chips,
    but none shorter than 8 blocks. The partial means are then at most 512 blocks beside N x D.
    """
    runs = max(1, 512 // programs)
    return max(8 * block, triton.cdiv(triton.cdiv(length, runs), block) * block)
