"""InfoNCE of few queries beside a queue, forward and backward, beside plain torch: what a call costs around its
products. benchmarks/bench_queue_softmax.py has the large ones.

Floor, N queries against K entries of D numbers: 4 N K D FLOPs, which at N = 8 and K = 16 are less than a microsecond of
some forty. The rule: never slower than eager torch, at any N and K.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.bench_few_pairs import few
from benchmarks.bench_similarity_softmax import DTYPES
from benchmarks.harness import Case

TEMPERATURE = 0.2
Inputs = tuple[Tensor, Tensor, Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def make_inputs(device: torch.device, *, queries: int, length: int, dtype: torch.dtype, width: int) -> Inputs:
    """Unit vectors, the queries' and the keys' with a gradient."""
    sides = [normalize(torch.randn(n, width), dim=1) for n in (queries, queries, length)]
    query, keys, queue = (z.to(device, dtype) for z in sides)
    return query.requires_grad_(), keys.requires_grad_(), queue


def ours(unit: bool) -> Loss:
    from sslfast.losses import info_nce_loss

    return lambda query, keys, queue: info_nce_loss(
        query, keys, queue=queue, temperature=TEMPERATURE, normalize=not unit
    )


def eager(unit: bool) -> Loss:
    def loss(query: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
        query, keys = (query, keys) if unit else (normalize(query, dim=1), normalize(keys, dim=1))
        logits = torch.cat([(query * keys).sum(dim=1, keepdim=True), query @ queue.T], dim=1) / TEMPERATURE
        return cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))

    return loss


def case(queries: int, length: int, unit: bool, dtype: str = "fp32", width: int = 128, **options: Any) -> Case:
    return few(
        "info_nce few queries, unit rows" if unit else "info_nce few queries",
        f"{queries}x{length}x{width}",
        dtype,
        partial(ours, unit),
        partial(eager, unit),
        make_inputs=partial(make_inputs, queries=queries, length=length, dtype=DTYPES[dtype], width=width),
        work=4 * queries * length * width,
        formula="4 N K D",
        **options,
    )


def cases() -> list[Case]:
    return [
        *(
            case(queries, length, unit, quick=(queries, length) == (8, 64))
            for unit in (False, True)
            for queries, length in ((8, 64), (32, 256), (64, 64), (128, 1024))
        ),
        case(32, 256, True, "bf16"),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
