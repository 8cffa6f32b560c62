"""Masks of time series as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking import corrupt_features, sample_negatives, spec_augment, time_mask

ALPHA = 1e-4  # of each test


def occupancy(frames: int, length: int, starts: int, spans: int) -> np.ndarray:
    """Probability that each frame is masked by ``spans`` starts without replacement out of ``starts``."""
    covering = [sum(s <= t < s + length for s in range(starts)) for t in range(frames)]
    return np.array([1 - math.comb(starts - w, spans) / math.comb(starts, spans) for w in covering])


# ---- time_span_mask


@pytest.mark.parametrize("mode", ["exact", "hf"])
def test_every_set_of_starts_is_equally_likely(mode):
    """Spans of one frame show their starts: 2 of 6."""
    mask = time_mask(30_000, 6, mask_length=1, mask_prob=1 / 3, mode=mode, generator=1).numpy()
    codes = np.bincount(mask @ (1 << np.arange(6)), minlength=64)
    assert (codes > 0).sum() == 15
    assert stats.chisquare(codes[codes > 0]).pvalue > ALPHA


@pytest.mark.parametrize("mode", ["exact", "hf", "fairseq"])
def test_frames_are_masked_as_often_as_spans_cover_them(mode):
    rows, frames, length = 20_000, 30, 5
    mask = time_mask(rows, frames, mask_length=length, mask_prob=0.5, mode=mode, generator=2).numpy()  # 3 spans
    starts = frames - length + (mode != "fairseq")
    for observed, expected in zip(mask.sum(0), occupancy(frames, length, starts, 3), strict=True):
        assert stats.binomtest(int(observed), rows, expected).pvalue > ALPHA
    assert mask[:, -1].any() == (mode != "fairseq")
    for a, b in itertools.pairwise(range(0, 30, 10)):  # rows are independent of the next
        both = int((mask[1:, a] & mask[:-1, b]).sum())
        expected = mask[:, a].mean() * mask[:, b].mean()
        assert stats.binomtest(both, rows - 1, expected).pvalue > ALPHA


def test_the_number_of_spans_is_rounded_at_random():
    """0.3 * 30 / 4 = 2.25 spans; spans of four frames, three of which no other may touch, are counted by frames."""
    rows = 20_000
    mask = time_mask(rows, 3000, mask_length=1, mask_prob=2.25 / 3000, generator=3)
    counts = mask.sum(1)
    assert set(counts.tolist()) == {2, 3}
    assert stats.binomtest(int((counts == 3).sum()), rows, 0.25).pvalue > ALPHA
    together = [time_mask(50, 3000, mask_length=1, mask_prob=2.25 / 3000, mode="hf", generator=g) for g in range(400)]
    assert all(len(set(mask.sum(1).tolist())) == 1 for mask in together)  # one draw of the batch
    assert stats.binomtest(sum(int(mask[0].sum() == 3) for mask in together), 400, 0.25).pvalue > ALPHA


def test_the_masked_share_of_wav2vec():
    share = float(time_mask(400, 1500, generator=4).double().mean())
    assert abs(share - (1 - math.exp(-0.65))) < 0.02
    expected = occupancy(1500, 10, 1491, 97).mean() / 2 + occupancy(1500, 10, 1491, 98).mean() / 2
    assert abs(share - expected) < 0.002


@pytest.mark.parametrize("add_masks", [False, True])
def test_fairseq_adjusts_every_frame_alike(add_masks):
    """Rows with one or two spans of 3: which of the masked frames go, or which others come, is uniform."""
    changed: dict[int, np.ndarray] = {}  # frames to choose from -> how often each, where one was
    for generator in range(1500):
        options = {"mask_length": 3, "mask_prob": 0.35, "min_masks": 1, "mode": "fairseq", "generator": generator}
        before = time_mask(8, 12, **options)
        after = time_mask(8, 12, require_same_masks=True, add_masks=add_masks, **options)
        pool = before ^ add_masks
        moved = before ^ after
        assert not (moved & ~pool).any()
        for choices, chosen in zip(pool.numpy(), moved.numpy(), strict=True):
            if chosen.sum() == 1:
                changed.setdefault(choices.sum(), np.zeros(choices.sum()))[chosen[choices].argmax()] += 1
    often = [counts for counts in changed.values() if counts.sum() > 200]
    assert len(often) >= 1
    for counts in often:
        assert stats.chisquare(counts).pvalue > ALPHA


# ---- negative_indices


def test_negatives_are_uniform_over_the_others():
    mask = torch.tensor([[True, False, True, True, False, True, True]]).expand(3000, 7)
    out = sample_negatives(mask, 6, generator=1).numpy() % 7
    frames = [0, 2, 3, 5, 6]
    for t in frames:
        counts = np.bincount(out[:, t].ravel(), minlength=7)
        assert counts[t] == counts[1] == counts[4] == 0
        assert stats.chisquare(counts[[f for f in frames if f != t]]).pvalue > ALPHA
    for first, second in ((out[:, 0, 0], out[:, 0, 1]), (out[:, 2, 0], out[:, 3, 0]), (out[1:, 0, 0], out[:-1, 0, 0])):
        table = stats.contingency.crosstab(first, second).count
        assert stats.chi2_contingency(table).pvalue > ALPHA


# ---- spec_augment


@pytest.mark.parametrize("axis", ["freq", "time"])
def test_widths_and_starts_are_uniform(axis):
    size, param, rows = 9, 4, 30_000
    masks = {"n_freq_masks": 0, "freq_mask_param": 0, "n_time_masks": 0, "time_mask_param": 0}
    masks |= {f"n_{axis}_masks": 1, f"{axis}_mask_param": param}
    spec = torch.zeros(rows, size, 2) if axis == "freq" else torch.zeros(rows, 2, size)
    masked = spec_augment(spec, mask_value=1.0, generator=1, **masks).numpy().astype(bool)
    lines = masked[:, :, 0] if axis == "freq" else masked[:, 0]
    widths = lines.sum(1)
    assert stats.chisquare(np.bincount(widths, minlength=param + 1)).pvalue > ALPHA
    for width in range(1, param + 1):
        starts = np.bincount(lines[widths == width].argmax(1), minlength=size - width + 1)
        assert len(starts) == size - width + 1
        assert stats.chisquare(starts).pvalue > ALPHA
    for first, second in ((widths[1:], widths[:-1]),):
        assert stats.chi2_contingency(stats.contingency.crosstab(first, second).count).pvalue > ALPHA


def test_share_and_lengths_bound_the_widths():
    lengths = torch.tensor([40, 20, 7]).repeat(5000)
    masks = {"n_freq_masks": 0, "freq_mask_param": 0, "n_time_masks": 1, "time_mask_param": 30}
    spec = torch.zeros(15_000, 1, 40)
    masked = spec_augment(spec, p=0.25, lengths=lengths, mask_value=1.0, generator=1, **masks)[:, 0].numpy()
    for i, widest in enumerate((10, 5, 1)):
        widths = np.bincount(masked[i::3].sum(1).astype(int))
        assert len(widths) == widest + 1
        assert stats.chisquare(widths).pvalue > ALPHA


def test_masks_of_a_spectrogram_are_independent():
    masks = {"n_freq_masks": 1, "freq_mask_param": 3, "n_time_masks": 1, "time_mask_param": 3}
    masked = spec_augment(torch.zeros(20_000, 2, 6, 6), mask_value=1.0, generator=2, **masks).numpy().astype(bool)
    bands = masked.all(-1).sum(-1)  # (N, C)
    intervals = masked.all(-2).sum(-1)
    for first, second in ((bands[:, 0], bands[:, 1]), (bands[:, 0], intervals[:, 0]), (intervals[:, 0], bands[:, 1])):
        assert stats.chi2_contingency(stats.contingency.crosstab(first, second).count).pvalue > ALPHA


# ---- feature_corruption


def test_every_set_of_features_is_equally_likely():
    _, mask = corrupt_features(torch.zeros(40_000, 7), 3 / 7, generator=1)
    codes = np.bincount(mask.numpy() @ (1 << np.arange(7)), minlength=128)
    assert (codes > 0).sum() == 35  # 7 choose 3
    assert stats.chisquare(codes[codes > 0]).pvalue > ALPHA


def test_features_are_chosen_independently_where_not_exact():
    mask = corrupt_features(torch.zeros(40_000, 5), 0.3, selection="bernoulli", generator=2)[1].numpy()
    codes = np.bincount(mask @ (1 << np.arange(5)), minlength=32)
    ones = np.array([bin(code).count("1") for code in range(32)])
    assert stats.chisquare(codes, 0.3**ones * 0.7 ** (5 - ones) * 40_000).pvalue > ALPHA


def test_sources_are_uniform_and_independent():
    bank = torch.arange(6.0)[:, None].expand(6, 3)
    x = torch.full((20_000, 3), -1.0)
    out = corrupt_features(x, 1.0, bank=bank, generator=3)[0].numpy().astype(int)
    for j in range(3):
        assert stats.chisquare(np.bincount(out[:, j], minlength=6)).pvalue > ALPHA
    for first, second in ((out[:, 0], out[:, 1]), (out[1:, 2], out[:-1, 2])):
        assert stats.chi2_contingency(stats.contingency.crosstab(first, second).count).pvalue > ALPHA
    rows = corrupt_features(x, 1.0, bank=bank, source="rows", generator=3)[0].numpy().astype(int)
    assert stats.chisquare(np.bincount(rows[:, 0], minlength=6)).pvalue > ALPHA


def test_uniform_values_are_uniform():
    bank = torch.tensor([[-1.0, 5.0], [3.0, 6.0], [0.0, 5.5]])
    out = corrupt_features(torch.zeros(20_000, 2), 1.0, bank=bank, source="uniform", generator=4)[0].numpy()
    assert stats.kstest(out[:, 0], "uniform", (-1, 4)).pvalue > ALPHA
    assert stats.kstest(out[:, 1], "uniform", (5, 1)).pvalue > ALPHA


def test_every_permutation_of_a_column_is_equally_likely():
    x = torch.arange(4.0)[:, None].expand(4, 24_000)
    out = corrupt_features(x, 1.0, source="permutation", generator=5)[0].numpy().astype(int)
    orders = np.unique(np.array([64, 16, 4, 1]) @ out, return_counts=True)[1]
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > ALPHA
