"""How precise info_nce_loss of few queries is in float32 where joint_softmax makes it: as precise as its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslfast.losses import info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

N, WIDTH = 180, 128
HARD = {"hardness_mode": "all_negatives", "hardness_strength": 1e-9}


def with_grads(function: Any, query: Tensor, keys: Tensor, **options: Any) -> list[Tensor]:
    leaves = [z.clone().requires_grad_() for z in (query, keys)]
    loss = function(*leaves, **options).mean()
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("noise", [None, 0.3, 0.1])  # of keys beside their queries
@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize(
    "options",
    [
        HARD,
        {"key_negatives": True},
        {"query_negatives": True, "in_batch": False},
        {"query_negatives": True, "positives": torch.arange(N).flip(0)},
    ],
    ids=" ".join,
)
def test_gradients_have_the_roundings_of_the_definition(noise: float | None, temperature: float, options: dict) -> None:
    """Where one product has the positives' weights, too, gradients are off by twice as much."""
    query, keys = torch.randn(2, N, WIDTH)
    if noise is not None:
        keys = query + noise * keys
    at = options.get("positives")
    keys = keys if at is None else keys.index_select(0, at.argsort())
    options = options | {"temperature": temperature}
    found, same = (with_grads(f, query, keys, **options) for f in (info_nce_loss, reference))
    truth = with_grads(reference, query.double(), keys.double(), **options)
    for f, s, t in zip(found[1:], same[1:], truth[1:], strict=True):
        assert (f.double() - t).norm() <= 1.3 * (s.double() - t).norm()


def test_the_sum_of_a_row_is_not_rounded() -> None:
    """Of logits near 1000 roundings average out in a sum over many: not that of its logarithm, nor the positive's."""
    query, keys = torch.randn(2, N, 4)
    query[:, 0] = keys[:, 0] = 31.0
    options = {"temperature": 1.0, "normalize": False, **HARD}
    exact = reference(query.double(), keys.double(), **options)
    errors = info_nce_loss(query, keys, reduction="none", **options).double() - exact
    assert errors.square().mean().sqrt() <= 2.0**-24 * 1024 / 4
