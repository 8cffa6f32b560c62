"""Blocks of the softmaxes over similarities of rows with columns, and where registers and where strips, as in
kernels/_launch.py.
"""

from __future__ import annotations

import triton

from sslfast.kernels import _launch


def cross_in_registers(
    size: int, length: int, dim: int, element_size: int, sides: int = 2, labels: bool = False, precision: str = "ieee"
) -> bool:
    """Whether the gradients of one side or of both are one launch, of 2 N M D multiply-adds a side, instead of strips.

    By estimate. Both sides: the strips of 4,096 rows and columns are about 20 launches, these 3, and the N M D more are
    17 GFLOP at D = 512, or 35 microseconds at half of an H100's tensor cores; below D = 256 the exponentials take
    longer. One side: the strips make no fewer products, and write and read each weight of 2 bytes, the time of 350
    multiply-adds: up to D = 256 at any size, if this kernel runs at 60 % of the plain products' speed; it would have to
    at 75 % for D = 512. Few programs are no loss: their walks are cut into runs (``walk``).

    With labels it is 3 N M D a side, and 5 N M D for both in strips, which write and read twice as much: both sides end
    where there are half as many pairs, as in similarity_in_registers.
    """
    if dim > 512:
        return False
    if _launch.REGISTERS is not None:
        return _launch.REGISTERS
    if element_size == 4:
        return few_in_float32(size, length, dim, precision, 1 if sides == 2 else 0)
    if sides == 1 and dim <= 256:
        return True
    return size * length * max(dim, 256) <= 2 ** (32 if labels and sides == 2 else 33)


def one_way_in_registers(
    size: int,
    length: int,
    dim: int,
    element_size: int,
    need_rows: bool,
    need_columns: bool,
    labels: bool = False,
    precision: str = "ieee",
) -> bool:
    """Whether losses and gradients are the queue's pass and, for columns, a walk over rows, instead of strips.

    By estimate. The strips write and read 14 to 18 bytes a logit, the time of 800 multiply-adds where they stay in L2.
    For rows these make as many products, which up to D = 512 may thus run at 56 % of the plain ones' speed. For both
    sides they make 4 N M D multiply-adds against 3: at 65 % of that speed for D = 256, but 88 % for D = 512, where they
    are for small problems, as in cross_in_registers.

    With labels the pass leaves no gradient, and both sides are walks of 3 N M D each: 4 N M D against 3 for one side, 7
    against 5 for both, while the strips take the time of 1,200 multiply-adds in memory: at 54 and 72 % of the plain
    products' speed for D = 256, 49 % for both at D = 128. Above, the N M D more of one side, or twice as many of both,
    are to take no longer than the launches of the strips, about 20.
    """
    if dim > 512:
        return False
    if _launch.REGISTERS is not None:
        return _launch.REGISTERS
    sides = need_rows + need_columns
    if element_size == 4:
        further = sides if labels else int(need_columns)  # N M D more than in strips
        return few_in_float32(size, length, dim, precision, further)
    if labels and sides:
        return dim <= (256, 128)[sides - 1] or size * length * dim <= 2 ** (33 - sides)
    return not need_columns or dim <= 256 or size * length * dim <= 2**33


def few_in_float32(size: int, length: int, dim: int, precision: str, further: int) -> bool:
    """Whether float32 is so small a problem that registers win: half as large for each ``further`` N M D multiply-adds
    that they make more than strips.

    By estimate, as in similarity_in_registers: the strips of 512 rows and columns are 5 to 7 launches of too few
    programs to fill a GPU, these 2 to 4. Below D = 64 the exponentials take longer than the products.
    """
    most = 2 ** (30 if precision == "tf32" else 27)
    return size * length * max(dim, 64) << further <= most


def cross_registers(
    dim: int, element_size: int, arch: int, labels: bool = False, precision: str = "ieee"
) -> dict[str, int]:
    """BLOCK_M x BLOCK_N pairs a step; a program keeps BLOCK_M x BLOCK_OUT of a gradient in registers.

    Half types take the blocks of side_registers. Weights with labels are two products: above D = 256 Ampere keeps 32
    rows, where 24 bytes spill with 64, and Blackwell does with one stage, where 8 spill with two.

    float32 keeps whole rows, too: 64 of them up to D = 128, and with tf32 up to 512, but 32 there on Ampere, where 8
    bytes spill with 64. Above D = 128 plain cores have 32, as in wide_float32. Pairs of each row are 16 on Hopper above
    D = 64 and on Blackwell above 128: for 32 the compiler picks 128 registers, of which 8 to 24 bytes spill.
    """
    if element_size == 2:
        config = _launch.side_registers(dim, arch)
        if labels and dim > 256 and arch != 9:
            config |= {"num_stages": 1} if arch == 10 else {"BLOCK_M": 32}
        return config
    config = _launch.wide_float32(dim, precision)
    if precision == "tf32":
        config["BLOCK_M"] = 32 if dim > 256 and arch not in (9, 10) else 64
    elif dim <= 128:
        config |= {"BLOCK_M": 64, "BLOCK_N": 16 if arch == 9 and dim > 64 else 32}
    elif arch in (9, 10):
        config["BLOCK_N"] = 16
    widest = max(16, triton.next_power_of_2(dim))
    return config | {name: min(config[name], widest) for name in ("BLOCK_D", "BLOCK_OUT")}


def walk(blocks: int, length: int, block: int) -> int:
    """Runs of a walk over ``length`` rows in steps of ``block``, for a launch of so many programs a run.

    A short walk is cut as in ``similarity_run``, to fill a GPU once; a long one as in ``queue_run``, as a last round of
    few programs takes as long as a full one.
    """
    run = min(_launch.similarity_run(blocks, length, block), _launch.queue_run(blocks, length, block))
    return triton.cdiv(length, run)
