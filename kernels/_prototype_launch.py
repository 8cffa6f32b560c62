"""Block sizes and warp counts of the kernels over prototypes and codes, as in kernels/_launch.py."""

from __future__ import annotations

import triton


def prototype_rows(width: int) -> dict[str, int]:
    """ROWS rows a program, BLOCK columns of each at a time: 16 numbers a thread."""
    block = min(256, max(16, triton.next_power_of_2(width)))
    return {"ROWS": 8, "BLOCK": block, "num_warps": 4}


def prototype_run(blocks: int, width: int, block: int) -> int:
    """Columns that one program walks over: as many runs as bring the launch to 1,024 programs, but 64 at most."""
    runs = min(64, max(1, 1024 // blocks))
    return max(4 * block, triton.cdiv(triton.cdiv(width, runs), block) * block)


def soft_cross_entropy(element_size: int, aligned: bool) -> dict[str, int]:
    """ROWS rows a program, one a warp; LANES x EACH prototypes of each at a time: 16 bytes a thread and view.

    Rows that are not ``aligned`` are read number by number, each with an address and a mask: registers hold those of 2.
    """
    return {"ROWS": 8, "LANES": 32, "EACH": 16 // element_size if aligned else 2, "num_warps": 8}


def soft_views() -> tuple[int, int]:
    """Teacher and student views of one launch: with these a thread keeps 44 sums and 2 x EACH exponentials.

    They are DINO's multi-crop, 2 of 10; registers spill with 12 students on Blackwell, and with 4 teachers of 16.
    """
    return 2, 10


def msn_rows(width: int) -> dict[str, int]:
    """ROWS anchors a program, BLOCK prototypes of each at a time: 8 numbers a thread, and programs for few anchors."""
    return {"ROWS": 4, "BLOCK": min(256, max(16, triton.next_power_of_2(width))), "num_warps": 4}


def msn_shares(anchors: int, width: int) -> dict[str, int]:
    """CHUNK anchors a program, 16 at a time, of BLOCK prototypes: as many programs as 64 chunks make."""
    chunk = max(16, triton.next_power_of_2(triton.cdiv(anchors, 64)))
    return {"CHUNK": chunk, "ROWS": 16, "BLOCK": min(64, max(16, triton.next_power_of_2(width))), "num_warps": 4}


def sinkhorn_columns() -> dict[str, int]:
    """BLOCK columns a program, ROWS of their rows at a time: 16 numbers a thread."""
    return {"ROWS": 32, "BLOCK": 64, "num_warps": 4}


def sinkhorn_assign(width: int) -> dict[str, int]:
    """BLOCK numbers of one row a program: 8 a thread."""
    return {"BLOCK": min(1024, max(16, triton.next_power_of_2(width))), "num_warps": 4}


def gumbel_rows(width: int) -> dict[str, int]:
    """BLOCK logits of one row at a time: 8 a thread."""
    return {"BLOCK": min(1024, max(16, triton.next_power_of_2(width))), "num_warps": 4}


def gumbel_sums(width: int) -> dict[str, int]:
    """BLOCK columns of a group a program: one a thread, for more programs."""
    return {"BLOCK": min(128, max(16, triton.next_power_of_2(width))), "num_warps": 4}
