"""Sinkhorn-Knopp's assignments of 3 iterations, beside dinov2's steps in eager torch and lightly's.

Floor, N samples and K prototypes: 4 reads of the scores, one for each iteration and one for the assignments, and one
write of these.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

TEMPERATURE = 0.05


def make_inputs(device: torch.device, *, rows: int, width: int) -> Tensor:
    """Cosine similarities with prototypes, which are about N(0, 1 / dimension)."""
    return (torch.randn(rows, width) / 12).to(device)


def ours(scores: Tensor) -> Call:
    from sslfast.losses import sinkhorn_knopp

    return partial(sinkhorn_knopp, scores, 3, TEMPERATURE)


def dinov2(scores: Tensor) -> Call:
    """The steps of sinkhorn_knopp_teacher on one rank."""

    def assignments() -> Tensor:
        q = torch.exp(scores.float() / TEMPERATURE).t()
        prototypes, samples = q.shape
        q /= torch.sum(q)
        for _ in range(3):
            q /= torch.sum(q, dim=1, keepdim=True)
            q /= prototypes
            q /= torch.sum(q, dim=0, keepdim=True)
            q /= samples
        q *= samples
        return q.t()

    return assignments


def lightly(scores: Tensor) -> Call:
    return partial(peers.load("lightly.loss.swav_loss").sinkhorn, scores, 3, TEMPERATURE)


def check(scores: Tensor, theirs: Tensor, ours: Tensor) -> None:
    """The same assignments, relative to the largest."""
    relative = float((theirs - ours).abs().max() / ours.abs().max())
    assert relative <= 1e-3, f"assignments differ by {relative:.1e} of the largest"


def case(rows: int, width: int, **options: Any) -> Case:
    return Case(
        op="sinkhorn_knopp",
        size=f"{rows}x{width}",
        dtype="fp32",
        make_inputs=partial(make_inputs, rows=rows, width=width),
        providers={"sslfast": ours, "eager torch (dinov2)": dinov2, "lightly sinkhorn": lightly},
        check=check,
        work=4 * 5 * rows * width,
        unit="B",
        formula="4 reads + 1 write",
        **options,
    )


def cases() -> list[Case]:
    return [case(64, 300, quick=True), case(256, 65536, memory=True), case(4096, 3000)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
