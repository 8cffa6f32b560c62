"""Cases of the similarities of rows with one another, NT-Xent's among them, for codegen_cases.py."""

from __future__ import annotations

from typing import Any

from codegen_case import Case, apart, labels_of, of, on_tensor_cores, without

from sslfast.kernels import _launch, _nt_xent_launch


def _forward(dtype: str, size: int, dim: int, bounded: bool, factors: bool = False, precision: str = "ieee") -> Case:
    options = _launch.similarity_forward(size, dim, 4 if dtype == "fp32" else 2)
    options |= {"BOUNDED": bounded, "PRECISION": precision} | without(factors)
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 i32 i32 fp32"
    return Case("logit_tile.similarity_forward_kernel", signature, options, on_tensor_cores(dtype, precision))


def _finish(dtype: str, dim: int, bounded: bool, factors: bool = False) -> Case:
    block_d = _launch.similarity_forward(4096, dim, 4 if dtype == "fp32" else 2)["BLOCK_D"]
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 *fp32 i32 i32 i32 fp32"
    options = {"BLOCK": 64, "BLOCK_D": block_d, "BOUNDED": bounded} | without(factors)
    return Case("similarity_softmax.similarity_finish_kernel", signature, options)


def _backward(
    arch: int,
    dtype: str,
    dim: int,
    bounded: bool,
    factors: bool = False,
    labels: bool = False,
    precision: str = "ieee",
) -> Case:
    none, grad_positive = apart(dtype)
    no_labels, classes = labels_of(labels, "labels_ptr")
    options: dict[str, Any] = _launch.similarity_backward(dim, 4 if dtype == "fp32" else 2, arch, labels, precision)
    options |= {"BOUNDED": bounded, "PRECISION": precision} | without(factors) | none | no_labels
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 {grad_positive} {classes} *fp32 i32 i32 i32 fp32"
    tensor_cores = on_tensor_cores(dtype, precision)
    return Case("similarity_softmax_registers.similarity_backward_kernel", signature, options, tensor_cores)


def _weights(
    arch: int,
    dtype: str,
    dim: int,
    bounded: bool,
    factors: bool = False,
    labels: bool = False,
    precision: str = "ieee",
) -> Case:
    no_labels, classes = labels_of(labels, "labels_ptr")
    two = factors or (labels and dtype != "fp32")
    options = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch, two=two)
    options |= {"BOUNDED": bounded, "PRECISION": precision} | without(factors, "factors_ptr", "col_weights_ptr")
    options |= without(dtype != "fp32", "sums_ptr") | no_labels
    buffers = f"*{dtype} {f'*{dtype}' if factors else ''} {of(dtype != 'fp32')}"
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 {classes} {buffers} i32 i32 i32 i32 i32 fp32"
    cores = on_tensor_cores(dtype, precision)
    return Case("similarity_softmax_backward.similarity_weights_kernel", signature, options, cores)


def _positives(arch: int, dtype: str, dim: int, bounded: bool, factors: bool = False) -> Case:
    none, grad_positive = apart(dtype)
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
    return Case("nt_xent.nt_xent_normalise_kernel", signature, _nt_xent_launch.nt_xent_rows(dim) | without(factors))


def _nt_xent_finish(dtype: str, dim: int, bounded: bool) -> Case:
    factors = dtype != "fp32"
    signature = f"*{dtype} {of(factors)} *i64 *fp32 *fp32 *fp32 *fp32 *fp32 i32 i32 i32 fp32"
    options = _nt_xent_launch.nt_xent_finish(dim) | {"BOUNDED": bounded} | without(factors)
    return Case("nt_xent.nt_xent_finish_kernel", signature, options)


def _nt_xent_backward(dtype: str, dim: int, bounded: bool, split: bool = False, precision: str = "ieee") -> Case:
    half = dtype != "fp32"
    options = _nt_xent_launch.nt_xent_backward(dim, 2 if half else 4, split)
    options |= {"BOUNDED": bounded, "HAS_FACTORS": half, "SPLIT": split, "NEED_FIRST": True, "NEED_SECOND": True}
    options["PRECISION"] = precision
    views = " ".join([f"*{dtype}"] * 4)
    signature = f"*{dtype} *fp32 *fp32 *fp32 *fp32 *fp32 {views} i32 i32 i32 i32 i32 i32 i32 fp32"
    cores = on_tensor_cores(dtype, precision)
    return Case("nt_xent_backward.nt_xent_backward_kernel", signature, options, cores)


def _nt_xent_project(dtype: str, dim: int) -> Case:
    options = _nt_xent_launch.nt_xent_rows(dim) | {"NEED_FIRST": True, "NEED_SECOND": True}
    signature = f"*fp32 *fp32 *fp32 *{dtype} *{dtype} *{dtype} *{dtype} i32 i32 i32 i32 i32 i32"
    return Case("nt_xent_backward.nt_xent_project_kernel", signature, options)


def similarity_cases(arch: int) -> list[Case]:
    return [
        _forward("bf16", 4096, 128, True),
        _forward("bf16", 32768, 128, False),
        _forward("fp32", 4096, 128, True),
        _forward("bf16", 4096, 128, True, factors=True),
        _forward("bf16", 32768, 512, False, factors=True),
        _forward("fp16", 4096, 128, True, factors=True),
        _forward("fp32", 4096, 128, False, precision="tf32"),
        _finish("bf16", 128, False),
        _finish("fp16", 512, True, factors=True),
        _backward(arch, "bf16", 128, True),
        _backward(arch, "fp16", 128, False),
        _backward(arch, "fp32", 128, True),
        _backward(arch, "fp32", 128, False),
        _backward(arch, "fp32", 256, True),
        _backward(arch, "fp32", 512, False, labels=True),
        _backward(arch, "fp32", 128, False, labels=True, precision="tf32"),
        _backward(arch, "fp32", 256, True, precision="tf32"),
        _backward(arch, "fp32", 512, False, labels=True, precision="tf32"),
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
        _backward(arch, "fp16", 64, True, factors=True, labels=True),
        _backward(arch, "bf16", 256, False, factors=True, labels=True),
        _backward(arch, "fp16", 384, True, labels=True),
        _backward(arch, "bf16", 512, False, factors=True, labels=True),
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
        _weights(arch, "fp32", 512, False, precision="tf32"),
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
        _nt_xent_backward("bf16", 128, True, split=True),
        _nt_xent_backward("fp16", 128, False, split=True),
        _nt_xent_backward("bf16", 64, False, split=True),
        _nt_xent_backward("fp16", 32, True, split=True),
        _nt_xent_backward("fp32", 128, True),
        _nt_xent_backward("fp32", 128, False),
        _nt_xent_backward("fp32", 128, False, precision="tf32"),
        _nt_xent_backward("bf16", 32, True),
        _nt_xent_project("bf16", 768),
        _nt_xent_project("fp32", 128),
        _nt_xent_project("fp32", 1),
    ]
