"""Cases of the similarities of rows with columns, one way or both, and with a queue, for codegen_cases.py."""

from __future__ import annotations

from typing import Any

from codegen_case import FACTORS, IDS, IDS_AND_LIMITS, SUMS, Case, apart, labels_of, of, on_tensor_cores, without

from sslfast.kernels import _cross_launch, _launch


def _queue(
    arch: int,
    dtype: str,
    dim: int,
    need_mean: bool,
    excluded: dict[str, str] | None = None,
    factors: bool = False,
    precision: str = "ieee",
) -> Case:
    options: dict[str, Any] = _launch.queue_softmax(dim, 4 if dtype == "fp32" else 2, arch, precision, need_mean)
    options |= {"NEED_MEAN": need_mean, "PRECISION": precision}
    all_of_them = {"positives_ptr": "*i64"} | IDS_AND_LIMITS
    excluded = excluded or {}
    options |= dict.fromkeys(name for name in all_of_them if name not in excluded) | without(factors, *FACTORS)
    rest = f"{of(factors, 2)} *fp32 {' '.join(excluded.values())} *fp32 *fp32 *fp32 i32 i32 i32 i32"
    tensor_cores = on_tensor_cores(dtype, precision)
    return Case("queue_softmax.queue_softmax_kernel", f"*{dtype} *{dtype} {rest}", options, tensor_cores)


def _queue_finish(dim: int) -> Case:
    options = {"BLOCK_M": 16, "BLOCK_OUT": _launch.queue_softmax(dim, 2, 0)["BLOCK_OUT"], "NEED_MEAN": True}
    return Case("queue_softmax.queue_softmax_finish_kernel", "*fp32 *fp32 *fp32 *fp32 *fp32 i32 i32 i32", options)


def _cross_forward(
    dtype: str,
    size: int,
    dim: int,
    two_way: bool,
    excluded: dict[str, str] | None = None,
    factors: bool = False,
    precision: str = "ieee",
) -> Case:
    excluded = excluded or {}
    options = _launch.similarity_forward(size, dim, 4 if dtype == "fp32" else 2)
    options |= {"TWO_WAY": two_way, "PRECISION": precision} | dict.fromkeys(
        name for name in IDS_AND_LIMITS if name not in excluded
    )
    options |= without(factors, *FACTORS)
    rest = f"{of(factors, 2)} *i64 *fp32 {' '.join(excluded.values())} *fp32 *fp32 *fp32 *fp32 i32 i32 i32"
    cores = on_tensor_cores(dtype, precision)
    return Case("cross_softmax.cross_forward_kernel", f"*{dtype} *{dtype} {rest}", options, cores)


def _cross_finish(dtype: str, dim: int, factors: bool = False) -> Case:
    block_d = _launch.similarity_forward(4096, dim, 4 if dtype == "fp32" else 2)["BLOCK_D"]
    signature = f"*fp32 *fp32 *fp32 *{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 *fp32 i32 i32 i32 i32"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "POSITIVES": True} | without(factors, *FACTORS)
    return Case("cross_softmax.cross_finish_kernel", signature, options)


def _cross_weights(
    arch: int,
    dtype: str,
    dim: int,
    two_way: bool,
    excluded: dict[str, str] | None = None,
    factors: bool = False,
    labels: bool = False,
    precision: str = "ieee",
) -> Case:
    excluded = excluded or {}
    none, grad_positive = apart(dtype)
    no_labels, classes = labels_of(labels, "row_labels_ptr", "col_labels_ptr")
    two = factors or (labels and dtype != "fp32")
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, excluded=bool(excluded), two=two)
    options |= {"TWO_WAY": two_way, "PRECISION": precision} | dict.fromkeys(
        name for name in IDS_AND_LIMITS if name not in excluded
    )
    options |= without(factors, *FACTORS, "col_weights_ptr") | without(dtype != "fp32", *SUMS) | none | no_labels
    vectors = " ".join([*excluded.values(), *["*fp32"] * 4, grad_positive, classes])
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32', 2)}"
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {vectors} {buffers} i32 i32 i32 i32 i32 i32"
    return Case("cross_softmax_backward.cross_weights_kernel", signature, options, on_tensor_cores(dtype, precision))


def _cross_registers(
    arch: int,
    dtype: str,
    dim: int,
    two_way: bool,
    excluded: dict[str, str] | None = None,
    *,
    factors: bool = False,
    labels: bool = False,
    left_out: str | None = None,
    precision: str = "ieee",
) -> Case:
    excluded = excluded or {}
    none, grad_positive = apart(dtype)
    no_labels, classes = labels_of(labels, "row_labels_ptr", "col_labels_ptr")
    options = _cross_launch.cross_registers(dim, 4 if dtype == "fp32" else 2, arch, labels, precision)
    options |= {"PRECISION": precision} | without(factors, *FACTORS) | none | no_labels
    options |= dict.fromkeys(name for name in IDS_AND_LIMITS if name not in excluded)
    options |= without(two_way, "col_lse_ptr", "grad_col_ptr") | ({} if left_out is None else {left_out: None})
    grads = of(True, 2 if left_out is None else 1)
    vectors = " ".join([*excluded.values(), classes, of(True, 4 if two_way else 2), grad_positive, grads])
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {vectors} i32 i32 i32 i32 i32"
    tensor_cores = on_tensor_cores(dtype, precision)
    return Case("cross_softmax_registers.cross_registers_kernel", signature, options, tensor_cores)


def _one_way_gradient(dim: int) -> Case:
    options = {"BLOCK_M": 16, "BLOCK_OUT": _launch.queue_softmax(dim, 2, 0)["BLOCK_OUT"]}
    return Case("one_way_registers.one_way_gradient_kernel", "*fp32 *fp32 *fp32 *fp32 *fp32 i32 i32 i32", options)


def _one_way_logits(
    arch: int,
    dtype: str,
    dim: int,
    excluded: dict[str, str] | None = None,
    factors: bool = False,
    stored: bool = True,
    precision: str = "ieee",
) -> Case:
    excluded = excluded or {}
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, excluded=bool(excluded))
    options |= {"PRECISION": precision} | dict.fromkeys(name for name in IDS_AND_LIMITS if name not in excluded)
    options |= without(factors, *FACTORS) | without(stored, "strip_ptr")
    vectors = " ".join([*excluded.values(), *["*fp32"] * (2 + stored)])
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {vectors} i32 i32 i32 i32 i32 i32"
    return Case("one_way_strip.one_way_logits_kernel", signature, options, on_tensor_cores(dtype, precision))


def _one_way_rows(arch: int, dtype: str, dim: int, known: bool, factors: bool = False) -> Case:
    block_d = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch)["BLOCK_D"]
    signature = f"*fp32 *fp32 *{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {of(known, 3)} *fp32 *fp32 *fp32"
    options = {"BLOCK": 16, "BLOCK_D": block_d, "SLOTS": 64} | without(factors, *FACTORS)
    options |= without(known, "known_lse_ptr", "known_positive_ptr", "weights_ptr")
    return Case("one_way_strip.one_way_rows_kernel", f"{signature} i32 i32 i32 i32 i32 i32", options)


def _one_way_weights(
    arch: int, dtype: str, factors: bool = False, labels: bool = False, excluded: bool = False
) -> Case:
    sized = _launch.weights(512, 4 if dtype == "fp32" else 2, arch, excluded=excluded)
    options = _launch.one_way_weights(sized["BLOCK_N"])
    options |= without(factors, *FACTORS, "col_weights_ptr") | without(dtype != "fp32", *SUMS)
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32', 2)}"
    options |= without(labels, "row_labels_ptr", "col_labels_ptr", "label_weights_ptr")
    options["PARTS"] = 2 if labels and dtype != "fp32" else 1
    classes = "*i32 *i32 *fp32" if labels else ""
    signature = f"*fp32 *fp32 *fp32 *fp32 {of(factors, 2)} *i64 {classes} {buffers} i32 i32 i32 i32 i32"
    return Case("one_way_strip.one_way_weights_kernel", signature, options)


def cross_cases(arch: int) -> list[Case]:
    return [
        _queue(arch, "bf16", 128, True),
        _queue(arch, "fp16", 512, True),
        _queue(arch, "bf16", 128, False),
        _queue(arch, "bf16", 128, True, factors=True),
        _queue(arch, "bf16", 512, True, factors=True),
        _queue(arch, "fp16", 384, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, factors=True),
        _queue(arch, "fp32", 512, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue(arch, "fp32", 256, True),
        _queue(arch, "fp32", 512, False, {"positives_ptr": "*i64"}),
        _queue(arch, "fp32", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, precision="tf32"),
        _queue(arch, "fp32", 256, True, precision="tf32"),
        _queue(arch, "fp32", 512, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, precision="tf32"),
        _queue(arch, "fp32", 64, True, precision="tf32"),
        _queue(arch, "fp32", 16, True),
        _queue(arch, "fp16", 128, False, factors=True),
        _queue(arch, "fp32", 128, True),
        _queue(arch, "bf16", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue(arch, "bf16", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, factors=True),
        _queue(arch, "fp32", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue(arch, "bf16", 512, True, {"positives_ptr": "*i64"}, factors=True),
        _queue(arch, "bf16", 512, False, {"positives_ptr": "*i64"}, factors=True),
        _queue_finish(512),
        _cross_forward("bf16", 65536, 512, True),
        _cross_forward("fp16", 4096, 512, False),
        _cross_forward("fp32", 4096, 512, True),
        _cross_forward("bf16", 4096, 512, True, IDS),
        _cross_forward("fp32", 4096, 512, False, IDS_AND_LIMITS),
        _cross_forward("bf16", 65536, 512, True, factors=True),
        _cross_forward("fp16", 4096, 128, True, factors=True),
        _cross_forward("bf16", 4096, 512, False, IDS_AND_LIMITS, factors=True),
        _cross_forward("fp32", 4096, 32, True, precision="tf32"),
        _cross_forward("bf16", 4096, 16, True, factors=True),
        _cross_finish("bf16", 512),
        _cross_finish("fp16", 512, factors=True),
        _cross_weights(arch, "bf16", 512, True),
        _cross_weights(arch, "fp16", 128, False),
        _cross_weights(arch, "fp32", 512, True),
        _cross_weights(arch, "bf16", 512, True, IDS),
        _cross_weights(arch, "fp32", 512, False, IDS_AND_LIMITS),
        _cross_weights(arch, "fp16", 512, False, IDS_AND_LIMITS),
        _cross_weights(arch, "bf16", 512, True, factors=True),
        _cross_weights(arch, "fp16", 128, False, factors=True),
        _cross_weights(arch, "bf16", 512, True, IDS, factors=True),
        _cross_weights(arch, "bf16", 512, False, IDS_AND_LIMITS, factors=True),
        _cross_weights(arch, "fp32", 512, True, labels=True),
        _cross_weights(arch, "bf16", 512, True, labels=True),
        _cross_weights(arch, "bf16", 512, False, factors=True, labels=True),
        _cross_weights(arch, "fp16", 512, True, factors=True, labels=True),
        _cross_weights(arch, "fp32", 512, True, precision="tf32"),
        _cross_registers(arch, "bf16", 64, True),
        _cross_registers(arch, "fp16", 128, True),
        _cross_registers(arch, "bf16", 128, True, factors=True),
        _cross_registers(arch, "bf16", 64, False, factors=True),
        _cross_registers(arch, "bf16", 256, True, factors=True),
        _cross_registers(arch, "fp16", 512, True),
        _cross_registers(arch, "bf16", 512, True, factors=True),
        _cross_registers(arch, "bf16", 256, True, IDS, factors=True),
        _cross_registers(arch, "bf16", 512, False, IDS_AND_LIMITS, factors=True),
        _cross_registers(arch, "bf16", 256, True, factors=True, left_out="d_columns_ptr"),
        _cross_registers(arch, "bf16", 512, True, IDS, factors=True, left_out="d_columns_ptr"),
        _cross_registers(arch, "bf16", 128, False, factors=True, left_out="d_rows_ptr"),
        _cross_registers(arch, "fp16", 256, False, IDS_AND_LIMITS, factors=True, left_out="d_rows_ptr"),
        _cross_registers(arch, "bf16", 512, False, factors=True, left_out="d_rows_ptr"),
        _cross_registers(arch, "bf16", 64, False, factors=True, labels=True),
        _cross_registers(arch, "fp16", 128, True, factors=True, labels=True),
        _cross_registers(arch, "bf16", 256, False, factors=True, labels=True, left_out="d_rows_ptr"),
        _cross_registers(arch, "bf16", 256, True, labels=True),
        _cross_registers(arch, "fp16", 512, True, factors=True, labels=True),
        _cross_registers(arch, "fp32", 64, False, IDS_AND_LIMITS),
        _cross_registers(arch, "fp32", 128, True, labels=True),
        _cross_registers(arch, "fp32", 256, False, IDS_AND_LIMITS),
        _cross_registers(arch, "fp32", 512, True, labels=True),
        _cross_registers(arch, "fp32", 512, True, IDS, left_out="d_columns_ptr"),
        _cross_registers(arch, "fp32", 64, True, precision="tf32"),
        _cross_registers(arch, "fp32", 128, False, IDS_AND_LIMITS, precision="tf32"),
        _cross_registers(arch, "fp32", 256, True, labels=True, precision="tf32"),
        _cross_registers(arch, "fp32", 512, False, IDS_AND_LIMITS, precision="tf32"),
        _cross_registers(arch, "fp32", 512, True, labels=True, precision="tf32"),
        _one_way_gradient(512),
        _one_way_logits(arch, "bf16", 512),
        _one_way_logits(arch, "fp16", 128, stored=False),
        _one_way_logits(arch, "fp32", 512),
        _one_way_logits(arch, "bf16", 512, factors=True),
        _one_way_logits(arch, "bf16", 512, IDS_AND_LIMITS, factors=True),
        _one_way_logits(arch, "fp32", 128, IDS_AND_LIMITS),
        _one_way_logits(arch, "fp32", 512, precision="tf32"),
        _one_way_rows(arch, "bf16", 512, False, factors=True),
        _one_way_rows(arch, "fp16", 128, True, factors=True),
        _one_way_rows(arch, "fp32", 512, True),
        _one_way_weights(arch, "bf16", factors=True),
        _one_way_weights(arch, "bf16", factors=True, excluded=True),
        _one_way_weights(arch, "fp16"),
        _one_way_weights(arch, "fp32"),
        _one_way_weights(arch, "bf16", factors=True, labels=True),
        _one_way_weights(arch, "fp32", labels=True),
    ]
