"""The Triton kernels that test_codegen.py compiles: one line per kernel and set of types, with the blocks of the
architecture. The launchers pass None for what a kernel does without.
"""

from __future__ import annotations

from typing import Any

from codegen_case import FACTORS, IDS, IDS_AND_LIMITS, SUMS, Case, of, on_tensor_cores, without
from codegen_class_cases import class_cases
from codegen_cross_cases import cross_cases
from codegen_similarity_cases import similarity_cases

from sslfast.kernels import _launch, _sigmoid_launch


def _sigmoid_weights(
    arch: int,
    dtype: str,
    dim: int,
    stored: bool,
    factors: bool = False,
    excluded: dict[str, str] | None = None,
    smooth: bool = False,
    precision: str = "ieee",
) -> Case:
    excluded = excluded or {}
    options: dict[str, Any] = _sigmoid_launch.sigmoid_weights(dim, 4 if dtype == "fp32" else 2, arch)
    options |= {"PRECISION": precision} | without(factors, *FACTORS)
    options |= dict.fromkeys(name for name in IDS_AND_LIMITS if name not in excluded)
    options |= without(smooth, "spread")
    summed, spread = stored and dtype != "fp32", "fp32" if smooth else ""
    options |= without(stored, "row_weights_ptr") | without(stored and factors, "col_weights_ptr")
    options |= without(summed, "mantissas_ptr", *SUMS)
    buffers = f"{f'*{dtype}' if stored else ''} {f'*{dtype}' if stored and factors else ''} {of(summed, 2)}"
    vectors = " ".join(["*i64 *fp32 *fp32", *excluded.values(), of(summed)])
    rest = f"{of(factors, 2)} {vectors} {buffers} *fp64 i32 i32 i32 i32 i32 i32 fp32 {spread}"
    signature, cores = f"*{dtype} *{dtype} {rest}", on_tensor_cores(dtype, precision)
    return Case("sigmoid_pairs_strips.sigmoid_weights_kernel", signature, options, cores)


def _sigmoid_mantissas(dtype: str, dim: int, factors: bool, smooth: bool = False) -> Case:
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *fp32 *fp32 *fp32 i32 i32 i32 {'fp32' if smooth else ''}"
    options: dict[str, Any] = _sigmoid_launch.sigmoid_mantissas(dim) | without(factors, *FACTORS)
    options |= without(smooth, "spread")
    return Case("sigmoid_pairs.sigmoid_mantissas_kernel", signature, options)


def _sigmoid_positives(arch: int, dtype: str, dim: int, factors: bool = False, smooth: bool = False) -> Case:
    block_d = _sigmoid_launch.sigmoid_weights(dim, 4 if dtype == "fp32" else 2, arch)["BLOCK_D"]
    spread = "fp32" if smooth else ""
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 *fp32 *fp32 *fp32 *fp64 i32 i32 fp32 {spread}"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "NEED_ROWS": True, "NEED_COLUMNS": True} | without(factors, *FACTORS)
    options |= without(smooth, "spread")
    return Case("sigmoid_pairs.sigmoid_positives_kernel", signature, options)


def _sigmoid_registers(
    arch: int,
    dtype: str,
    dim: int,
    excluded: dict[str, str] | None = None,
    *,
    factors: bool = False,
    left_out: str | None = None,
    precision: str = "ieee",
) -> Case:
    half, excluded = dtype != "fp32", excluded or {}
    options: dict[str, Any] = _sigmoid_launch.sigmoid_registers(dim, 2 if half else 4, arch, precision, bool(excluded))
    options |= {"PRECISION": precision} | without(factors, *FACTORS) | without(half, "mantissas_ptr")
    options |= dict.fromkeys(name for name in IDS_AND_LIMITS if name not in excluded)
    options |= {} if left_out is None else {left_out: None}
    grads = of(True, 2 if left_out is None else 1)
    vectors = " ".join(["*i64 *fp32 *fp32", *excluded.values(), of(half)])
    rest = f"{of(factors, 2)} {vectors} {grads} *fp64 i32 i32 i32 fp32 fp32"
    signature = f"*{dtype} *{dtype} {rest}"
    cores = on_tensor_cores(dtype, precision)
    return Case("sigmoid_pairs_registers.sigmoid_registers_kernel", signature, options, cores)


def _unit_rows(dtype: str, out: str, dim: int) -> Case:
    return Case("unit_rows.unit_rows_kernel", f"*{dtype} *{out} *fp32 i32 i32 i32", _launch.unit_rows(dim))


def _unit_rows_backward(dtype: str, dim: int) -> Case:
    signature = f"*fp32 *{dtype} *fp32 i32 i32"
    return Case("unit_rows.unit_rows_backward_kernel", signature, _launch.unit_rows(dim))


def cases(capability: int) -> list[Case]:
    """Each once: some kernels are the same for several types."""
    arch = capability // 10
    listed = [
        Case("philox.philox_words_kernel", "*i32 *i64 i64 i64 i64", {"BLOCK": 256}),
        _unit_rows("bf16", "bf16", 512),
        _unit_rows("fp32", "fp32", 128),
        _unit_rows_backward("bf16", 512),
        _unit_rows_backward("fp32", 128),
        _sigmoid_weights(arch, "bf16", 512, True),
        _sigmoid_weights(arch, "bf16", 128, False),
        _sigmoid_weights(arch, "fp16", 512, True),
        _sigmoid_weights(arch, "bf16", 512, True, factors=True),
        _sigmoid_weights(arch, "fp16", 128, True, factors=True),
        _sigmoid_weights(arch, "bf16", 128, False, factors=True),
        _sigmoid_mantissas("bf16", 512, True),
        _sigmoid_mantissas("fp16", 128, False),
        _sigmoid_positives(arch, "fp16", 512, factors=True),
        _sigmoid_weights(arch, "fp32", 512, True),
        _sigmoid_weights(arch, "fp32", 512, False),
        _sigmoid_weights(arch, "fp32", 32, True, precision="tf32"),
        _sigmoid_positives(arch, "bf16", 512),
        _sigmoid_positives(arch, "fp32", 512),
        _sigmoid_registers(arch, "bf16", 64),
        _sigmoid_registers(arch, "fp16", 128),
        _sigmoid_registers(arch, "bf16", 128, factors=True),
        _sigmoid_registers(arch, "bf16", 256),
        _sigmoid_registers(arch, "fp16", 256, factors=True),
        _sigmoid_registers(arch, "bf16", 512),
        _sigmoid_registers(arch, "fp16", 512, factors=True),
        _sigmoid_registers(arch, "bf16", 128, left_out="d_columns_ptr"),
        _sigmoid_registers(arch, "bf16", 256, factors=True, left_out="d_columns_ptr"),
        _sigmoid_registers(arch, "bf16", 512, left_out="d_columns_ptr"),
        _sigmoid_registers(arch, "bf16", 512, factors=True, left_out="d_rows_ptr"),
        *(
            _sigmoid_registers(arch, "fp32", dim, left_out=left_out, precision=precision)
            for precision in ("ieee", "tf32")
            for dim, left_out in ((64, None), (128, None), (256, None), (512, None), (512, "d_columns_ptr"))
        ),
        _sigmoid_registers(arch, "fp32", 128, left_out="d_columns_ptr"),
        _sigmoid_registers(arch, "fp32", 512, left_out="d_rows_ptr"),
        _sigmoid_registers(arch, "fp32", 512, left_out="d_rows_ptr", precision="tf32"),
        _sigmoid_mantissas("bf16", 512, True, smooth=True),
        _sigmoid_positives(arch, "bf16", 512, factors=True, smooth=True),
        _sigmoid_weights(arch, "bf16", 512, True, smooth=True),
        _sigmoid_weights(arch, "bf16", 512, True, factors=True, excluded=IDS_AND_LIMITS, smooth=True),
        _sigmoid_weights(arch, "fp32", 512, True, excluded=IDS_AND_LIMITS, smooth=True),
        _sigmoid_weights(arch, "bf16", 512, True, excluded=IDS),
        _sigmoid_weights(arch, "bf16", 512, True, factors=True, excluded=IDS_AND_LIMITS),
        _sigmoid_weights(arch, "fp16", 128, False, factors=True, excluded=IDS_AND_LIMITS),
        _sigmoid_weights(arch, "fp32", 512, True, excluded=IDS_AND_LIMITS),
        _sigmoid_registers(arch, "bf16", 64, IDS_AND_LIMITS),
        _sigmoid_registers(arch, "bf16", 128, IDS_AND_LIMITS, factors=True),
        _sigmoid_registers(arch, "fp16", 256, IDS_AND_LIMITS, factors=True),
        _sigmoid_registers(arch, "bf16", 512, IDS),
        _sigmoid_registers(arch, "bf16", 512, IDS_AND_LIMITS, factors=True),
        _sigmoid_registers(arch, "bf16", 512, IDS_AND_LIMITS, factors=True, left_out="d_columns_ptr"),
        _sigmoid_registers(arch, "bf16", 256, IDS_AND_LIMITS, factors=True, left_out="d_rows_ptr"),
        *(
            _sigmoid_registers(arch, "fp32", dim, IDS_AND_LIMITS, left_out=left_out, precision=precision)
            for precision in ("ieee", "tf32")
            for dim, left_out in ((64, None), (128, None), (256, None), (512, None), (512, "d_rows_ptr"))
        ),
        _sigmoid_registers(arch, "fp32", 256, IDS_AND_LIMITS, left_out="d_rows_ptr"),
        *similarity_cases(arch),
        *cross_cases(arch),
        *class_cases(arch),
    ]
    once = {case.id: case for case in listed}
    assert all(once[case.id] == case for case in listed), "one id stands for two cases"
    return list(once.values())
