"""Negative cosine similarity, forward and backward, beside lightly's and torch's function: with a gradient for both
sides, and with a constant target, as BYOL and SimSiam have it.

Floor, N rows of D features: both sides read and each gradient written once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from benchmarks.bench_thin_losses import check, make_rows, ours, theirs
from benchmarks.harness import Call, Case


def make_pair(device: torch.device, *, rows: int, width: int, constant: bool) -> list[Tensor]:
    x0, x1 = make_rows(device, rows=rows, width=width, views=2)
    return [x0, x1.detach() if constant else x1]


def eager(x0: Tensor, x1: Tensor) -> Tensor:
    return -cosine_similarity(x0, x1).mean()


def call(find: Any, inputs: list[Tensor]) -> Call:
    """The timed call: the loss and the gradients of the inputs that take one."""
    criterion, leaves = find(), [x for x in inputs if x.requires_grad]

    def forward_and_backward() -> tuple[Tensor, ...]:
        loss = criterion(*inputs)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return forward_and_backward


def case(rows: int, width: int, constant: bool = False, **options: Any) -> Case:
    return Case(
        op="negative_cosine constant" if constant else "negative_cosine",
        size=f"{rows}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_pair, rows=rows, width=width, constant=constant),
        providers={
            "sslfast": partial(call, partial(ours, "NegativeCosineSimilarity")),
            "eager torch": partial(call, lambda: eager),
            "lightly NegativeCosineSimilarity": partial(call, partial(theirs, "NegativeCosineSimilarity")),
        },
        check=check,
        work=4 * rows * width * (3 if constant else 4),
        unit="B",
        formula="2 reads + 1 write" if constant else "2 reads + 2 writes",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        case(64, 128, constant=True, quick=True),
        case(256, 128, constant=True, quick=True),
        case(256, 128, quick=True),
        case(256, 2048),
        case(4096, 2048),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
