"""The positions of a mask beside torch's ``nonzero``, which makes the host wait on a GPU.

Floor: 1 byte read and 8 written an element. ``nonzero`` writes true elements alone: it does less.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    return (torch.rand(rows, length) < 0.15).to(device)


def ours(mask: Tensor) -> Call:
    from sslfast.masking import mask_indices

    return lambda: mask_indices(mask)


def nonzero(mask: Tensor) -> Call:
    return lambda: (mask.flatten().nonzero().flatten(), mask.sum(1))


def check(mask: Tensor, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(ours[1], theirs[1]), "other counts"
    assert torch.equal(ours[0][: len(theirs[0])], theirs[0]), "other positions"
    assert bool((ours[0][len(theirs[0]) :] == -1).all()), "not filled up"


def case(rows: int, length: int, **options: Any) -> Case:
    return Case(
        op="mask_indices",
        size=f"{rows}x{length}",
        dtype="bool",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers={"sslfast": ours, "eager torch": nonzero},
        check=check,
        work=9 * rows * length,
        unit="B",
        formula="1 read + 8 written B an element",
        **options,
    )


def cases() -> list[Case]:
    return [case(256, 512, quick=True), case(32, 196, one_thread_only=True)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
