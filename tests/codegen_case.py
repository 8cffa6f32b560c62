"""A Triton kernel to compile, and the arguments that its launcher may leave out."""

from __future__ import annotations

from typing import Any, NamedTuple

SUMS = ("row_sums_ptr", "col_sums_ptr")
# What may be left out of the sums beside the positives: argument and type. The launchers pass None for the rest.
IDS = {"row_ids_ptr": "*i64", "col_ids_ptr": "*i64"}
FACTORS = ("row_factors_ptr", "col_factors_ptr")
WEIGHTS = "label_weights_ptr"
IDS_AND_LIMITS = IDS | {"row_limits_ptr": "*fp32"}


class Case(NamedTuple):
    kernel: str  # module of sslfast.kernels, dot, name
    signature: str  # types of the arguments that are not constexpr, in order
    options: dict[str, Any]  # constexprs, num_warps and num_stages, as the launcher passes them
    tensor_cores: bool = False  # whether a product must run on them
    odd: tuple[str, ...] = ()  # integers that are no multiples of 16

    @property
    def id(self) -> str:
        values = [f"no {key[:-4]}" if value is None else str(value) for key, value in self.options.items()]
        types = self.signature.split()
        halves = [t for t in types if t in ("*bf16", "*fp16")]
        types = dict.fromkeys(t.strip("*") for t in (types[0], *halves))
        return "-".join([self.kernel.split(".")[1], *types, *values, *(f"odd {name}" for name in self.odd)])


def on_tensor_cores(dtype: str, precision: str) -> bool:
    """Whether products of that type are made there; float32 with torch's switch for tf32 alone."""
    return dtype != "fp32" or precision == "tf32"


def without(factors: bool, *names: str) -> dict[str, None]:
    """The arguments that a kernel gets no factors in."""
    return {} if factors else dict.fromkeys(names or ("factors_ptr",))


def of(factors: bool, number: int = 1) -> str:
    return " ".join(["*fp32"] * number if factors else [])


def apart(dtype: str) -> tuple[dict[str, None], str]:
    """The gradients of positives, an argument where nothing is rounded."""
    return ({}, "*fp32") if dtype == "fp32" else ({"grad_positive_ptr": None}, "")


def labels_of(labels: bool, *names: str) -> tuple[dict[str, None], str]:
    """Labels, and what the gradient of an entry of one label is less by."""
    return ({}, " ".join(["*i32"] * len(names) + ["*fp32"])) if labels else (dict.fromkeys([*names, WEIGHTS]), "")
