"""Block sizes and warp counts, one table per kernel; nothing is tuned at run time.

Tables that differ between architectures take `arch`, the major number of the compute capability. An architecture that
none of them names gets the entries of Ampere and Ada, 8, whose smallest chips have 99 KiB of shared memory a block. The
choices compile without register spills for the architectures they are for (tests/test_codegen.py).

Why no kernel loads by tensor descriptors or is persistent: docs/kernels.md has what both compile to.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
from torch import Tensor

REGISTERS: bool | None = None
"""Where both ways exist, gradients in registers (True) or in strips (False) at every size; None: by the table. For
measuring one beside the other (``registers_and_strips`` of benchmarks/bench_similarity_softmax.py)."""


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def arch(tensor: Tensor) -> int:
    """The tables' `arch` of the tensor's device; 0, which none of them names, in the interpreter."""
    return torch.cuda.get_device_capability(tensor.device)[0] if tensor.is_cuda else 0


def input_precision(rows: Tensor) -> str:
    """tl.dot's precision for float32 operands: tf32 only where torch's own switch allows it."""
    return "tf32" if rows.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def is_bounded(scale: float, max_norm: float) -> bool:
    """Whether exp(S) of |S| <= scale * max_norm^2 is safe as it is.

    Up to 40 it neither overflows nor underflows, nor does a sum of 2^50 of them.
    """
    return abs(scale) * max_norm * max_norm <= 40.0


def similarity_forward(size: int, dim: int, element_size: int) -> dict[str, int]:
    """BLOCK x BLOCK logits a tile, GROUP x GROUP tiles a program.

    GROUP keeps the number of partial sums of a row, one per group of columns, at 128 or fewer: 1 KiB a row.
    """
    block = 64
    group = triton.next_power_of_2(triton.cdiv(size, 128 * block))
    block_d, stages = (64, 3) if element_size == 2 else (32, 2)
    block_d = min(block_d, max(16, triton.next_power_of_2(dim)))
    return {"BLOCK": block, "BLOCK_D": block_d, "GROUP": group, "num_warps": 8, "num_stages": stages}


def similarity_in_registers(
    size: int, dim: int, element_size: int, labels: bool = False, precision: str = "ieee"
) -> bool:
    """Whether the gradient is one launch with twice the tiles instead of strips.

    By estimate: the strips of 16,384 rows are about 50 launches, which take the host longer than tensor cores take for
    the doubled arithmetic at D = 128. In float32 that takes ten times as long, and 2,048 rows are one tile anyway.

    Half types go up to D = 512, with which a program's registers are full, and to fewer rows: the strips of 4,096 are
    about 15 launches, and the M^2 D FLOPs more at D = 512 9 GFLOP, in a kernel that reads twice as many bytes a FLOP as
    a plain product of large blocks. Above D = 512 the gradient would take two programs, with S once more for each: 6
    M^2 D FLOPs against the strips' 3. With labels the weights are two products: 6 M^2 D FLOPs against 5, which take
    longer than the launches, about 20 for 4,096 rows, from half as much of M^2 D on.

    In float32 the strips of up to 2,048 rows are 4 launches, and those of 512 rows are too few programs to fill a GPU.
    Beside them M^2 D FLOPs more take 9 microseconds at 2^28 on plain cores (30 TFLOP/s); but the narrow tiles that are
    left above D = 128 read an operand for each multiply-add of S, at a quarter of that: 2^27, 512 rows of D = 512. With
    tf32 it is 2^30, 1,448 rows.
    """
    if dim > 512:
        return False
    if REGISTERS is not None:
        return REGISTERS
    if dim > 128 and element_size == 4:
        return size * size * dim <= 2 ** (30 if precision == "tf32" else 27)
    if dim > 128:
        return size * size * dim <= 2 ** (32 if labels else 33)
    return size <= (16384 if element_size == 2 else 2048)


def similarity_backward(
    dim: int, element_size: int, arch: int, labels: bool = False, precision: str = "ieee"
) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M x BLOCK_OUT of the gradient in registers.

    64 x 512 of it are 128 of a thread's 255 registers. Beside them Ampere has none left for 32 logits of each row (40
    bytes spill), and keeps 32 rows; Hopper has with one stage, 255; Blackwell's are in tensor memory. 64 logits of each
    spill 192 bytes on Hopper, and 176 with 16 warps of half the registers. Holding the rows, too, instead of reading
    them with each step, spills more than 200 bytes at D = 512. The two products of weights with labels are a loop in
    the kernel: one after the other, they spill 4,000 bytes on Hopper at D = 512. On Blackwell, where 64 logits of each
    spill 8 to 72 bytes with labels, two stages do 24 at D = 512.

    float32 keeps 512 columns, too: of 64 rows with tf32, of 32 on plain cores, whose operands take registers as well:
    64 rows of 256 spill 64 bytes on Ampere.
    """
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_D": 64, "BLOCK_OUT": 512, "num_warps": 8, "num_stages": 2}
        if dim > 256:
            least = {"BLOCK_N": 32, "num_stages": 1 if arch == 9 else 2}
            config |= least if arch in (9, 10) else {"BLOCK_M": 32}
        if labels and arch == 10:
            config |= {"BLOCK_N": 32, "num_stages": 1 if dim > 256 else 2}
    elif dim > 128:
        config = wide_float32(dim, precision)
    else:
        config = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_D": 32, "BLOCK_OUT": 64, "num_warps": 4, "num_stages": 2}
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def wide_float32(dim: int, precision: str) -> dict[str, int]:
    """Blocks of float32 for 256 or 512 columns in registers."""
    block_m, block_n = (64, 32) if precision == "tf32" else (32, 32 if dim <= 256 else 16)
    blocks = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": 32, "BLOCK_OUT": 512}
    return blocks | {"num_warps": 8, "num_stages": 2}


def similarity_run(programs: int, size: int, block: int) -> int:
    """Rows that one program walks over, a multiple of ``block``.

    As many runs as fill up to 128 multiprocessors with one program each, for which registers are full, but none shorter
    than 4 blocks. The parts of a gradient that the runs leave are then at most 128 blocks of a program's, 16 MiB.
    """
    runs = max(1, 128 // programs)
    return max(4 * block, triton.cdiv(triton.cdiv(size, runs), block) * block)


def weights_strip(element_size: int) -> tuple[int, int]:
    """Rows and columns of a tile of weights of so many bytes each, 32 MiB: multiples of ``weights``' blocks."""
    return 2048, 16384 // element_size


def weights(dim: int, element_size: int, arch: int, *, excluded: bool = False, two: bool = False) -> dict[str, int]:
    """BLOCK_M x BLOCK_N weights a program.

    What ids and limits take of the registers halves the tile, and so does a second rounding of the weights, and what
    Blackwell (10) takes from tensor memory into registers. Hopper (9) and Blackwell have the shared memory for one more
    stage.
    """
    if element_size == 2:
        config = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_D": 64, "num_warps": 8}
        config["num_stages"] = 4 if arch in (9, 10) else 3
    else:
        config = {"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_D": 32, "num_warps": 8, "num_stages": 2}
    config["BLOCK_N"] = 64 if excluded or two or arch == 10 else config["BLOCK_N"]
    return config | {"BLOCK_D": min(config["BLOCK_D"], max(16, triton.next_power_of_2(dim)))}


def one_way_rows(length: int, element_size: int) -> int:
    """Rows of a strip of float32 with so many columns: 32 MiB, or the fewest with which the products are not slow.

    A product of so many rows adds to the gradient of all columns, which is read and written for each strip: what takes
    as long as the product where these are 500 in half types, and 60 in float32.
    """
    least = 1024 if element_size == 2 else 256
    return min(2048, max(least, 2**23 // length // 128 * 128))


def one_way_weights(block_n: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N weights a program, which only multiplies: 32 a thread."""
    return {"BLOCK_M": 32, "BLOCK_N": block_n, "num_warps": block_n // 32}


def side_registers(dim: int, arch: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N pairs a step; a program keeps BLOCK_M x BLOCK_OUT of a gradient in registers.

    64 x 512 of it are 128 of a thread's 255 registers, beside which 32 pairs of each row have room, with 255 on Ampere.
    Blackwell keeps them in tensor memory. With up to 128 columns the compiler picks few registers there, for several
    programs at once, of which 8 to 48 bytes spill with 64 columns, with 64 pairs of each row or with two stages.
    """
    config = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_D": 64, "BLOCK_OUT": 512, "num_warps": 8, "num_stages": 2}
    widest = max(16, triton.next_power_of_2(dim))
    config |= {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}
    if dim > 256:
        config["BLOCK_N"] = 32
    elif dim <= 128 and arch == 10:
        config |= {"BLOCK_N": 32, "BLOCK_OUT": 128, "num_stages": 1}
    return config


def unit_rows(dim: int) -> dict[str, int]:
    """Rows a program and numbers of each at a time: 2,048 numbers, 16 a thread."""
    block_d = min(512, max(16, triton.next_power_of_2(dim)))
    return {"ROWS": 2048 // block_d, "BLOCK_D": block_d, "num_warps": 4}


def pairs(dim: int) -> dict[str, int]:
    """BLOCK x BLOCK_D numbers of a gradient that pairs are added to: 16 a thread."""
    block_d = min(128, max(16, triton.next_power_of_2(dim)))
    return {"BLOCK": 2048 // block_d, "BLOCK_D": block_d, "num_warps": 4}


def queue_softmax(
    dim: int, element_size: int, arch: int, precision: str = "ieee", need_mean: bool = True
) -> dict[str, int]:
    """BLOCK_M x BLOCK_N logits a step; a program keeps BLOCK_M x BLOCK_OUT of the mean in registers.

    As far as registers go, each of the two groups of 4 warps that multiply together on Hopper (9) takes 64 rows of its
    own, so that weights stay with the group that made them, and Blackwell (10) multiplies its 128 rows at once.

    D = 512 fits one pass: 64 x 512 of the mean are 128 of a thread's 255 registers. Blackwell keeps them in tensor
    memory and has room for 64 logits of each row, Hopper for 32 (216 bytes spill with 64), Ampere for 32 rows (80 bytes
    spill with 64 rows of 32). So it does in float32, of 32 rows on plain cores, where 64 rows of 256 spill on Ampere;
    with tf32, 64 rows of 32 logits spill 160 bytes on Ampere and 88 on Hopper at D = 512, and one of them is halved.
    Two stages spill 8 to 16 bytes on Blackwell up to D = 256. Without a mean, tiles of logits are larger.
    """
    if element_size == 2:
        config = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_D": 64, "BLOCK_OUT": 512, "num_warps": 8, "num_stages": 2}
        if dim > 256 and arch != 10:
            config |= {"BLOCK_N": 32} if arch == 9 else {"BLOCK_M": 32}
        elif dim <= 128 and arch in (9, 10):
            config["BLOCK_M"] = 128
    elif dim > 128 and need_mean:
        config = wide_float32(dim, precision)
        if precision == "tf32" and dim > 256 and arch != 10:
            config |= {"BLOCK_N": 16} if arch == 9 else {"BLOCK_M": 32}
    else:
        config = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_D": 32, "BLOCK_OUT": 64, "num_warps": 4, "num_stages": 2}
    if element_size == 4 and arch == 10 and (dim <= 256 or not need_mean):
        config["num_stages"] = 1
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def queue_run(programs: int, length: int, block: int) -> int:
    """Rows of the queue that one program walks over, a multiple of ``block``.

    As many runs as bring the launch to 512 programs, which is about two for each multiprocessor of the largest chips,
    but none shorter than 8 blocks. The partial means are then at most 512 blocks beside N x D.
    """
    runs = max(1, 512 // programs)
    return max(8 * block, triton.cdiv(triton.cdiv(length, runs), block) * block)
