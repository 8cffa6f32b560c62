"""Noise of features beside eager torch.

Floor: a cell read and written. Prediction: Philox and Box and Muller are some 45 float operations a cell, which
vectorise: 1.5 ns with AVX-512. torch's randn takes 2 to 3 and the sum another pass: 1.5x, more where cells are chosen.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled


def make_inputs(device: torch.device, *, rows: int, features: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, features).to(device), (torch.rand(features) + 0.5).to(device)


def ours(inputs: tuple[Tensor, Tensor], *, probability: float) -> Call:
    from sslfast.augment import add_feature_noise

    x, std = inputs
    return lambda: add_feature_noise(x, 0.1, std=std, probability=probability)


def formulation(x: Tensor, std: Tensor, probability: float) -> Tensor:
    noisy = x + torch.randn_like(x) * (0.1 * std)
    return noisy if probability == 1 else torch.where(torch.rand_like(x) < probability, noisy, x)


def check(inputs: tuple[Tensor, Tensor], theirs: Tensor, ours: Tensor) -> None:
    """As many cells change, by as much."""
    x, std = inputs
    found = [(((out - x) / std).square().mean().sqrt(), ((out - x) != 0).float().mean()) for out in (theirs, ours)]
    for of, (a, b) in zip(("width", "share"), zip(*found, strict=True), strict=True):
        assert abs(a - b) < 0.03 * b, f"the {of} is {float(a):.4f}, ours {float(b):.4f}"


def case(rows: int, features: int, probability: float, **options: Any) -> Case:
    return Case(
        op="feature_noise" if probability == 1 else "feature_noise of some cells",
        size=f"{rows}x{features}",
        dtype="fp32",
        make_inputs=partial(make_inputs, rows=rows, features=features),
        providers={
            "sslfast": partial(ours, probability=probability),
            "eager torch": lambda inputs: partial(formulation, *inputs, probability),
            **options.pop("others", {}),
        },
        check=check,
        work=8 * rows * features,
        unit="B",
        formula="(4 read + 4 written) B a cell",
        **options,
    )


def cases() -> list[Case]:
    others = {"torch.compile": lambda inputs: partial(compiled(formulation), *inputs, 1.0)}
    return [
        case(4096, 100, 1.0, others=others),
        case(4096, 100, 0.5),
        case(256, 100, 1.0, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
