"""info_nce_loss with every option, from D = 1 to 4096, at every temperature and in every dtype, against the definition;
of all that has a gradient, and of one thing after the other.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from info_nce_cases import call, tensors
from oracle import assert_no_worse
from torch import Tensor

from sslfast.losses import info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

NAMES = [
    "keys by index",
    "both ways by index",
    "hard negatives",
    "all kinds",
    "keys of keys by index",
    "ids both ways",
    "a margin for all kinds",
    "a margin and ids both ways",
    "debiased",
    "debiased both ways",
    "smooth, all kinds",
    "smooth, a margin and ids both ways",
    "smooth, debiased both ways",
    "queries of keys",
    "queries of keys, ids and a margin",
    "hard in batch",
    "all hard",
    "all hard both ways, smooth, ids",
]
REGIMES = [(5, 1, 0.5), (48, 3, 1.0), (48, 3, 0.02), (130, 128, 0.1), (48, 513, 0.02), (5, 4096, 0.005)]  # N, D, T


def ours(query: Tensor, keys: Tensor, negatives: Tensor | None, temperature: Tensor, **options: Any) -> Tensor:
    """With a temperature that is a number unless it has a gradient."""
    known = temperature if temperature.requires_grad else temperature.item()
    return info_nce_loss(query, keys, negatives, known, **options)


def by_definition(*args: Any, weights: Tensor, **options: Any) -> Tensor:
    return (reference(*args, **options) * weights).sum() / weights.sum()


def with_grads(function, given: dict[str, Tensor], *how: Any, **options: Any) -> list[Tensor]:
    loss, leaves = call(function, given, *how, **options)
    needed = [leaf for leaf in leaves if leaf.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, needed, materialize_grads=True)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("n", "d", "temperature"), REGIMES)
@pytest.mark.parametrize("name", NAMES)
def test_oracle(name: str, n: int, d: int, temperature: float, dtype: torch.dtype) -> None:
    given = {key: z.to(dtype) if z.is_floating_point() else z for key, z in tensors(rows=n, dim=d).items()}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    temperature = torch.tensor(temperature, dtype=wide).item()
    weights = torch.rand(n, dtype=wide)
    as_wide, as_truth = (
        {key: z.to(to) if z.is_floating_point() else z for key, z in given.items()} for to in (wide, torch.float64)
    )
    same = with_grads(by_definition, as_wide, name, temperature, weights=weights)
    truth = with_grads(by_definition, as_truth, name, temperature, weights=weights.double())
    rounding = 20 * torch.finfo(wide).eps / temperature
    for alone in (None, *range(len(truth) - 1)):
        found = with_grads(ours, given, name, temperature, alone, weights=weights)
        assert found[0].dtype == wide
        assert_no_worse(found[0], same[0], truth[0], rounding * max(1.0, truth[0].abs().item()))
        of = range(1, len(truth)) if alone is None else [alone + 1]
        for f, at in zip(found[1:], of, strict=True):
            s, t = same[at], truth[at]
            floor = rounding * max(0.2 if t.dim() else 1 / temperature, t.abs().max().item())
            if dtype == wide:
                assert_no_worse(f, s, t, floor)
            else:
                assert (f.double() - t).norm() <= 3 * torch.finfo(dtype).eps * t.norm() + floor * t.numel() ** 0.5
