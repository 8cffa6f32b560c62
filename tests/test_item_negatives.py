"""Items drawn as negatives: the definition's, and their distribution."""

from __future__ import annotations

import math

import pytest
import torch

from sslfast import ops
from sslfast.losses import item_sampling
from sslfast.reference.item_negatives import item_negatives as reference

SEED = 11


@pytest.mark.parametrize("negatives", [1, 2, 7])
def test_like_reference(negatives, device) -> None:
    numbers = torch.tensor([0, 3, (5 << 32) + 2, -1, 2**62])
    for thresholds in (
        None,
        item_sampling("log_uniform", 13).thresholds,
        item_sampling(torch.tensor([0, 2, 0, 1, 0])).thresholds,
    ):
        items = 13 if thresholds is None else len(thresholds)
        expected = reference(numbers, SEED, thresholds, items, negatives)
        moved = None if thresholds is None else thresholds.to(device)
        found = ops.item_negatives(numbers.to(device), torch.tensor(SEED), moved, items, negatives)
        assert torch.equal(found.cpu(), expected)
        assert found.dtype == torch.int32


def chi_square(probability: torch.Tensor, thresholds: torch.Tensor | None) -> float:
    """Of 200,000 draws, over what it may be with a probability of 0.1 %."""
    items = len(probability)
    drawn = ops.item_negatives(torch.arange(2000), torch.tensor(SEED), thresholds, items, 100)
    counts = torch.bincount(drawn.flatten(), minlength=items).double()
    there = probability > 0
    assert not counts[~there].any()
    expected = probability[there] * drawn.numel()
    freedom = int(there.sum()) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    return float(((counts[there] - expected).square() / expected).sum()) / limit


def test_distributions() -> None:
    assert chi_square(torch.full((40,), 1 / 40, dtype=torch.float64), None) < 1
    ranks = torch.arange(40, dtype=torch.float64)
    log_uniform = torch.log((ranks + 2) / (ranks + 1)) / math.log(41)
    sampling = item_sampling("log_uniform", 40)
    torch.testing.assert_close(sampling.log_probability.exp(), log_uniform)
    assert chi_square(log_uniform, sampling.thresholds) < 1
    counts = torch.randint(0, 50, (40,))
    counts[[0, 7, 39]] = 0
    sampling = item_sampling(counts)
    torch.testing.assert_close(sampling.log_probability.exp(), counts / counts.sum().double())
    assert chi_square(counts.double() / counts.sum(), sampling.thresholds) < 1
    assert chi_square(log_uniform, item_sampling(counts + 1.0).thresholds) > 1  # the test can fail


def test_weights_of_few_items() -> None:
    for weights in ([1], [0, 3, 0], [0.0, 0.0, 1e-30], [1e30, 0, 1]):
        sampling = item_sampling(torch.tensor(weights))
        assert sampling.thresholds[-1] == 2**62
        drawn = ops.item_negatives(torch.arange(50), torch.tensor(0), sampling.thresholds, len(weights), 3)
        assert sampling.log_probability[drawn.long()].isfinite().all()


def test_operator(device) -> None:
    numbers, thresholds = torch.arange(4, device=device), item_sampling("log_uniform", 9, device=device).thresholds
    torch.library.opcheck(ops.item_negatives, (numbers, torch.tensor(SEED), thresholds, 9, 5))
    assert ops.item_negatives(numbers[:0], torch.tensor(SEED), None, 9, 5).shape == (0, 5)


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        (("zipf", 5), ValueError, "distribution must be 'log_uniform' or a tensor of weights, got 'zipf'"),
        (
            (torch.ones(3).numpy(),),
            ValueError,
            "distribution must be 'log_uniform' or a tensor of weights, got ndarray of shape (3,)",
        ),
        (("log_uniform",), ValueError, "num_items must be in [1, 2147483646], got 0"),
        ((torch.ones(2, 2),), ValueError, "distribution must have shape (V,), got (2, 2)"),
        ((torch.ones(2), 2), ValueError, "num_items must be None with weights, got 2"),
        (
            (torch.tensor([1.0, -1.0]),),
            ValueError,
            "distribution must be finite, at least 0 and not all 0, got -1.0 to 1.0",
        ),
        ((torch.zeros(3),), ValueError, "distribution must be finite, at least 0 and not all 0, got 0.0 to 0.0"),
        ((torch.ones(3, dtype=torch.bool),), TypeError, "distribution must be of numbers, got torch.bool"),
    ],
)
def test_bad_input(args, error, text) -> None:
    with pytest.raises(error) as caught:
        item_sampling(*args)
    assert str(caught.value) == f"item_sampling: {text}"
