"""Items drawn as negatives for each masked item, beside torch's draws, which depend on the batch and its order.

Floor: 4 bytes written a negative; bisection in the thresholds is what takes the time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import Call, Case

NEGATIVES, ITEMS = 128, 50000


class Inputs(NamedTuple):
    numbers: Tensor
    probability: Tensor
    thresholds: Tensor


def make_inputs(device: torch.device, *, rows: int) -> Inputs:
    from sslfast.losses import item_sampling

    sampling = item_sampling("log_uniform", ITEMS, device=device)
    return Inputs(torch.arange(rows, device=device), sampling.log_probability.exp().float(), sampling.thresholds)


def ours(x: Inputs) -> Call:
    from sslfast import ops

    seed = torch.tensor(0)
    return lambda: ops.item_negatives(x.numbers, seed, x.thresholds, ITEMS, NEGATIVES)


def multinomial(x: Inputs) -> Call:
    shape = (len(x.numbers), NEGATIVES)
    return lambda: torch.multinomial(x.probability, shape[0] * shape[1], replacement=True).view(shape)


def by_bisection(x: Inputs) -> Call:
    bounds, shape = x.probability.double().cumsum(0), (len(x.numbers), NEGATIVES)
    return lambda: torch.searchsorted(bounds, torch.rand(shape, dtype=torch.float64, device=bounds.device))


def check(inputs: Inputs, theirs: Tensor, ours: Tensor) -> None:
    """In range, and as often among the hundred first items."""
    for out in (theirs, ours):
        assert out.shape == (len(inputs.numbers), NEGATIVES)
        assert int(out.min()) >= 0
        assert int(out.max()) < ITEMS
        share = float((out < 100).float().mean())
        assert abs(share - float(inputs.probability[:100].sum())) < 0.01, f"{share:.3f} of the first items"


PROVIDERS = {"sslfast": ours, "eager torch (multinomial)": multinomial, "eager torch (bisection)": by_bisection}


def case(rows: int, **options: Any) -> Case:
    return Case(
        op="item_negatives",
        size=f"{rows}x{NEGATIVES} of {ITEMS}",
        dtype="int32",
        make_inputs=partial(make_inputs, rows=rows),
        providers=PROVIDERS,
        check=check,
        work=4 * rows * NEGATIVES,
        unit="B",
        formula="4 B written a negative",
        **options,
    )


def cases() -> list[Case]:
    return [case(1280, quick=True)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
