"""Corrupted features of tables beside SCARF and VIME in eager torch.

Floor: a cell read, from the row or from the bank, and written, and a byte of mask. SCARF's bank is the training set.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled

RATE = 0.6


class Inputs(NamedTuple):
    x: Tensor
    bank: Tensor


def make_inputs(device: torch.device, *, rows: int, features: int, bank: int) -> Inputs:
    """The columns have ranges of their own, so that a value shows where it comes from."""
    column = torch.arange(features) * 10.0
    x, rest = (column + torch.rand(n, features) for n in (rows, bank))
    return Inputs(x.to(device), rest.to(device))


def scarf(inputs: Inputs) -> Call:
    from sslfast.masking import corrupt_features

    return lambda: corrupt_features(inputs.x, RATE, bank=inputs.bank)


def vime(inputs: Inputs) -> Call:
    from sslfast.masking import corrupt_features

    return lambda: corrupt_features(inputs.x, RATE, source="permutation", selection="bernoulli", changed=True)


def formulation_of_scarf(x: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The published rule: floor(c D) features of every row, each from a random row of the bank."""
    order = torch.argsort(torch.rand(x.shape, device=x.device), dim=1)
    mask = torch.zeros_like(x, dtype=torch.bool).scatter_(1, order[:, : int(RATE * x.shape[1])], True)
    sources = torch.randint(len(bank), x.shape, device=x.device)
    return torch.where(mask, bank.gather(0, sources), x), mask


def formulation_of_vime(x: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The published rule: a Bernoulli mask, a permutation of every column in a loop, and what changed."""
    mask = (torch.rand(x.shape, device=x.device) < RATE).to(x.dtype)
    permuted = torch.zeros_like(x)
    for j in range(x.shape[1]):
        permuted[:, j] = x[torch.randperm(len(x), device=x.device), j]
    out = x * (1 - mask) + permuted * mask
    return out, out != x


def check(inputs: Inputs, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    """Masked cells have values of their column, others their own, and the share is the rule's."""
    column = torch.arange(inputs.x.shape[1], device=inputs.x.device) * 10.0
    for out, mask in (theirs, ours):
        assert torch.equal(out[~mask], inputs.x[~mask]), "a cell changed outside the mask"
        assert bool(((out - column).abs() <= 1.001).all()), "a value of another column"
        assert abs(float(mask.float().mean()) - RATE) < 0.02, "another share is masked"


def case(op: str, ours: Any, formulation: Any, rows: int, features: int, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{features}",
        dtype="fp32",
        make_inputs=partial(make_inputs, rows=rows, features=features, bank=10 * rows),
        providers={
            "sslfast": ours,
            "eager torch": lambda inputs: partial(formulation, *inputs),
            **options.pop("others", {}),
        },
        check=check,
        work=9 * rows * features,
        unit="B",
        formula="(4 read + 4 written + 1 of mask) B a cell",
        **options,
    )


def cases() -> list[Case]:
    others = {"torch.compile": lambda inputs: partial(compiled(formulation_of_scarf), *inputs)}
    return [
        case("feature_corruption SCARF", scarf, formulation_of_scarf, 4096, 100, others=others),
        case("feature_corruption SCARF", scarf, formulation_of_scarf, 256, 100, quick=True, one_thread_only=True),
        case("feature_corruption VIME", vime, formulation_of_vime, 4096, 100),
        case("feature_corruption VIME", vime, formulation_of_vime, 256, 100, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
