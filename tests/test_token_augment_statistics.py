"""The distributions of the rules over tokens and of the noise of features, with fixed seeds."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.augment import (
    CropTokens,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
    add_feature_noise,
    augment_tokens,
    synonym_table,
)
from sslfast.reference import feature_noise as reference

ROWS = 24_000
LEAST = 1e-4  # p-value


def outcomes(rule, n, rows=ROWS, seed=1, **options):
    """The rows' ids as tuples, of rows 1, 2, ..., n."""
    ids = torch.arange(1, n + 1).expand(rows, n)
    out = augment_tokens(ids, rule, generator=seed, **options)
    return [tuple(row[mask].tolist()) for row, mask in zip(out.ids, out.attention_mask, strict=True)]


def assert_law(found, law):
    """The outcomes have these probabilities, and there are no others."""
    counts = dict.fromkeys(law, 0)
    for outcome in found:
        assert outcome in counts, f"{outcome} must not happen"
        counts[outcome] += 1
    observed = np.array(list(counts.values()))
    expected = np.array([law[key] for key in counts]) * len(found)
    assert expected.sum() == pytest.approx(len(found))
    assert stats.chisquare(observed, expected).pvalue > LEAST, counts


def uniform(keys):
    keys = list(keys)
    return dict.fromkeys(keys, 1 / len(keys))


def test_drop():
    each = {}
    for kept in (k for size in range(5) for k in combinations(range(1, 5), size)):
        p = 0.7 ** len(kept) * 0.3 ** (4 - len(kept))
        for row in [kept] if kept else [(i,) for i in range(1, 5)]:  # of a row of nothing a random token stays
            each[row] = each.get(row, 0) + (p if kept else p / 4)
    assert_law(outcomes(DropTokens(0.3), 4), each)
    assert_law(outcomes(DropTokens(0.4, selection="exact"), 5), uniform(combinations(range(1, 6), 3)))


def test_swap():
    def swapped(i, j):
        row = [1, 2, 3, 4]
        row[i], row[j] = row[j], row[i]
        return tuple(row)

    assert_law(outcomes(SwapTokens(count=1), 4), uniform(swapped(i, j) for i, j in combinations(range(4), 2)))
    twice = dict.fromkeys([(1, 2, 3), (2, 3, 1), (3, 1, 2)], 1 / 3)
    assert_law(outcomes(SwapTokens(count=2), 3), twice)


def test_repeat():
    law = {}
    for k in range(3):  # max(2, int(0.32 * 4)) = 2
        for some in combinations(range(1, 5), k):
            row = tuple(i for i in range(1, 5) for _ in range(1 + (i in some)))
            law[row] = 1 / 3 / len(list(combinations(range(4), k)))
    assert_law(outcomes(RepeatTokens(0.32), 4), law)


def test_replace_and_insert():
    table = synonym_table({1: [10], 3: [30, 31, 32], 4: [40, 41]})
    replaced = {}
    for i, entries in ((0, [10]), (2, [30, 31, 32]), (3, [40, 41])):
        for entry in entries:
            row = [1, 2, 3, 4]
            row[i] = entry
            replaced[tuple(row)] = 1 / 3 / len(entries)
    assert_law(outcomes(ReplaceTokens(count=1), 4, synonyms=table), replaced)
    inserted = {}
    for gap in range(4):
        for entries in ([10], [30, 31, 32], [40, 41]):
            for entry in entries:
                row = [1, 2, 3, 4]
                row.insert(gap, entry)
                inserted[tuple(row)] = 1 / 12 / len(entries)
    assert_law(outcomes(InsertTokens(count=1), 4, synonyms=table), inserted)
    each = [len({1, 3, 4} - set(row)) for row in outcomes(ReplaceTokens(0.2, selection="bernoulli"), 4, synonyms=table)]
    observed = np.bincount(each, minlength=4)
    assert stats.chisquare(observed, stats.binom.pmf(range(4), 3, 0.2) * ROWS).pvalue > LEAST


def test_shuffles():
    assert_law(outcomes(ShuffleTokens(None), 4), uniform(permutations(range(1, 5))))
    law = dict.fromkeys(permutations((1, 2, 3)), 1 / 24)  # spans of 1, 1, 1
    for row, p in (((1, 2, 3), 1 / 8 + 1 / 4), ((2, 3, 1), 1 / 8), ((3, 1, 2), 1 / 4)):  # of 1, 2 and of 2, 1
        law[row] += p
    assert_law(outcomes(ShuffleSpans(1, 2), 3), law)
    for window in (1, 3):  # sorted by U0 and 1 + U1, both up to window + 1
        p = (1 - 1 / (window + 1)) ** 2 / 2
        assert_law(outcomes(ShuffleTokens(window), 2), {(1, 2): 1 - p, (2, 1): p})


def test_crop_mask_and_reorder():
    assert_law(outcomes(CropTokens(0.6), 5), uniform([(1, 2, 3), (2, 3, 4), (3, 4, 5)]))
    masked = outcomes(MaskTokens(0.4), 5, mask_id=9)
    law = uniform(tuple(9 if i in some else i for i in range(1, 6)) for some in combinations(range(1, 6), 2))
    assert_law(masked, law)
    reordered = {}
    for start in range(3):
        for order in permutations(range(3)):
            row = [1, 2, 3, 4, 5]
            row[start : start + 3] = [start + 1 + k for k in order]
            reordered[tuple(row)] = reordered.get(tuple(row), 0) + 1 / 18
    assert_law(outcomes(ReorderTokens(0.6), 5), reordered)


@pytest.mark.parametrize("choose", ["one", "distinct"])
def test_one_of_the_rules(choose):
    """Two views choose by themselves, or two that differ, all pairs equally often."""
    ids = torch.arange(1, 11).expand(ROWS, 10)
    rules = [CropTokens(0.5), MaskTokens(0.5), ReorderTokens(1.0)]
    out = augment_tokens(ids, rules, mask_id=99, choose=choose, views=2, generator=4)
    kinds = torch.where((out.ids == 99).any(2), 1, torch.where(out.attention_mask.all(2), 2, 0))
    pairs = [(a, b) for a, b in kinds.T.tolist()]
    assert_law(pairs, uniform((a, b) for a in range(3) for b in range(3) if choose == "one" or a != b))


def test_rules_rows_and_views_are_independent():
    """What two draws share would show in how often both drop a token."""
    ids = torch.arange(1, 9).expand(4000, 8)
    views = augment_tokens(ids, DropTokens(0.3, in_place=True), views=2, generator=2).attention_mask
    other = augment_tokens(ids, DropTokens(0.3, in_place=True), generator=3).attention_mask
    for first, second in ((views[0], views[1]), (views[0], other), (views[0][1:], views[0][:-1])):
        both = np.histogram2d(first.flatten().int(), second.flatten().int(), 2)[0]
        assert stats.chi2_contingency(both).pvalue > LEAST
    twice = augment_tokens(ids, [DropTokens(0.3, in_place=True)] * 2, generator=2).attention_mask.flatten()
    assert stats.binomtest(int(twice.sum()), twice.numel(), 0.49).pvalue > LEAST


# ---- add_feature_noise


def test_noise_is_normal_and_uniform():
    zeros = torch.zeros(500, 200)
    normal = add_feature_noise(zeros, 1.0, generator=1).flatten().double()
    assert stats.kstest(normal.numpy(), "norm").pvalue > LEAST
    assert abs(stats.kurtosis(normal.numpy())) < 0.08
    flat = add_feature_noise(zeros, 1.0, noise="uniform", generator=1).flatten()
    assert stats.kstest(flat.numpy(), "uniform", args=(-1, 2)).pvalue > LEAST
    some = add_feature_noise(zeros, 1.0, probability=0.3, generator=1) != 0
    assert stats.binomtest(int(some.sum()), some.numel(), 0.3).pvalue > LEAST
    x = normal.view(500, 200)
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1])):
        assert stats.pearsonr(a.flatten().numpy(), b.flatten().numpy()).pvalue > LEAST


def test_normal_numbers_are_right_to_a_millionth():
    """Beside Box and Muller in float64, at random words and at the ends of both ranges."""
    ends = torch.cat([torch.arange(1000), 2**32 - 1 - torch.arange(1000), 2 ** torch.arange(32)])
    random = torch.randint(2**32, (40_000,))
    radius, angle = torch.cat([random[:20_000], ends, random[:2032]]), torch.cat([random[20_000:], random[:2032], ends])
    u, turn = ((words.double().numpy() + 0.5) / 2**32 for words in (radius, angle))
    r = np.sqrt(-2 * np.log(u))
    exact = np.stack([r * np.cos(2 * np.pi * turn), r * np.sin(2 * np.pi * turn)], 1)
    found = reference.normal(torch.stack([radius, angle], 1)).double().numpy()
    sure = u < 1 - 1e-4  # beyond, 1 - u has less than 10 bits in float32, and the numbers are below 0.02
    assert np.abs(found - exact)[sure].max() < 3e-6
    assert np.abs(found - exact).max() < 5e-4
    farthest = reference.normal(torch.tensor([0, 0, 0, 2**31]))[::2].tolist()
    assert farthest == pytest.approx([6.764, -6.764], abs=1e-3)  # sqrt(66 log 2)
