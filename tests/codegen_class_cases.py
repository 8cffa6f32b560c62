"""The Triton kernels of losses over the classes of a linear layer and over prototypes, for test_codegen.py."""

from __future__ import annotations

from codegen_case import SUMS, Case, of, on_tensor_cores, without

from sslfast.kernels import _launch, _prototype_launch


def _classes(arch: int, dtype: str, dim: int, terms: bool, precision: str = "ieee") -> list[Case]:
    """The three kernels of linear_cross_entropy: ``terms`` stands for bias, class weights, cap and smoothing."""
    sized = _launch.weights(dim, 4 if dtype == "fp32" else 2, arch)
    module, capped = "class_softmax", {"CAPPED": terms}
    none = without(terms, "class_weights_ptr")
    logits = sized | capped | none | without(terms, "bias_ptr", "weighted_ptr") | {"PRECISION": precision}
    rows = {"BLOCK": 16, "SLOTS": 64} | capped | none | without(terms, "weighted_ptr", "weights_ptr", "others_ptr")
    rows |= without(terms, "elsewhere_ptr", "elsewhere_own_ptr")
    gradients = _launch.one_way_weights(sized["BLOCK_N"]) | capped | none | without(terms, "bias_sums_ptr")
    gradients |= without(dtype != "fp32", *SUMS)
    sums = f"{of(terms, 2)} *i64 *fp32 *fp32 *fp32 {of(terms)} *fp32"
    results = f"{' '.join(['*fp32'] * 9)} {of(terms, 2)} fp32 fp32 fp32 fp32"
    buffers = f"*i64 *fp32 *fp32 *fp32 {of(terms)} {of(dtype != 'fp32', 2)} {of(terms)}"
    return [
        Case(
            f"{module}.class_logits_kernel",
            f"*{dtype} *{dtype} {sums} fp32 i32 i32 i32 i32 i32 i32",
            logits,
            on_tensor_cores(dtype, precision),
        ),
        Case(
            f"{module}.class_rows_kernel",
            f"*fp32 *fp32 {of(terms)} *fp32 *i64 {of(terms, 3)} *fp32 {results} i32 i32 i32 i32 i32",
            rows,
        ),
        Case(f"{module}.class_gradients_kernel", f"*fp32 *{dtype} {buffers} fp32 i32 i32 i32 i32 i32", gradients),
    ]


def _prototype_rows(dtype: str, weights: bool) -> Case:
    options = _prototype_launch.prototype_rows(65536) | without(weights, "weights_ptr")
    return Case(
        "prototype_rows.prototype_rows_kernel",
        f"*{dtype} *fp32 {of(weights)} *fp32 *fp32 i32 i32 i32 i32 fp32",
        options,
    )


def _soft_cross_entropy(
    student: str, teacher: str, views: tuple[int, int], grad: bool, *, aligned: bool = True
) -> list[Case]:
    """Both launches for so many views of students and of teachers; ``grad`` stands for centers and weights, too."""
    size = min(4 if dtype == "fp32" else 2 for dtype in (student, teacher))
    config, module = _prototype_launch.soft_cross_entropy(size, aligned), "soft_cross_entropy"
    pairs = {"PAIRS": sum(1 << (v * views[1] + g) for v in range(views[0]) for g in range(views[1]) if g != v)}
    kinds = [(f"*{student}", views[0]), (f"*{teacher}", views[1]), ("i32", views[0]), ("i32", views[1])]
    sides = " ".join(f"({','.join([kind] * count)})" for kind, count in kinds)
    none = without(grad, "center_ptr", "weights_ptr")
    constants = f"{of(grad, 2)} *fp32"
    second = {"ROWS": config["ROWS"], "BLOCK": config["LANES"] * config["EACH"], "SPLITS": 64}
    second |= none | without(grad, "grad_ptr") | {"num_warps": config["num_warps"]}
    odd = () if aligned else ("s_strides", "t_strides", "N", "K", "center_stride")
    return [
        Case(
            f"{module}_pass.soft_sums_kernel",
            f"{sides} {constants} {of(grad)} i32 i32 i32 i32 fp32 fp32",
            config | pairs | none | without(grad, "column_ptr") | {"FIRST": 0, "ALL": views[1]},
            odd=odd,
        ),
        Case(
            f"{module}.soft_gradient_kernel",
            f"{sides} {constants} *fp32 {f'*{student}' if grad else ''} i32 i32 i32 i32 i32 fp32 fp32 fp32",
            second | pairs,
            odd=odd,
        ),
    ]


def _msn(levels: bool) -> list[Case]:
    rows, sums = _prototype_launch.msn_rows(1024), "i32 i32 i32 fp32"
    shares = _prototype_launch.msn_shares(1408, 1024)
    return [
        Case("msn.msn_rows_kernel", f"*fp32 *fp32 *fp32 *fp32 {sums}", rows),
        Case("msn.msn_shares_kernel", "*fp32 *fp32 *fp32 i32 i32 fp32", shares),
        Case(
            "msn.msn_gradient_kernel",
            f"*fp32 *fp32 *fp32 {of(levels)} {sums} fp32",
            rows | without(levels, "level_ptr"),
        ),
    ]


def _sinkhorn(dtype: str) -> list[Case]:
    columns, sums = _prototype_launch.sinkhorn_columns(), "*fp32 *fp32 *fp32"
    totals = {"SPLITS": 64, "num_warps": 1}
    return [
        Case("sinkhorn.sinkhorn_peaks_kernel", f"*{dtype} {sums} i32 i32 i32 fp32", columns),
        Case("sinkhorn.sinkhorn_masses_kernel", f"*{dtype} *fp32 *fp32 {sums} i32 i32 i32 fp32", columns),
        Case("sinkhorn.sinkhorn_totals_kernel", f"*fp32 {sums} i32 i32 fp32", totals),
        Case(
            "sinkhorn.sinkhorn_assign_kernel",
            f"*{dtype} *fp32 {sums} i32 i32 fp32",
            _prototype_launch.sinkhorn_assign(65536),
        ),
    ]


def _gumbel_quantize(dtype: str, given: bool) -> list[Case]:
    """``given`` stands for a mask and both derivatives."""
    rows, module = _prototype_launch.gumbel_rows(320), "gumbel_quantize"
    none = without(given, "mask_ptr")
    mask, sums = ("*i1 " if given else ""), "*fp32 *fp32 " if given else ""
    return [
        Case(f"{module}.gumbel_rows_kernel", f"*{dtype} *i64 *fp32 i32", rows),
        Case(
            f"{module}.gumbel_sums_kernel",
            f"*{dtype} {mask}*i64 *fp32 *fp32 *fp32 i32 i32 i32",
            _prototype_launch.gumbel_sums(320) | {"CHUNK": 32} | none,
        ),
        Case(
            f"{module}.gumbel_backward_kernel",
            f"*{dtype} {mask}*fp32 {sums}*i64 *i64 *{dtype} i32 i32 i32 fp32",
            rows | none | without(given, "h_ptr", "a_ptr"),
        ),
    ]


def class_cases(arch: int) -> list[Case]:
    return [
        _prototype_rows("bf16", True),
        _prototype_rows("fp32", False),
        *_soft_cross_entropy("bf16", "bf16", _prototype_launch.soft_views()[::-1], True),
        *_soft_cross_entropy("bf16", "bf16", _prototype_launch.soft_views()[::-1], True, aligned=False),
        *_soft_cross_entropy("fp32", "bf16", (2, 1), True),
        *_soft_cross_entropy("fp16", "fp32", (4, 2), False),
        *_msn(True),
        _msn(False)[-1],
        *_sinkhorn("bf16"),
        *_gumbel_quantize("bf16", True),
        *_gumbel_quantize("fp32", False),
        *_classes(arch, "bf16", 768, False),
        *_classes(arch, "bf16", 256, True),
        *_classes(arch, "fp16", 768, True),
        *_classes(arch, "fp32", 768, True),
        _classes(arch, "fp32", 768, True, precision="tf32")[0],
    ]
