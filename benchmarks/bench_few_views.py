"""NT-Xent, DCL and DCLW of small batches, forward and backward, beside plain torch: what a call costs around its
products. 16, 64 and 256 samples with D = 128 are in bench_similarity_softmax.py and bench_dcl.py.

Floor: 16 N^2 D FLOPs, which at N = 16 and D = 128 are a few microseconds of some fifty. The rule: never slower than
eager torch, at any N.
"""

from __future__ import annotations

from typing import Any

from benchmarks import bench_dcl, bench_similarity_softmax
from benchmarks.harness import Case

SIZES = ((8, 128), (32, 128), (128, 128), (16, 512), (64, 512), (256, 512))  # samples, D


def cases() -> list[Case]:
    on_cpu: dict[str, Any] = {"devices": ("cpu",)}
    nt_xent = {"providers": bench_similarity_softmax.OF_FEW, **on_cpu}
    return [
        *(bench_similarity_softmax.case(*size, **nt_xent) for size in SIZES),
        bench_similarity_softmax.case(64, 512, "bf16", **nt_xent),
        *(bench_dcl.case(name, *size, **on_cpu) for name in ("DCLLoss", "DCLWLoss") for size in SIZES),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
