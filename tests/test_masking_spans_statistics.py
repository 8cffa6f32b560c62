"""Masks of spans and replacements as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking import corrupt_spans, mask_spans, sample_replacements

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


# ---- text_span_mask

SPANS = {"mask_token_id": 0, "vocab_size": 1000}


@pytest.mark.parametrize(("law", "top"), [("geometric", 10), ("ngram", 3)])
def test_span_lengths_follow_the_law(law, top):
    """A budget of the longest span: the first span drawn is whole, so the longest run is of at least its length; where
    it is the longest of all, nothing else has been drawn. Its probability is that of the longest length."""
    rows, length = 20_000, 1000
    ids = torch.full((rows, 1), 7).expand(rows, length)
    mask = mask_spans(ids, mask_ratio=top / length, length_law=law, max_span=top, generator=1, **SPANS).mask.numpy()
    weights = np.array([0.8**n if law == "geometric" else 1 / (n + 1) for n in range(top)])
    one_run = int((_runs(mask) == 1).sum())
    touching = 0.02  # at most: other spans that join the first by chance
    share, expected = one_run / rows, weights[-1] / weights.sum()
    assert expected - 0.006 < share < expected + touching
    if law == "ngram":  # three in one, two and one, or one and two, three of one each
        p = weights / weights.sum()
        per_runs = np.bincount(_runs(mask), minlength=4)[1:]
        wanted = np.array([p[2], p[1] + p[0] * (p[1] + p[2]), p[0] ** 2])
        assert np.abs(per_runs / rows - wanted).max() < 0.01


def test_spanbert_has_the_published_distribution():
    """Positions, runs and their lengths against SpanBERT's algorithm over sets, written anew."""
    generator = np.random.default_rng(2)
    length, rows, ratio, lengths = 40, 8000, 0.2, np.arange(1, 11)
    law = 0.2 * 0.8 ** (lengths - 1)
    law /= law.sum()
    word = np.repeat(np.arange(length), 3)[:length]  # words of three tokens, the last of one

    theirs = np.zeros((rows, length), dtype=bool)
    for row in theirs:
        budget = int(np.ceil(length * ratio))
        masked: set[int] = set()
        while len(masked) < budget:
            span = generator.choice(lengths, p=law)
            anchor = generator.integers(length)
            if anchor in masked:
                continue
            for t in np.flatnonzero((word >= word[anchor]) & (word < word[anchor] + span)):
                if len(masked) < budget:
                    masked.add(int(t))
        row[list(masked)] = True
    ids = torch.full((rows, length), 7)
    options = {"word_ids": torch.from_numpy(word).expand(rows, length), "mask_ratio": ratio}
    ours = mask_spans(ids, generator=3, **options, **SPANS).mask.numpy()
    assert (ours.sum(1) == theirs.sum(1)).all()
    for position in range(length):
        table = [[m[:, position].sum(), rows - m[:, position].sum()] for m in (ours, theirs)]
        assert stats.chi2_contingency(table).pvalue > ALPHA
    runs = [np.bincount(_runs(m), minlength=9) for m in (ours, theirs)]
    common = np.minimum(*runs) > 5
    assert stats.chi2_contingency([r[common] for r in runs]).pvalue > ALPHA


def test_spans_are_replaced_as_one():
    ids = torch.full((3000, 60), 7)
    out, _, mask = mask_spans(ids, generator=4, **SPANS)
    kinds = np.where(out == 0, 0, np.where(out == 7, 2, 1))
    starts = mask.numpy() & ~np.pad(mask.numpy(), ((0, 0), (1, 0)))[:, :-1]
    inside = mask.numpy()[:, 1:] & mask.numpy()[:, :-1]
    assert (kinds[:, 1:] == kinds[:, :-1])[inside].mean() > 0.995  # a random id is 0 or 7 once in 500
    counts = np.bincount(kinds[starts], minlength=3)
    expected = np.array([0.8 + 1e-4, 0.1 - 2e-4, 0.1 + 1e-4]) * counts.sum()
    assert stats.chisquare(counts, expected).pvalue > ALPHA
    out, _, mask = mask_spans(ids, generator=4, replace_per="token", **SPANS)
    kinds = np.where(out == 0, 0, np.where(out == 7, 2, 1))
    pairs = np.zeros((3, 3))
    inside = mask.numpy()[:, 1:] & mask.numpy()[:, :-1]
    np.add.at(pairs, (kinds[:, 1:][inside], kinds[:, :-1][inside]), 1)
    assert stats.chi2_contingency(pairs).pvalue > ALPHA


# ---- gumbel_sample


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_samples_follow_the_softmax(dtype, temperature):
    rows = 100_000
    logits = torch.tensor([0.3, -1.0, 2.0, -torch.inf, 1.25, -4.0, 0.0]).to(dtype)
    ids = sample_replacements(logits.expand(rows, 7), temperature=temperature, generator=1).numpy()
    counts = np.bincount(ids, minlength=7)
    p = torch.softmax(logits.double() / temperature, 0).numpy()
    assert counts[3] == 0
    assert stats.chisquare(np.delete(counts, 3), np.delete(p, 3) * rows).pvalue > ALPHA


def test_samples_of_a_large_vocabulary():
    """By bins of equal probability, over a vocabulary in which nearly every id is discarded by its bound."""
    rows, vocabulary, bins = 4000, 20_000, 20
    logits = 2 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(3))
    p = torch.softmax(logits.double(), 0).numpy()
    ids = sample_replacements(logits.expand(rows, vocabulary), generator=2).numpy()
    place = np.minimum((p.cumsum() * bins).astype(int), bins - 1)
    expected = np.bincount(place, p, minlength=bins) * rows
    assert stats.chisquare(np.bincount(place[ids], minlength=bins), expected).pvalue > ALPHA
