"""The Triton kernels that test_codegen.py compiles: one line per kernel and set of types, with the blocks of the
architecture. The launchers pass None for what a kernel does without.
"""

from __future__ import annotations

from typing import Any

from codegen_case import SUMS, Case, of, without
from codegen_class_cases import class_cases

from sslfast.kernels import _launch

# What may be left out of the sums beside the positives: argument and type. The launchers pass None for the rest.
IDS = {"row_ids_ptr": "*i64", "col_ids_ptr": "*i64"}
FACTORS = ("row_factors_ptr", "col_factors_ptr")
WEIGHTS = "label_weights_ptr"
IDS_AND_LIMITS = IDS | {"row_limits_ptr": "*fp32"}


def _forward(dtype: str, size: int, dim: int, bounded: bool, factors: bool = False) -> Case:
    options = _launch.similarity_forward(size, dim, 4 if dtype == "fp32" else 2)
    options |= {"BOUNDED": bounded, "PRECISION": "ieee"} | without(factors)
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 i32 i32 fp32"
    return Case("logit_tile.similarity_forward_kernel", signature, options, dtype != "fp32")


def _finish(dtype: str, dim: int, bounded: bool, factors: bool = False) -> Case:
    block_d = _launch.similarity_forward(4096, dim, 4 if dtype == "fp32" else 2)["BLOCK_D"]
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 *fp32 i32 i32 i32 fp32"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "BOUNDED": bounded} | without(factors)
    return Case("similarity_softmax.similarity_finish_kernel", signature, options)


def _apart(dtype: str) -> tuple[dict[str, None], str]:
    """The gradients of positives, an argument where nothing is rounded."""
    return ({}, "*fp32") if dtype == "fp32" else ({"grad_positive_ptr": None}, "")


def _labels(labels: bool, *names: str) -> tuple[dict[str, None], str]:
    """Labels, and what the gradient of an entry of one label is less by."""
    return ({}, " ".join(["*i32"] * len(names) + ["*fp32"])) if labels else (dict.fromkeys([*names, WEIGHTS]), "")


def _backward(arch: int, dtype: str, dim: int, bounded: bool, factors: bool = False, labels: bool = False) -> Case:
    none, grad_positive = _apart(dtype)
    no_labels, classes = _labels(labels, "labels_ptr")
    options = _launch.similarity_backward(dim, 4 if dtype == "fp32" else 2, arch)
    options |= {"BOUNDED": bounded, "PRECISION": "ieee"} | without(factors) | none | no_labels
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 {grad_positive} {classes} *fp32 i32 i32 fp32"
    return Case("similarity_softmax_registers.similarity_backward_kernel", signature, options, dtype != "fp32")


def _weights(arch: int, dtype: str, dim: int, bounded: bool, factors: bool = False, labels: bool = False) -> Case:
    no_labels, classes = _labels(labels, "labels_ptr")
    two = factors or (labels and dtype != "fp32")
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, two=two)
    options |= {"BOUNDED": bounded, "PRECISION": "ieee"} | without(factors, "factors_ptr", "col_weights_ptr")
    options |= without(dtype != "fp32", "sums_ptr") | no_labels
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32')}"
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 {classes} {buffers} i32 i32 i32 i32 i32 fp32"
    return Case("similarity_softmax_backward.similarity_weights_kernel", signature, options, dtype != "fp32")


def _positives(arch: int, dtype: str, dim: int, bounded: bool, factors: bool = False) -> Case:
    none, grad_positive = _apart(dtype)
    block_d = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch)["BLOCK_D"]
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 {grad_positive} *fp32 i32 i32 fp32"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "BOUNDED": bounded} | without(factors) | none
    return Case("similarity_softmax_backward.similarity_positives_kernel", signature, options)


def _pairs(dtype: str, dim: int, sides: int, factors: bool) -> Case:
    begin = {"begin_ptr": None} if sides == 1 else {}
    signature = f"*fp32 *{dtype} {of(factors)} *fp32 *i64 {'' if begin else '*i64'} fp32 i32 i32"
    return Case("weight_tile.pairs_kernel", signature, _launch.pairs(dim) | without(factors) | begin)


def _nt_xent_normalise(dtype: str, dim: int) -> Case:
    factors = dtype != "fp32"
    signature = f"*{dtype} *{dtype} *{dtype} *fp32 {of(factors)} *i64 i32 i32 i32 i32 i32 i32"
    return Case("nt_xent.nt_xent_normalise_kernel", signature, _launch.nt_xent_rows(dim) | without(factors))


def _nt_xent_finish(dtype: str, dim: int, bounded: bool) -> Case:
    factors = dtype != "fp32"
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 *fp32 *fp32 i32 i32 i32 fp32"
    options = _launch.nt_xent_finish(dim) | {"BOUNDED": bounded} | without(factors)
    return Case("nt_xent.nt_xent_finish_kernel", signature, options)


def _nt_xent_backward(dtype: str, dim: int, bounded: bool) -> Case:
    options = _launch.nt_xent_backward(dim, 4 if dtype == "fp32" else 2)
    options |= {"BOUNDED": bounded, "HAS_FACTORS": dtype != "fp32", "NEED_FIRST": True, "NEED_SECOND": True}
    options["PRECISION"] = "ieee"
    views = " ".join([f"*{dtype}"] * 4)
    signature = f"*{dtype} *fp32 *fp32 *fp32 *fp32 *fp32 {views} i32 i32 i32 i32 i32 i32 i32 fp32"
    return Case("nt_xent_backward.nt_xent_backward_kernel", signature, options, dtype != "fp32")


def _nt_xent_project(dtype: str, dim: int) -> Case:
    options = _launch.nt_xent_rows(dim) | {"NEED_FIRST": True, "NEED_SECOND": True}
    signature = f"*fp32 *fp32 *fp32 *{dtype} *{dtype} *{dtype} *{dtype} i32 i32 i32 i32 i32 i32"
    return Case("nt_xent_backward.nt_xent_project_kernel", signature, options)


def _queue(
    arch: int, dtype: str, dim: int, need_mean: bool, excluded: dict[str, str] | None = None, factors: bool = False
) -> Case:
    options = _launch.queue_softmax(dim, 4 if dtype == "fp32" else 2, arch) | {
        "NEED_MEAN": need_mean,
        "PRECISION": "ieee",
    }
    all_of_them = {"positives_ptr": "*i64"} | IDS_AND_LIMITS
    excluded = excluded or {}
    options |= dict.fromkeys(name for name in all_of_them if name not in excluded) | without(factors, *FACTORS)
    rest = f"{of(factors, 2)} *fp32 {' '.join(excluded.values())} *fp32 *fp32 *fp32 i32 i32 i32 i32"
    return Case("queue_softmax.queue_softmax_kernel", f"*{dtype} *{dtype} {rest}", options, dtype != "fp32")


def _queue_finish(dim: int) -> Case:
    options = {"BLOCK_M": 16, "BLOCK_OUT": _launch.queue_softmax(dim, 2, 0)["BLOCK_OUT"], "NEED_MEAN": True}
    return Case("queue_softmax.queue_softmax_finish_kernel", "*fp32 *fp32 *fp32 *fp32 *fp32 i32 i32 i32", options)


def _cross_forward(
    dtype: str, size: int, dim: int, two_way: bool, excluded: dict[str, str] | None = None, factors: bool = False
) -> Case:
    excluded = excluded or {}
    options = _launch.similarity_forward(size, dim, 4 if dtype == "fp32" else 2)
    options |= {"TWO_WAY": two_way, "PRECISION": "ieee"} | dict.fromkeys(
        name for name in IDS_AND_LIMITS if name not in excluded
    )
    options |= without(factors, *FACTORS)
    rest = f"{of(factors, 2)} *i64 *fp32 {' '.join(excluded.values())} *fp32 *fp32 *fp32 *fp32 i32 i32 i32"
    return Case("cross_softmax.cross_forward_kernel", f"*{dtype} *{dtype} {rest}", options, dtype != "fp32")


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
) -> Case:
    excluded = excluded or {}
    none, grad_positive = _apart(dtype)
    no_labels, classes = _labels(labels, "row_labels_ptr", "col_labels_ptr")
    two = factors or (labels and dtype != "fp32")
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, excluded=bool(excluded), two=two)
    options |= {"TWO_WAY": two_way, "PRECISION": "ieee"} | dict.fromkeys(
        name for name in IDS_AND_LIMITS if name not in excluded
    )
    options |= without(factors, *FACTORS, "col_weights_ptr") | without(dtype != "fp32", *SUMS) | none | no_labels
    vectors = " ".join([*excluded.values(), *["*fp32"] * 4, grad_positive, classes])
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32', 2)}"
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {vectors} {buffers} i32 i32 i32 i32 i32 i32"
    return Case("cross_softmax_backward.cross_weights_kernel", signature, options, dtype != "fp32")


def _one_way_logits(
    arch: int, dtype: str, dim: int, excluded: dict[str, str] | None = None, factors: bool = False, stored: bool = True
) -> Case:
    excluded = excluded or {}
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, excluded=bool(excluded))
    options |= {"PRECISION": "ieee"} | dict.fromkeys(name for name in IDS_AND_LIMITS if name not in excluded)
    options |= without(factors, *FACTORS) | without(stored, "strip_ptr")
    vectors = " ".join([*excluded.values(), *["*fp32"] * (2 + stored)])
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {vectors} i32 i32 i32 i32 i32 i32"
    return Case("one_way_strip.one_way_logits_kernel", signature, options, dtype != "fp32")


def _one_way_rows(arch: int, dtype: str, dim: int, known: bool, factors: bool = False) -> Case:
    block_d = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch)["BLOCK_D"]
    signature = f"*fp32 *fp32 *{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 {of(known, 3)} *fp32 *fp32 *fp32"
    options = {"BLOCK": 16, "BLOCK_D": block_d, "SLOTS": 64} | without(factors, *FACTORS)
    options |= without(known, "known_lse_ptr", "known_positive_ptr", "weights_ptr")
    return Case("one_way_strip.one_way_rows_kernel", f"{signature} i32 i32 i32 i32 i32 i32", options)


def _one_way_weights(arch: int, dtype: str, factors: bool = False, labels: bool = False) -> Case:
    options = _launch.one_way_weights(_launch.weights(512, 4 if dtype == "fp32" else 2, arch)["BLOCK_N"])
    options |= without(factors, *FACTORS, "col_weights_ptr") | without(dtype != "fp32", *SUMS)
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32', 2)}"
    options |= without(labels, "row_labels_ptr", "col_labels_ptr", "label_weights_ptr")
    options["PARTS"] = 2 if labels and dtype != "fp32" else 1
    classes = "*i32 *i32 *fp32" if labels else ""
    signature = f"*fp32 *fp32 *fp32 *fp32 {of(factors, 2)} *i64 {classes} {buffers} i32 i32 i32 i32 i32"
    return Case("one_way_strip.one_way_weights_kernel", signature, options)


def _sigmoid_weights(arch: int, dtype: str, dim: int, stored: bool, factors: bool = False) -> Case:
    options: dict[str, Any] = _launch.sigmoid_weights(dim, 4 if dtype == "fp32" else 2, arch) | {"PRECISION": "ieee"}
    options |= without(factors, *FACTORS)
    summed = stored and dtype != "fp32"
    options |= without(stored, "row_weights_ptr") | without(stored and factors, "col_weights_ptr")
    options |= without(summed, "mantissas_ptr", *SUMS)
    buffers = f"{f'*{dtype}' if stored else ''} {f'*{dtype}' if stored and factors else ''} {of(summed, 2)}"
    rest = f"{of(factors, 2)} *i64 *fp32 *fp32 {of(summed)} {buffers} *fp32 i32 i32 i32 i32 i32 i32 fp32"
    return Case("sigmoid_pairs.sigmoid_weights_kernel", f"*{dtype} *{dtype} {rest}", options, dtype != "fp32")


def _sigmoid_mantissas(dtype: str, dim: int, factors: bool) -> Case:
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *fp32 *fp32 *fp32 i32 i32 i32"
    options: dict[str, Any] = _launch.sigmoid_mantissas(dim) | without(factors, *FACTORS)
    return Case("sigmoid_pairs.sigmoid_mantissas_kernel", signature, options)


def _sigmoid_positives(arch: int, dtype: str, dim: int, factors: bool = False) -> Case:
    block_d = _launch.sigmoid_weights(dim, 4 if dtype == "fp32" else 2, arch)["BLOCK_D"]
    signature = f"*{dtype} *{dtype} {of(factors, 2)} *i64 *fp32 *fp32 *fp32 *fp32 *fp32 i32 i32"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "NEED_ROWS": True, "NEED_COLUMNS": True} | without(factors, *FACTORS)
    return Case("sigmoid_pairs.sigmoid_positives_kernel", signature, options)


def _unit_rows(dtype: str, out: str, dim: int) -> Case:
    return Case("unit_rows.unit_rows_kernel", f"*{dtype} *{out} *fp32 i32 i32 i32", _launch.unit_rows(dim))


def _unit_rows_backward(dtype: str, dim: int) -> Case:
    signature = f"*fp32 *{dtype} *fp32 i32 i32"
    return Case("unit_rows.unit_rows_backward_kernel", signature, _launch.unit_rows(dim))


def cases(capability: int) -> list[Case]:
    arch = capability // 10
    return [
        Case("philox.philox_words_kernel", "*i32 *i64 i64 i64 i64", {"BLOCK": 256}),
        _unit_rows("bf16", "bf16", 512),
        _unit_rows("fp32", "fp32", 128),
        _unit_rows_backward("bf16", 512),
        _unit_rows_backward("fp32", 128),
        _forward("bf16", 4096, 128, True),
        _forward("bf16", 32768, 128, False),
        _forward("fp32", 4096, 128, True),
        _forward("bf16", 4096, 128, True, factors=True),
        _forward("bf16", 32768, 512, False, factors=True),
        _forward("fp16", 4096, 128, True, factors=True),
        _finish("bf16", 128, False),
        _finish("fp16", 512, True, factors=True),
        _backward(arch, "bf16", 128, True),
        _backward(arch, "fp16", 128, False),
        _backward(arch, "fp32", 128, True),
        _backward(arch, "fp32", 128, False),
        _backward(arch, "bf16", 128, True, factors=True),
        _backward(arch, "bf16", 128, False, factors=True),
        _backward(arch, "fp16", 64, False, factors=True),
        _backward(arch, "fp16", 256, False, factors=True),
        _backward(arch, "fp16", 384, True),
        _backward(arch, "bf16", 512, False, factors=True),
        _backward(arch, "bf16", 128, True, labels=True),
        _backward(arch, "fp32", 128, False, labels=True),
        _backward(arch, "bf16", 128, False, factors=True, labels=True),
        _backward(arch, "fp16", 128, True, factors=True, labels=True),
        _weights(arch, "bf16", 128, True),
        _weights(arch, "bf16", 512, False),
        _weights(arch, "fp16", 512, True),
        _weights(arch, "fp32", 512, True),
        _weights(arch, "fp32", 512, False),
        _weights(arch, "bf16", 512, True, factors=True),
        _weights(arch, "bf16", 512, False, factors=True),
        _weights(arch, "fp16", 128, False, factors=True),
        _weights(arch, "bf16", 512, True, labels=True),
        _weights(arch, "fp32", 512, False, labels=True),
        _weights(arch, "bf16", 512, False, factors=True, labels=True),
        _weights(arch, "fp16", 512, True, factors=True, labels=True),
        _positives(arch, "bf16", 512, False),
        _positives(arch, "fp32", 128, True),
        _positives(arch, "fp16", 512, True, factors=True),
        _pairs("bf16", 512, 1, factors=True),
        _pairs("bf16", 512, 2, factors=True),
        _pairs("fp16", 64, 2, factors=False),
        _nt_xent_normalise("bf16", 128),
        _nt_xent_normalise("fp32", 768),
        _nt_xent_finish("bf16", 128, True),
        _nt_xent_finish("fp32", 512, False),
        Case("nt_xent.nt_xent_mean_kernel", "*fp32 *fp32 *fp32 i32 i32", {"BLOCK": 1024}),
        _nt_xent_backward("bf16", 128, True),
        _nt_xent_backward("bf16", 128, False),
        _nt_xent_backward("fp16", 128, True),
        _nt_xent_backward("fp32", 128, True),
        _nt_xent_backward("fp32", 128, False),
        _nt_xent_project("bf16", 768),
        _nt_xent_project("fp32", 128),
        _nt_xent_project("fp32", 1),
        _queue(arch, "bf16", 128, True),
        _queue(arch, "fp16", 512, True),
        _queue(arch, "bf16", 128, False),
        _queue(arch, "bf16", 128, True, factors=True),
        _queue(arch, "bf16", 512, True, factors=True),
        _queue(arch, "fp16", 384, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, factors=True),
        _queue(arch, "fp32", 512, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue(arch, "fp16", 128, False, factors=True),
        _queue(arch, "fp32", 128, True),
        _queue(arch, "bf16", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue(arch, "bf16", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS, factors=True),
        _queue(arch, "fp32", 128, True, {"positives_ptr": "*i64"} | IDS_AND_LIMITS),
        _queue_finish(512),
        _cross_forward("bf16", 65536, 512, True),
        _cross_forward("fp16", 4096, 512, False),
        _cross_forward("fp32", 4096, 512, True),
        _cross_forward("bf16", 4096, 512, True, IDS),
        _cross_forward("fp32", 4096, 512, False, IDS_AND_LIMITS),
        _cross_forward("bf16", 65536, 512, True, factors=True),
        _cross_forward("fp16", 4096, 128, True, factors=True),
        _cross_forward("bf16", 4096, 512, False, IDS_AND_LIMITS, factors=True),
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
        _one_way_logits(arch, "bf16", 512),
        _one_way_logits(arch, "fp16", 128, stored=False),
        _one_way_logits(arch, "fp32", 512),
        _one_way_logits(arch, "bf16", 512, factors=True),
        _one_way_logits(arch, "bf16", 512, IDS_AND_LIMITS, factors=True),
        _one_way_logits(arch, "fp32", 128, IDS_AND_LIMITS),
        _one_way_rows(arch, "bf16", 512, False, factors=True),
        _one_way_rows(arch, "fp16", 128, True, factors=True),
        _one_way_rows(arch, "fp32", 512, True),
        _one_way_weights(arch, "bf16", factors=True),
        _one_way_weights(arch, "fp16"),
        _one_way_weights(arch, "fp32"),
        _one_way_weights(arch, "bf16", factors=True, labels=True),
        _one_way_weights(arch, "fp32", labels=True),
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
        _sigmoid_positives(arch, "bf16", 512),
        _sigmoid_positives(arch, "fp32", 512),
        *class_cases(arch),
    ]
