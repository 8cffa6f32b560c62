"""info_nce_loss at its limits: no negative left, duplicates, zero rows, half of the similarities for all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_info_nce_negatives import ours
from torch import Tensor

from sslfast.losses import info_nce_loss
from sslfast.reference.info_nce import info_nce_loss as reference

NOBODY = torch.zeros(5).long()


@pytest.mark.parametrize("options", [{"margin": -3.0}, {"query_ids": NOBODY, "key_ids": NOBODY}], ids=["margin", "ids"])
@pytest.mark.parametrize("kinds", [{}, {"query_negatives": True, "key_negatives": True}], ids=["one kind", "several"])
@pytest.mark.parametrize("locked", [False, True])
def test_what_has_no_negatives_left_has_no_gradient(options, kinds, locked: bool) -> None:
    query, keys = torch.randn(2, 5, 4, requires_grad=True)
    loss = info_nce_loss(query, keys.detach() if locked else keys, symmetric=not locked, **options, **kinds)
    assert loss == 0
    grads = torch.autograd.grad(loss, (query, keys), allow_unused=True, materialize_grads=True)
    assert all(torch.equal(g, torch.zeros_like(g)) for g in grads)


def test_one_query_without_negatives_leaves_the_others_alone() -> None:
    query, keys = torch.randn(2, 6, 4, dtype=torch.float64)
    ids = torch.tensor([7, 1, 2, 3, 4, 5])
    key_ids = torch.full((6,), 7)  # all are the first query's, none the others'
    hard = torch.randn(6, 2, 4, dtype=torch.float64)
    hard[0] = query[0]  # above any margin
    for options in ({"query_ids": ids, "key_ids": key_ids, "key_negatives": False}, {"margin": -0.2}):
        found, expected = (
            torch.autograd.grad(f(*z, hard, 0.3, in_batch=True, **options, **more).mean(), z)
            for f, z, more in (
                (info_nce_loss, [query.clone().requires_grad_(), keys.clone().requires_grad_()], {"reduction": "none"}),
                (reference, [query.clone().requires_grad_(), keys.clone().requires_grad_()], {}),
            )
        )
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e.nan_to_num())


@pytest.mark.parametrize("n", [64, 600])  # in one call, and in tiles
@pytest.mark.parametrize("options", [{}, {"normalize": False, "temperature": 1e4}], ids=str)
def test_a_duplicate_of_the_positive_is_not_above_it(n: int, options: dict) -> None:
    query, keys = 8 * torch.randn(n, 96), 8 * torch.randn(n, 96)
    keys[1::2] = keys[::2]
    exact = info_nce_loss(query.double(), keys.double(), margin=0.0, **options)
    torch.testing.assert_close(info_nce_loss(query, keys, margin=0.0, **options).double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"normalize": False}, {"tau_plus": 0.1}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_half_of_the_similarities_is_as_good_as_all(options: dict, dtype: torch.dtype) -> None:
    query, keys = (torch.randn(600, 16).to(dtype).requires_grad_() for _ in range(2))
    found = []
    for temperature in (0.5, torch.tensor(0.5, dtype=torch.float64)):  # a tensor is not read, and takes whole tiles
        loss = info_nce_loss(query, keys, temperature=temperature, query_negatives=True, key_negatives=True, **options)
        found.append([loss, *torch.autograd.grad(loss, (query, keys))])
    for half, whole in zip(*found, strict=True):
        close = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 8e-3}[half.dtype]
        torch.testing.assert_close(half, whole, rtol=close, atol=close * whole.abs().max().item())


def test_zero_and_tiny_hard_negatives() -> None:
    query, keys = torch.randn(2, 3, 4, dtype=torch.float64)
    hard = torch.randn(3, 2, 4, dtype=torch.float64)
    hard[0] = 0
    hard[1] *= 1e-8
    leaf = hard.clone().requires_grad_()
    torch.testing.assert_close(ours(query, keys, leaf), reference(query, keys, hard))
    (grad,) = torch.autograd.grad(info_nce_loss(query, keys, leaf), leaf)
    assert grad.isfinite().all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("excluded", [(), ("ids",), ("margin",), ("ids", "margin")], ids=str)
def test_query_and_keys_may_be_one_tensor(excluded: tuple[str, ...], reduction: str) -> None:
    """With a scale that is not read, the query's own row, which is no negative, is not its positive."""
    rows, ids = torch.randn(10, 8, dtype=torch.float64), torch.arange(10) % 7
    options = {"normalize": False, "positives": torch.arange(10).roll(1), "query_negatives": True}
    options |= {"query_ids": ids, "key_ids": ids} if "ids" in excluded else {}
    options |= {"margin": 0.5} if "margin" in excluded else {}
    for in_batch in (False, True):
        results = []
        for f, more in ((info_nce_loss, {"reduction": reduction}), (reference, {})):
            z, temperature = rows.clone().requires_grad_(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
            loss = f(z, z, temperature=temperature, in_batch=in_batch, **options, **more)
            if f is reference and reduction != "none":
                loss = loss.mean() if reduction == "mean" else loss.sum()
            results.append([loss, *torch.autograd.grad(loss.sum(), (z, temperature))])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weight", [1e-40, 3e38])
def test_weights_whose_sum_or_its_inverse_is_out_of_range(weight: float) -> None:
    query, keys, temperature = torch.randn(10, 4), torch.randn(10, 4), torch.tensor(0.1)
    results = []
    for weights in (torch.full((10,), weight), None):
        leaves = [z.clone().requires_grad_() for z in (query, keys, temperature)]
        loss = info_nce_loss(*leaves[:2], temperature=leaves[2], weights=weights, tau_plus=0.01)
        results.append([loss, *torch.autograd.grad(loss, leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    assert info_nce_loss(query, keys, weights=torch.zeros(10)).isnan()


def test_half_negatives_under_autocast() -> None:
    query, keys, others = (torch.randn(m, 16).half() for m in (8, 8, 5))
    expected = info_nce_loss(query, keys, others, in_batch=True)
    with torch.autocast("cpu"):
        assert torch.equal(info_nce_loss(query, keys, others, in_batch=True), expected)


@pytest.mark.parametrize("options", [{"margin": 0.1}, {"hardness_mode": "all_negatives", "hardness_strength": 0.5}])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_temperature_that_is_not_asked_for(symmetric: bool, options: dict[str, Any], device: torch.device) -> None:
    """Of a graph, or on a GPU, which neither breaks nor waits: a negative one makes the loss NaN."""
    query, keys = torch.randn(2, 10, 4, device=device)

    def loss(temperature: Tensor) -> Tensor:
        return info_nce_loss(query, keys, temperature=temperature, symmetric=symmetric, **options)

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    good = torch.tensor(0.5, device=device, requires_grad=True)
    torch.testing.assert_close(compiled(good), loss(good))
    for function in [compiled] + [loss] * (device.type == "cuda"):
        assert function(torch.tensor(-0.5, device=device, requires_grad=True)).isnan()
