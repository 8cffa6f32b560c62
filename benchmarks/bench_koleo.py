"""KoLeo, forward and backward, beside lightly's and the formula in torch.

Floor, N rows of D features: N^2 D FLOPs, half of a symmetric product, which finds the neighbours.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pairwise_distance

from benchmarks.bench_thin_losses import call, check, make_rows, ours, theirs
from benchmarks.harness import Case


def eager(x: Tensor) -> Tensor:
    unit = normalize(x, dim=1, eps=1e-8)
    with torch.no_grad():
        nearest = (unit @ unit.T).fill_diagonal_(-2.0).argmax(dim=1)
    return -(pairwise_distance(unit, unit[nearest], eps=1e-8) + 1e-8).log().mean()


def case(rows: int, width: int, **options: Any) -> Case:
    return Case(
        op="koleo",
        size=f"{rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_rows, rows=rows, width=width, views=1),
        providers={
            "sslfast": partial(call, partial(ours, "KoLeoLoss")),
            "eager torch": partial(call, lambda: eager),
            "lightly KoLeoLoss": partial(call, partial(theirs, "KoLeoLoss")),
        },
        check=check,
        work=rows**2 * width,
        unit="FLOP",
        formula="N^2 D",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        case(32, 128, quick=True),
        case(256, 128, quick=True),
        case(256, 384),
        case(4096, 384, memory=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
