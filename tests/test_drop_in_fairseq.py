"""drop_in.fairseq and time_mask(mode="fairseq") beside a plain statement of fairseq's algorithm."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from distributions import ALPHA, alike, follows
from scipy import stats

from sslfast.masking import time_mask
from sslfast.masking.drop_in import fairseq

DEFAULTS = {
    "mask_type": "static",
    "mask_other": 0.0,
    "min_masks": 0,
    "no_overlap": False,
    "min_space": 0,
    "require_same_masks": True,
    "mask_dropout": 0.0,
    "add_masks": False,
    "seed": None,
    "epoch": None,
    "indices": None,
    "idc_select_ver": 1,
    "num_mask_ver": 2,
}


class Raised(Exception):
    """fairseq raises here."""


def some_lengths(rng, spans, mean, mask_type, mask_other):
    if mask_type == "static":
        return [mean] * spans
    if mask_type == "uniform":
        return rng.integers(int(mask_other), 2 * mean + 1, size=spans).tolist()
    if mask_type == "normal":
        return [max(1, round(x)) for x in rng.normal(mean, mask_other, size=spans)]
    return rng.poisson(mean, size=spans).tolist()


def frames_apart(rng, n, lengths, space):
    """The longest first, in a part of the row that is chosen by its size. A part that a span fills is passed over: in
    fairseq its choice is an error.
    """
    masked, parts = set(), [(0, n)]
    for length in sorted(lengths, reverse=True):
        room = np.array([b - a if b - a >= length + max(space, 1) else 0 for a, b in parts])
        if room.sum() == 0:
            break
        a, b = parts.pop(rng.choice(len(parts), p=room / room.sum()))
        start = int(rng.integers(a, b - length))
        masked |= set(range(start, start + length))
        if start - a - space >= min(lengths):
            parts.append((a, start - space + 1))
        if b - start - length - space > min(lengths):
            parts.append((start + length + space, b))
    return masked


def frames_anywhere(rng, n, lengths, version):
    shortest, spans = min(lengths), len(lengths)
    if version == 2:
        starts = rng.choice(n, spans, replace=False)
    else:
        starts = rng.choice(n - shortest if n - shortest > spans else spans + 1, spans, replace=False)
    return {t for start, length in zip(starts, lengths, strict=True) for t in range(start, start + length) if t < n}


def published(rng, lengths, size, mask_prob, mask_length, padded=True, **options):
    """One mask of a batch."""
    o = DEFAULTS | options
    shared, rows = rng.random(), []
    for n in lengths:
        own = o["num_mask_ver"] == 2 or padded
        spans = max(o["min_masks"], int(mask_prob * n / mask_length + (rng.random() if own else shared)))
        drawn = some_lengths(rng, spans, mask_length, o["mask_type"], o["mask_other"])
        if sum(drawn) == 0:
            if o["mask_type"] == "static":
                raise Raised
            drawn = [min(mask_length, n - 1)]  # fairseq's overlapping spans need one drawn length for that
        if o["no_overlap"]:
            frames = frames_apart(rng, n, drawn, o["min_space"])
        else:
            frames = frames_anywhere(rng, n, drawn, o["idc_select_ver"])
        if not frames or len(frames) >= n:
            raise Raised
        rows.append(np.array(sorted(frames)))
    counts = [len(frames) for frames in rows]
    target = max(counts) if o["add_masks"] else min(counts)
    mask = np.zeros((len(rows), size), dtype=bool)
    for row, frames in zip(mask, rows, strict=True):
        row[frames] = True
        if o["require_same_masks"] and len(frames) > target:
            row[rng.choice(frames, len(frames) - target, replace=False)] = False
        if o["require_same_masks"] and len(frames) < target:
            row[rng.choice(np.flatnonzero(~row), target - len(frames), replace=False)] = True
        masked = np.flatnonzero(row)
        row[rng.choice(masked, int(np.rint(len(masked) * o["mask_dropout"])), replace=False)] = False
    return mask


def test_arguments_are_fairseqs():
    parameters = inspect.signature(fairseq.compute_mask_indices).parameters
    assert list(parameters)[:4] == ["shape", "padding_mask", "mask_prob", "mask_length"]
    assert {n: p.default for n, p in parameters.items() if p.default is not p.empty} == DEFAULTS
    order = "mask_type mask_other min_masks no_overlap min_space require_same_masks mask_dropout add_masks"
    assert list(parameters)[4:12] == order.split()


@pytest.mark.parametrize("lengths", [[9, 9], [9, 6], [9, 2]])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"require_same_masks": False},
        {"add_masks": True},
        {"mask_dropout": 0.4},
        {"idc_select_ver": 2},
        {"mask_type": "uniform", "mask_other": 1},
        {"mask_type": "uniform", "mask_other": 0, "idc_select_ver": 2, "require_same_masks": False},
        {"mask_type": "normal", "mask_other": 1.5, "require_same_masks": False},
        {"mask_type": "poisson"},
        {"no_overlap": True},
        {"no_overlap": True, "min_space": 2, "mask_type": "uniform", "mask_other": 1, "require_same_masks": False},
        {"no_overlap": True, "min_space": 1, "mask_type": "poisson", "require_same_masks": False},
        {"no_overlap": True, "min_space": 1, "mask_type": "normal", "mask_other": 1.0, "add_masks": True},
    ],
)
def test_masks_of_a_batch_are_distributed_as_fairseqs(lengths, options):
    """Whole masks, and each row's: at most nine frames, one to three spans."""
    rng, size = np.random.default_rng(8), 9
    torch.manual_seed(8)
    padding = torch.arange(size) >= torch.tensor(lengths)[:, None]
    ours, theirs = Counter(), Counter()
    for _ in range(3000):
        try:
            mask = fairseq.compute_mask_indices((2, size), padding, 0.4, 2, min_masks=1, **options)
            assert (mask.dtype, mask.shape) == (np.dtype(bool), (2, size))
            ours[mask.tobytes()] += 1
        except ValueError:
            ours["raised"] += 1
        try:
            theirs[published(rng, lengths, size, 0.4, 2, min_masks=1, **options).tobytes()] += 1
        except Raised:
            theirs["raised"] += 1
    assert alike(ours, theirs)
    for row in range(2):
        rows = [Counter(), Counter()]
        for found, counter in zip(rows, (ours, theirs), strict=True):
            for key, n in counter.items():
                found[key if key == "raised" else key[row * size : (row + 1) * size]] += n
        assert alike(*rows)


@pytest.mark.parametrize(
    "options",
    [
        {"mask_type": "uniform", "mask_other": 3},
        {"mask_type": "normal", "mask_other": 4.0, "idc_select_ver": 2},
        {"mask_type": "poisson", "num_mask_ver": 1},
        {"no_overlap": True, "min_space": 1},
        {"no_overlap": True, "min_space": 3, "mask_type": "poisson"},
        {"no_overlap": True, "mask_type": "uniform"},
    ],
)
def test_masks_of_speech_are_as_fairseqs(options):
    """Rows of 200 frames: how many are masked, in how many runs of which lengths, and which."""
    rng, size, rows = np.random.default_rng(3), 200, 2000
    options |= {"require_same_masks": False}
    theirs = np.concatenate([published(rng, [size], size, 0.5, 8, padded=False, **options) for _ in range(rows)])
    ours = time_mask(rows, size, mask_prob=0.5, mask_length=8, mode="fairseq", generator=6, **options).numpy()
    if options.get("num_mask_ver") == 1:  # rows of one batch have one rounding
        alone = {"mask_prob": 0.5, "mask_length": 8, "mode": "fairseq"} | options
        ours = torch.cat([time_mask(1, size, generator=g, **alone) for g in range(rows)]).numpy()
    assert stats.ks_2samp(ours.sum(1), theirs.sum(1)).pvalue > ALPHA
    edges = [np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int)) for mask in (ours, theirs)]
    assert alike(*(Counter((e == 1).sum(1).tolist()) for e in edges))
    first_runs = [Counter((np.argmax(e == -1, 1) - np.argmax(e == 1, 1)).tolist()) for e in edges]
    assert alike(*first_runs)
    for t in (0, 1, 5, 8, 100, 150, 190, 198, 199):
        table = np.array([[mask[:, t].sum(), rows - mask[:, t].sum()] for mask in (ours, theirs)])
        assert stats.chi2_contingency(table + 0.5).pvalue > ALPHA


@pytest.mark.parametrize(
    ("mask_type", "mean", "other", "law"),
    [
        ("uniform", 5, 0, stats.randint(0, 11)),
        ("uniform", 5, 3.9, stats.randint(3, 11)),
        ("poisson", 1, 0, stats.poisson(1)),
        ("poisson", 10, 0, stats.poisson(10)),
        ("poisson", 31, 0, stats.poisson(31)),
        ("poisson", 32, 0, stats.poisson(32)),  # from here on by a series
        ("poisson", 150, 0, stats.poisson(150)),
        ("normal", 10, 3.0, stats.norm(10, 3)),
        ("normal", 2, 6.0, stats.norm(2, 6)),  # a third of it below one
        ("normal", 7, 0.0, None),
    ],
)
def test_lengths_follow_their_laws(mask_type, mean, other, law):
    """One span apart from nothing, in rows that hold any: as many masked frames as it is long. None is the mean."""
    rows, longest = 20_000, 400
    options = {"mask_length": mean, "mask_prob": 0.0, "min_masks": 1, "no_overlap": True, "mode": "fairseq"}
    lengths = time_mask(rows, longest, mask_type=mask_type, mask_other=other, generator=4, **options).sum(1).numpy()
    numbers = np.arange(longest)
    if law is None:
        chances = (numbers == mean).astype(float)
    elif mask_type == "normal":
        chances = law.cdf(numbers + 0.5) - law.cdf(numbers - 0.5)
        chances[1] = law.cdf(1.5)
    else:
        chances = law.pmf(numbers)
        chances[mean] += chances[0]
    chances[0] = 0.0
    assert follows(lengths, chances)


@pytest.mark.parametrize("min_space", [0, 1, 4])
def test_spans_apart_keep_their_distance(min_space):
    lengths = torch.tensor([120, 80, 31]).repeat(300)
    arguments = {"mask_length": 6, "no_overlap": True, "min_space": min_space, "mode": "fairseq", "lengths": lengths}
    mask = time_mask(900, 120, generator=2, **arguments)
    assert not (mask & (torch.arange(120) >= lengths[:, None] - 1)).any()  # the last frame is never masked
    spans = 0
    for row in mask.numpy():
        edges = np.flatnonzero(np.diff(np.pad(row, 1).astype(int)))
        runs, gaps = edges[1::2] - edges[::2], edges[2::2] - edges[1:-1:2]
        assert (runs % 6 == 0 if min_space == 0 else runs == 6).all()
        assert (gaps >= min_space).all()
        spans += runs.sum() // 6
    assert spans > 3000


def test_rows_round_together_or_alone():
    """2.25 spans."""
    options = {"mask_prob": 2.25 / 300, "mask_length": 1, "mode": "fairseq"}
    together = [time_mask(10, 300, num_mask_ver=1, generator=g, **options).sum(1) for g in range(400)]
    assert all((counts == counts[0]).all() for counts in together)
    assert stats.binomtest(sum(int(counts[0] == 3) for counts in together), 400, 0.25).pvalue > ALPHA
    lengths = torch.full((4000,), 300)
    for arguments in ({"num_mask_ver": 2}, {"num_mask_ver": 1, "lengths": lengths}):
        counts = time_mask(4000, 300, generator=1, **arguments, **options).sum(1)
        assert stats.binomtest(int((counts == 3).sum()), 4000, 0.25).pvalue > ALPHA


def test_keys_are_seed_epoch_and_index():
    arguments = {"padding_mask": None, "mask_prob": 0.5, "mask_length": 4, "require_same_masks": False, "seed": 3}
    ids = torch.tensor([70, 4, 9])
    for options in ({}, {"mask_type": "poisson"}, {"no_overlap": True, "num_mask_ver": 1}):
        drawn = arguments | options
        whole = fairseq.compute_mask_indices((3, 60), epoch=1, indices=ids, **drawn)
        alone = fairseq.compute_mask_indices((1, 60), epoch=1, indices=ids[1:2], **drawn)
        assert np.array_equal(whole[1:2], alone)
        assert not np.array_equal(whole, fairseq.compute_mask_indices((3, 60), epoch=2, indices=ids, **drawn))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_type": "geometric"}, "mask_type must be 'static', 'uniform', 'normal' or 'poisson', got 'geometric'"),
        (
            {"mask_type": "uniform", "mask_other": 9},
            'mask_other must be in [0, 8], twice mask_length, for mask_type "uniform", got 9.0',
        ),
        (
            {"mask_type": "normal", "mask_other": -1},
            'mask_other must be at least 0 for mask_type "normal", got -1.0',
        ),
        ({"min_space": -1}, "min_space must be in [0, 4294967295], got -1"),
        ({"idc_select_ver": 3}, "idc_select_ver must be 1 or 2, got 3"),
        ({"num_mask_ver": 0}, "num_mask_ver must be 1 or 2, got 0"),
        ({"mask_length": 0}, "mask_length must be at least 1, got 0"),
        ({"mask_prob": 0.0}, "mask_prob, mask_length and min_masks must fit every row, got row 0 without a span"),
        (
            {"no_overlap": True, "mask_length": 20, "min_masks": 1},
            "mask_prob, mask_length and min_masks must fit every row, got row 0 without a span",
        ),
        (
            {"mask_length": 30, "min_masks": 12},
            "mask_prob, mask_length and min_masks must fit every row, got row 0 masked whole",
        ),
    ],
)
def test_errors(arguments, message):
    defaults = {"shape": (2, 20), "padding_mask": None, "mask_prob": 0.5, "mask_length": 4, "min_masks": 0}
    with pytest.raises(ValueError, match=r"must") as raised:
        fairseq.compute_mask_indices(**{**defaults, **arguments})
    assert str(raised.value) == f"compute_mask_indices: {message}"
