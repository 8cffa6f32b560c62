"""Masks of spans, items and replacements as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking import corrupt_spans

ALPHA = 1e-4  # of each test

# ---- span_corruption


def _noise(rows: int, length: int, **options) -> np.ndarray:
    """Which tokens are noise, bool (rows, length)."""
    ids = torch.arange(length).expand(rows, length)
    targets = corrupt_spans(ids, sentinel_id=10**6, eos_token_id=None, **options).targets
    noise = torch.zeros(rows, length + 1, dtype=torch.bool)
    noise.scatter_(1, torch.where(targets < length, targets, length), True)
    return noise[:, :length].numpy()


def _runs(mask: np.ndarray) -> np.ndarray:
    return mask[:, 0] + (mask[:, 1:] & ~mask[:, :-1]).sum(1)


def _masks(length: int, noise: int, spans: int) -> np.ndarray:
    """Every mask with so many tokens of noise in so many spans."""
    masks = np.zeros((0, length), dtype=bool)
    for chosen in combinations(range(length), noise):
        mask = np.zeros((1, length), dtype=bool)
        mask[0, list(chosen)] = True
        if _runs(mask)[0] == spans:
            masks = np.concatenate([masks, mask])
    return masks


@pytest.mark.parametrize(("length", "density", "mean"), [(10, 0.4, 2.0), (9, 0.5, 1.0), (12, 0.25, 3.0)])
@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_every_mask_of_the_mode_is_equally_likely(length, density, mean, mode):
    rows = 60_000
    mask = _noise(rows, length, noise_density=density, mean_noise_span_length=mean, mode=mode, generator=1)
    noise = round(length * density)
    expected = _masks(length, noise, round(noise / mean))
    if mode == "compat":
        expected = expected[~expected[:, 0] & expected[:, -1]]
    weights = 1 << np.arange(length)
    found, counts = np.unique(mask @ weights, return_counts=True)
    assert set(found) == set(expected @ weights)
    if len(found) > 1:
        assert stats.chisquare(counts).pvalue > ALPHA


def test_rows_and_seeds_of_spans_are_independent():
    first, second = (_noise(20_000, 20, generator=s) for s in (1, 2))  # one span of three tokens: 18 places
    for a, b in ((first[1:], first[:-1]), (first, second)):
        table = np.zeros((18, 18))
        np.add.at(table, (a.argmax(1), b.argmax(1)), 1)
        assert stats.chi2_contingency(table).pvalue > ALPHA


def test_t5s_algorithm_has_the_distribution_of_compat():
    """T5's masks by its own algorithm: two random compositions, interleaved."""
    generator = np.random.default_rng(1)

    def composition(items: int, parts: int) -> np.ndarray:
        cuts = np.sort(generator.choice(items - 1, parts - 1, replace=False)) + 1
        return np.diff(np.concatenate([[0], cuts, [items]]))

    length, rows = 40, 20_000
    noise, spans = 6, 2
    theirs = np.zeros((rows, length), dtype=bool)
    for row in theirs:
        lengths = np.stack([composition(length - noise, spans), composition(noise, spans)], 1).flatten()
        row[:] = np.repeat(np.arange(2 * spans) % 2 == 1, lengths)
    ours = _noise(rows, length, mode="compat", generator=5)
    counts = np.stack([ours.sum(0), theirs.sum(0)])
    counts = np.stack([counts, rows - counts], 1)
    for position in range(length):
        column = counts[:, :, position]
        if (column.sum(0) > 0).all():
            assert stats.chi2_contingency(column).pvalue > ALPHA
        else:
            assert (column[0] == column[1]).all()
