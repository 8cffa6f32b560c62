"""Block sizes and warp counts of the kernels of NT-Xent, as in kernels/_launch.py."""

from __future__ import annotations

import triton


def nt_xent_rows(dim: int) -> dict[str, int]:
    """BLOCK rows a program, BLOCK_D numbers of each at a time: 16 a thread."""
    block_d = min(256, max(32, triton.next_power_of_2(dim)))
    return {"BLOCK": 2048 // block_d, "BLOCK_D": block_d, "num_warps": 4}


def nt_xent_finish(dim: int) -> dict[str, int]:
    """BLOCK rows a program, SLOTS of their partial sums at a time: a load waits as long for one as for many."""
    return {"BLOCK": 32, "BLOCK_D": min(64, triton.next_power_of_2(dim)), "SLOTS": 32, "num_warps": 8}


def nt_xent_backward(dim: int, element_size: int, split: bool = False) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M rows of the gradient in registers, whole.

    Weights in two parts are half as many: of 64 of each row 24 bytes spill on Ampere, and up to 56 on Hopper.
    """
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 32 if split else 64, "num_warps": 8, "num_stages": 3}
    else:
        config = {"BLOCK_M": 32, "BLOCK_N": 16, "num_warps": 8, "num_stages": 2}
    return config | {"BLOCK_OUT": max(16, triton.next_power_of_2(dim))}
