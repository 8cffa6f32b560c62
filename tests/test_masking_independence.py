"""Draws of samples, steps, seeds and rules know nothing of one another: every rule, every pair of numbers it returns.

Rows of equal input differ by their draws alone. Each column of what a rule returns is cut in two, and for every pair of
columns of two draws the 2 x 2 table of how often both are high is compared with what independence says. Seeds are
fixed, so each test passes always or never.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from mask_rules import RULES, Rule
from torch import Tensor

from sslfast.random import step_seed

ROWS = 4096
# In standard deviations of a table's entry. Among the four million tables here chance passes 6 about once in a hundred
# runs; draws with a correlation of 0.11 or more pass 7.
LIMIT = 7.0
SEED = int(step_seed(1, 0))
SAMPLES = torch.arange(ROWS)

# What is drawn, beside the draws of SAMPLES with SEED.
OTHERS: dict[str, tuple[int, Tensor]] = {
    "the next sample": (SEED, SAMPLES + 1),
    "the sample 2^32 further on": (SEED, SAMPLES + 2**32),
    "the next step": (int(step_seed(1, 1)), SAMPLES),
    "the seed of another last bit": (SEED ^ 1, SAMPLES),
    "the seed 2^32 further on": (SEED - 2**32, SAMPLES),
}


def evenly(count: int, most: int) -> Tensor:
    return torch.arange(min(count, most)) * count // max(min(count, most), 1)


def middle_of(numbers: Tensor) -> Tensor:
    """(columns,): about the median of each."""
    return numbers[:255].T.contiguous().median(1).values


def high_side(numbers: Tensor) -> Tensor:
    """bool (N, ...): which side of its column's middle a number is on, without columns of one side nearly alone."""
    middle = middle_of(numbers)
    above, below = numbers > middle, numbers < middle
    high = torch.where(above.float().mean(0) > 0.1, above, below)  # of a column that is mostly its largest number
    share = high.float().mean(0)
    return high[:, (share > 0.1) & (share < 0.9)]


def halves(rule: Rule, seed: int, samples: Tensor, columns: int = 48) -> Tensor:
    """(N, up to ``columns`` of each output): on which side each number is, or how many are rare in parts of a row."""
    inputs = rule.inputs(torch.full((len(samples),), 43))
    found = []
    for output in rule.torch(inputs, len(samples), "cpu", generator=seed, sample_ids=samples):
        flat = output.reshape(len(samples), -1)
        flat = flat.byte() if flat.dtype == torch.bool else flat
        high = high_side(flat[:, evenly(flat.shape[1], 4 * columns)])
        if high.shape[1] == 0:
            rare = flat != middle_of(flat)
            high = high_side(torch.stack([part.sum(1) for part in rare.chunk(8, 1)], 1))
        found.append(high[:, evenly(high.shape[1], columns)])
    return torch.cat(found, 1).float()


def association(first: Tensor, second: Tensor) -> Tensor:
    """(columns, columns'): each table's distance from independence, in standard deviations."""
    a, b = ((x - x.mean(0)) / x.std(0, correction=0) for x in (first, second))
    return a.T @ b / len(a) ** 0.5


@pytest.fixture(scope="module")
def drawn() -> Callable[[Rule], Tensor]:
    """The halves of a rule for SAMPLES with SEED, drawn once."""
    kept: dict[str, Tensor] = {}

    def of(rule: Rule) -> Tensor:
        if rule.name not in kept:
            kept[rule.name] = halves(rule, SEED, SAMPLES)
        return kept[rule.name]

    return of


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_samples_steps_and_seeds(rule, drawn):
    first = drawn(rule)
    assert first.shape[1] > 0
    assert association(first, first).max() > 8 * LIMIT  # what draws that are the same look like
    for name, key in OTHERS.items():
        assert association(first, halves(rule, *key)).abs().max() < LIMIT, name


def test_rules(drawn):
    """With one seed and the same samples, rules are independent of one another; forms of one rule have one name."""
    function = [rule.name.split()[0].rstrip(",") for rule in RULES]
    columns = [of[:, evenly(of.shape[1], 24)] for of in map(drawn, RULES)]
    widths = [of.shape[1] for of in columns]
    everything = torch.cat(columns, 1)
    tables = [of.split(widths, 1) for of in association(everything, everything).abs().split(widths)]
    related = {
        frozenset((function[i], function[j]))
        for i, j in combinations(range(len(RULES)), 2)
        if function[i] != function[j] and tables[i][j].max() > LIMIT
    }
    assert related == set()
