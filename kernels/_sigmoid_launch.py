"""Block sizes and warp counts of the kernels of sigmoid losses, and which way they go, as in kernels/_launch.py."""

from __future__ import annotations

import triton

from sslfast.kernels import _launch


def sigmoid_weights(dim: int, element_size: int, arch: int) -> dict[str, int]:
    """BLOCK_M x BLOCK_N weights a program.

    With half types, by estimate, the losses take as long as the product: small programs, so that the registers of three
    fit on a multiprocessor, which then does both at once.
    """
    small = {"BLOCK_M": 64, "BLOCK_N": 64, "num_warps": 4} if element_size == 2 else {"BLOCK_D": 16}
    return _launch.weights(dim, element_size, arch) | small


def sums_strip() -> tuple[int, int]:
    """Rows and columns of a launch that leaves sums alone: up to 65,536 programs, whose slots take 1.5 MiB."""
    return 16384, 16384


def sigmoid_in_registers(
    size: int,
    length: int,
    dim: int,
    element_size: int,
    need_rows: bool,
    need_columns: bool,
    precision: str = "ieee",
    excluded: bool = False,
) -> bool:
    """Whether sigmoid losses and their gradients are one launch, of 2 N M D multiply-adds a side, instead of strips.

    By estimate. Both sides: the strips of 4,096 rows and columns are 31 launches, these 9, which at 3 microseconds each
    gains 66. The N M D more are 17 GFLOP at D = 512, or 35 microseconds at half of an H100's tensor cores; below D =
    256 the exponentials take longer. One side: the strips make no fewer products, and write and read each weight of 2
    bytes, the time of 350 multiply-adds: up to D = 256 at any size, if this kernel runs at 60 % of the plain products'
    speed; it would have to at 75 % for D = 512.

    In float32 the strips of up to 2,048 rows and 4,096 columns are 8 launches, these up to 3 with the sums of the runs,
    which gains 15 microseconds. N M D multiply-adds more at 2^27, 1,024 rows and columns of D = 128 or 512 of D = 512,
    are 9 microseconds on plain cores (30 TFLOP/s), and at 2^30 with tf32 as much; below D = 64 the exponentials take
    longer. One side alone makes no more products, but in smaller blocks than torch's.

    Walks are cut into as many runs as the shorter side has room for: the longer one would be a long walk for both sides
    if it were far longer.

    Where ids or limits leave out some pairs, columns alone of half types above D = 256 spill 8 bytes on Hopper and 32
    on Ampere.
    """
    if dim > 512 or (excluded and element_size == 2 and dim > 256 and not need_rows):
        return False
    if _launch.REGISTERS is not None:
        return _launch.REGISTERS
    if need_rows and need_columns and max(size, length) > 4 * min(size, length):
        return False
    if element_size == 2:
        return (need_rows != need_columns and dim <= 256) or size * length * max(dim, 256) <= 2**33
    return size * length * max(dim, 64) <= 2 ** (30 if precision == "tf32" else 27)


def sigmoid_registers(
    dim: int, element_size: int, arch: int, precision: str = "ieee", excluded: bool = False
) -> dict[str, int]:
    """side_registers of half types; in float32 as many columns, of 64 rows, or 32 on plain cores above D = 128.

    With tf32 at D = 512, 64 rows of 32 pairs spill 288 bytes on Ampere and 56 on Hopper, and one of them is halved, as
    in queue_softmax. On Blackwell's plain cores two stages spill 24 bytes at D = 128, and on Hopper's up to D = 64 the
    compiler picks few registers for 8 warps, of which 32 bytes spill. So it does where ids or limits leave out some
    pairs, on Blackwell for half types up to D = 128, 24 bytes, and on Hopper for plain cores at D = 256, 8 bytes: there
    16 columns spill none.
    """
    few_columns = {"BLOCK_N": 16} if excluded else {}
    if element_size == 2:
        return _launch.side_registers(dim, arch) | (few_columns if arch == 10 and dim <= 128 else {})
    if dim > 128:
        config = _launch.wide_float32(dim, precision)
        if precision == "tf32" and dim > 256 and arch != 10:
            config |= {"BLOCK_N": 16} if arch == 9 else {"BLOCK_M": 32}
        elif precision == "ieee" and arch == 9:
            config |= few_columns
    else:
        config = {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_D": 32, "BLOCK_OUT": 128}
        config |= {"num_warps": 4 if arch == 9 and dim <= 64 else 8, "num_stages": 1 if arch == 10 else 2}
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def sigmoid_mantissas(dim: int) -> dict[str, int]:
    """BLOCK pairs, BLOCK_D numbers of each at a time: 32 a thread, as one program waits for every load."""
    return {"BLOCK": 16, "BLOCK_D": min(256, max(16, triton.next_power_of_2(dim))), "num_warps": 4}
