"""DCL and DCLW, forward and backward, beside lightly's losses and one matrix product.

Floor, N pairs of D numbers: 16 N^2 D FLOPs, as of NT-Xent: the positives alone are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_similarity_softmax import DTYPES, call, check, make_inputs
from benchmarks.harness import Case, compiled

TEMPERATURE, SIGMA = 0.1, 0.5
Criterion = Callable[[Tensor, Tensor], Tensor]


def one_product(z0: Tensor, z1: Tensor, weighted: bool = False) -> Tensor:
    """Normalise, one product, itself and the other view excluded from the log-sum-exp; if ``weighted``, of DCLW."""
    pairs = len(z0)
    z = torch.nn.functional.normalize(torch.cat([z0, z1]), dim=1)
    similarity = z @ z.T / TEMPERATURE
    positive = similarity.diagonal(pairs)
    if weighted:
        positive = (2 - pairs * (positive.detach() * (TEMPERATURE / SIGMA)).softmax(dim=0)) * positive
    row = torch.arange(2 * pairs, device=z.device)
    left_out = (row[:, None] - row) % pairs == 0
    return (similarity.masked_fill(left_out, float("-inf")).logsumexp(dim=1) - positive.repeat(2)).mean()


def ours(name: str) -> Criterion:
    from sslfast import losses

    return getattr(losses, name)(TEMPERATURE)


def lightly(name: str) -> Criterion:
    return getattr(peers.load("lightly.loss"), name)(TEMPERATURE)


def providers(name: str, pairs: int) -> dict[str, Any]:
    eager = partial(one_product, weighted=name == "DCLWLoss")
    found = {"sslfast": partial(call, partial(ours, name)), "eager torch": partial(call, lambda: eager)}
    if name == "DCLLoss" and pairs >= 256:
        found["torch.compile"] = partial(call, lambda: compiled(one_product))
    return found | {f"lightly {name}": partial(call, partial(lightly, name))}


def case(name: str, pairs: int, width: int, **options: Any) -> Case:
    return Case(
        op=name.removesuffix("Loss").lower(),
        size=f"{pairs}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, pairs=pairs, width=width, dtype=DTYPES["fp32"]),
        providers=providers(name, pairs),
        check=check,
        work=16 * pairs**2 * width,
        unit="FLOP",
        formula="16 N^2 D",
        **options,
    )


def cases() -> list[Case]:
    return [
        *(case(name, pairs, 128, devices=("cpu",)) for name in ("DCLLoss", "DCLWLoss") for pairs in (16, 64)),
        case("DCLLoss", 256, 128, quick=True),
        case("DCLLoss", 4096, 128, memory=True),
        case("DCLWLoss", 256, 128, quick=True),
        case("DCLWLoss", 4096, 128),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
