"""Random orders: the reference in every size, inverses, and how far from uniform they are, in theory and in counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking import corrupt_features, mask_nodes
from sslfast.reference.random_order import SHUFFLED, random_order, rectangle

ALPHA = 1e-4
FEATURE_ORDER = 79


def orders(n: int, count: int, seed: int = 1) -> np.ndarray:
    """(count, n): the orders of the columns of a table."""
    x = torch.arange(n, dtype=torch.int32)[:, None].expand(n, count)
    return corrupt_features(x, 1.0, source="permutation", generator=seed)[0].T.numpy()


# sizes about those where the construction changes: the last shuffle, whole and broken rectangles, numbers of rounds
@pytest.mark.parametrize("n", [1, 2, 5, 63, 64, 65, 66, 70, 100, 101, 143, 1024, 1025, 4099, 70_001])
def test_equals_reference(device, n):
    for seed in (3, -1):
        expected = torch.stack([random_order(n, seed, FEATURE_ORDER, column) for column in range(3)], 1)
        assert torch.equal(expected.sort(0).values, torch.arange(n)[:, None].expand(n, 3))
        x = torch.arange(n, device=device)[:, None].expand(n, 3)
        assert torch.equal(corrupt_features(x, 1.0, source="permutation", generator=seed)[0].cpu(), expected)


def test_rectangles_hold_all_numbers_and_little_more():
    for n in (*range(SHUFFLED + 1, 3000), 2**20, 2**31 - 1):
        height, width, half_rounds = rectangle(n)
        assert height % 2 == 0
        assert n <= height * width < n + height <= n + math.isqrt(n - 1) + 2  # what goes round again
        assert width ** (half_rounds // 2) >= 2**24
        assert half_rounds * height < 2**20  # counters


def distance_from_uniform(height: int, width: int, half_rounds: int, start: tuple[int, int]) -> float:
    """Total variation between the distance of two numbers in the rectangle and a uniform one, by its Markov chain."""
    law = np.zeros((height, width))
    law[start] = 1.0
    for h in range(half_rounds):
        if h % 2 == 0:  # columns apart: the rows are shifted by amounts that know nothing of one another
            law[:, 1:] = law[:, 1:].sum(0) / height
        else:
            law[1:] = law[1:].sum(1, keepdims=True) / width
    uniform = np.full_like(law, 1 / (height * width - 1))
    uniform[0, 0] = 0.0
    return float(np.abs(law - uniform).sum()) / 2


@pytest.mark.parametrize("n", [65, 66, 82, 101, 200, 1000, 4096, 5000, 70_000, 1_000_000])
def test_two_numbers_are_any_two_to_the_grain_of_a_float(n):
    for start in ((1, 0), (0, 1), (1, 1)):
        assert distance_from_uniform(*rectangle(n), start) < 2**-24
    height, width, half_rounds = rectangle(n)  # the bound can fail: two half rounds less are too few
    assert max(distance_from_uniform(height, width, half_rounds - 2, s) for s in ((1, 0), (0, 1))) > 2**-24


def chi_square(observed: np.ndarray, kinds: int) -> float:
    return float(stats.chisquare(np.bincount(observed.ravel(), minlength=kinds)).pvalue)


@pytest.mark.parametrize("n", [64, 65, 90])
def test_places_and_pairs_are_uniform(n):
    drawn = orders(n, 40_000).astype(np.int64)
    assert chi_square(drawn * n + np.arange(n), n * n) > ALPHA
    _, width, _ = rectangle(max(n, SHUFFLED + 1))
    for other in (1, width, width + 1, n - 1):  # neighbours in a row, in a column, across, and far apart
        first, second = drawn[:, 0], drawn[:, other]
        assert chi_square(first * (n - 1) + (second - first) % n - 1, n * (n - 1)) > ALPHA
    triples = np.argsort(np.argsort(drawn[:, :3], axis=1), axis=1) @ (9, 3, 1)
    assert stats.chisquare(np.unique(triples, return_counts=True)[1]).pvalue > ALPHA


@pytest.mark.parametrize("n", [65, 100, 101])
def test_cycles_fixed_points_and_parity_are_those_of_random_orders(n):
    drawn = orders(n, 20_000)
    fixed = (drawn == np.arange(n)).sum(1)
    poisson = stats.poisson(1).pmf(np.arange(5))
    observed = np.bincount(np.minimum(fixed, 5), minlength=6)
    expected = np.append(poisson, 1 - poisson.sum()) * len(drawn)
    assert stats.chisquare(observed, expected).pvalue > ALPHA
    cycles = np.array([count_cycles(order) for order in drawn[:5000]])
    harmonic, squares = (float((1 / np.arange(1, n + 1) ** power).sum()) for power in (1, 2))
    assert abs(cycles.mean() - harmonic) < 4 * math.sqrt((harmonic - squares) / len(cycles))
    assert stats.binomtest(int(((n - cycles) % 2).sum()), len(cycles)).pvalue > ALPHA


def count_cycles(order: np.ndarray) -> int:
    following, seen, cycles = order.tolist(), set(), 0
    for start in following:
        if start not in seen:
            cycles += 1
            while start not in seen:
                seen.add(start)
                start = following[start]
    return cycles


def test_orders_of_rows_streams_and_seeds_differ():
    first = orders(100, 3)
    assert len({tuple(order) for order in [*first, *orders(100, 3, seed=2)]}) == 6
    nodes = [mask_nodes(torch.zeros(100, 1), 0.99, generator=1, row_offset=k).masked_nodes for k in range(3)]
    assert len({tuple(order.tolist()) for order in [*nodes, *torch.from_numpy(first)]}) == 6
