"""Losses over three prefixes of the embeddings, forward and backward, beside the sum of the same losses in plain torch.

Floor, N pairs of D numbers: that of the loss, 16 N^2 D FLOPs for NT-Xent and 6 N^2 D for InfoNCE, with the sum of the
prefixes' lengths for D. The rule: never slower than eager torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import bench_one_way_softmax, bench_similarity_softmax
from benchmarks.bench_similarity_softmax import call, check
from benchmarks.harness import Case

DIMS = (32, 64, 128)
Loss = Callable[[Tensor, Tensor], Tensor]
NT_XENT, INFO_NCE = "nt_xent", "info_nce"
# The loss in plain torch, its temperature, its class here, and the factor of its floor.
LOSSES: dict[str, tuple[Loss, float, str, int]] = {
    NT_XENT: (bench_similarity_softmax.one_product, bench_similarity_softmax.TEMPERATURE, "NTXentLoss", 16),
    INFO_NCE: (bench_one_way_softmax.eager, bench_one_way_softmax.TEMPERATURE, "InfoNCELoss", 6),
}


def make_inputs(device: torch.device, *, op: str, pairs: int) -> tuple[Tensor, Tensor]:
    width, dtype = max(DIMS), torch.float32
    if op == NT_XENT:
        return bench_similarity_softmax.make_inputs(device, pairs=pairs, width=width, dtype=dtype)
    return bench_one_way_softmax.make_inputs(device, queries=pairs, width=width, dtype=dtype, locked=False)


def ours(op: str) -> Loss:
    from sslfast import losses

    _, temperature, name, _ = LOSSES[op]
    return losses.MatryoshkaLoss(getattr(losses, name)(temperature), DIMS)


def eager(op: str) -> Loss:
    loss = LOSSES[op][0]
    return lambda z0, z1: sum((loss(z0[:, :dim], z1[:, :dim]) for dim in DIMS), torch.zeros(()))


def case(op: str, pairs: int, **options: Any) -> Case:
    factor = LOSSES[op][-1]
    return Case(
        op=f"matryoshka {op}",
        size=f"{pairs}x{max(DIMS)}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, op=op, pairs=pairs),
        providers={
            "sslfast": partial(call, partial(ours, op)),
            "eager torch": partial(call, partial(eager, op)),
        },
        check=check,
        work=factor * pairs**2 * sum(DIMS),
        unit="FLOP",
        formula=f"{factor} N^2 sum D",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [case(op, pairs, quick=pairs == 32) for op in LOSSES for pairs in (32, 256)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
