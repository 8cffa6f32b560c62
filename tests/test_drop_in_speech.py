"""drop_in.wav2vec2 beside the installed transformers, drop_in.fairseq beside the published algorithm."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from peer_oracle import peer
from scipy import stats

from sslfast.masking.drop_in import fairseq, wav2vec2

ALPHA = 1e-4


def alike(ours: Counter, theirs: Counter) -> bool:
    """Whether two samples of the same things are of one distribution: rare things count as one."""
    keys = sorted(ours | theirs, key=str)
    table = np.array([[c[k] for k in keys] for c in (ours, theirs)])
    common = table.sum(0) >= 20
    table = np.column_stack([table[:, common], table[:, ~common].sum(1)])
    table = table[:, table.sum(0) > 0]
    return table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > ALPHA


@pytest.fixture
def transformers():
    np.random.seed(5)  # noqa: NPY002  it draws from this generator
    return peer("transformers.models.wav2vec2.modeling_wav2vec2")


@pytest.mark.parametrize("name", ["_compute_mask_indices", "_sample_negative_indices"])
def test_arguments_are_transformers(transformers, name):
    def arguments(module):
        return [(n, p.default) for n, p in inspect.signature(getattr(module, name)).parameters.items()]

    assert arguments(wav2vec2) == arguments(transformers)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((2, 8), {"mask_prob": 0.4, "mask_length": 3}),
        ((2, 7), {"mask_prob": 1.0, "mask_length": 2}),
        ((1, 6), {"mask_prob": 0.1, "mask_length": 2, "min_masks": 2}),
        ((3, 6), {"mask_prob": 0.6, "mask_length": 3, "lengths": [6, 4, 2]}),  # the last marks its padding
        ((3, 6), {"mask_prob": 0.3, "mask_length": 2, "lengths": [5, 0, 3], "min_masks": 1}),
    ],
)
def test_masks_are_distributed_as_transformers(transformers, shape, arguments):
    """The joint distribution of whole batches: rows round together."""
    lengths = arguments.pop("lengths", None)
    attention = None if lengths is None else (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    samples = []
    for module in (wav2vec2, transformers):
        masks = [module._compute_mask_indices(shape, attention_mask=attention, **arguments) for _ in range(6000)]
        assert {(m.dtype, m.shape) for m in masks} == {(np.dtype(bool), shape)}
        samples.append(masks)
    for part in (slice(None), slice(0, 1), slice(-1, None)):
        assert alike(*(Counter(m[part].tobytes() for m in masks) for masks in samples))
    assert alike(*(Counter(m.sum() for m in masks) for masks in samples))


def test_masks_of_wav2vecs_size_are_as_transformers(transformers):
    ours, theirs = (
        np.stack([module._compute_mask_indices((32, 500), 0.65, 10) for _ in range(40)])
        for module in (wav2vec2, transformers)
    )
    assert stats.ks_2samp(ours.sum((1, 2)), theirs.sum((1, 2))).pvalue > ALPHA
    for t in (0, 4, 9, 250, 490, 495, 499):
        table = [[m[..., t].sum(), m[..., t].size - m[..., t].sum()] for m in (ours, theirs)]
        assert stats.chi2_contingency(table).pvalue > ALPHA


@pytest.mark.parametrize("masked", [None, [[1, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]])
def test_negatives_are_distributed_as_transformers(transformers, masked):
    mask = None if masked is None else np.array(masked)
    samples = []
    for module in (wav2vec2, transformers):
        draws = [module._sample_negative_indices((3, 5), 6, mask) for _ in range(1500)]
        assert {(d.dtype, d.shape) for d in draws} == {(np.dtype(np.int32), (3, 5, 6))}
        samples.append(np.stack(draws))
    for row in range(3):
        for t in range(5):
            assert alike(*(Counter(s[:, row, t].ravel().tolist()) for s in samples))
            assert alike(*(Counter(map(tuple, s[:, row, t, :2].tolist())) for s in samples))


def test_one_masked_frame_is_an_error_as_in_transformers(transformers):
    mask = np.array([[True, True, False], [False, True, False]])
    for module in (wav2vec2, transformers):
        with pytest.raises(ValueError, match=r"\w"):
            module._sample_negative_indices((2, 3), 4, mask)
    expected = (
        "_sample_negative_indices: mask_time_indices must mask no frame of a row, or two and more, got 1 in row 1"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        wav2vec2._sample_negative_indices((2, 3), 4, mask)


def test_transformers_errors(transformers):
    for module in (wav2vec2, transformers):
        for length in (0, 11):
            with pytest.raises(ValueError, match="mask_length"):
                module._compute_mask_indices((2, 10), 0.5, length)


def test_global_generator():
    torch.manual_seed(1)
    first, second = (wav2vec2._compute_mask_indices((2, 100), 0.5, 5) for _ in range(2))
    torch.manual_seed(1)
    assert np.array_equal(wav2vec2._compute_mask_indices((2, 100), 0.5, 5), first)
    assert not np.array_equal(first, second)


# ---- fairseq


def published(rng, lengths, size, mask_prob, mask_length, min_masks, add_masks, same, mask_dropout):
    """fairseq's algorithm for static lengths and ``num_mask_ver=2``, or None where it raises."""
    rows = []
    for n in lengths:
        spans = max(min_masks, int(mask_prob * n / mask_length + rng.random()))
        if spans == 0:
            return None
        reach = mask_length if n - mask_length > spans else n - spans - 1
        starts = rng.choice(n - reach, spans, replace=False)
        frames = np.unique((starts[:, None] + np.arange(mask_length)).ravel())
        frames = frames[frames < n]
        if len(frames) >= n:
            return None
        rows.append(frames)
    counts = [len(frames) for frames in rows]
    target = max(counts) if add_masks else min(counts)
    mask = np.zeros((len(rows), size), dtype=bool)
    for row, frames in zip(mask, rows, strict=True):
        row[frames] = True
        if same and len(frames) > target:
            row[rng.choice(frames, len(frames) - target, replace=False)] = False
        if same and len(frames) < target:
            row[rng.choice(np.flatnonzero(~row), target - len(frames), replace=False)] = True
        masked = np.flatnonzero(row)
        row[rng.choice(masked, int(np.rint(len(masked) * mask_dropout)), replace=False)] = False
    return mask


@pytest.mark.parametrize("lengths", [[9, 9], [9, 6], [9, 2]])
@pytest.mark.parametrize("options", [{}, {"require_same_masks": False}, {"add_masks": True}, {"mask_dropout": 0.4}])
def test_masks_are_distributed_as_fairseqs(lengths, options):
    rng, size = np.random.default_rng(8), 9
    padding = torch.arange(size) >= torch.tensor(lengths)[:, None]
    ours, theirs = Counter(), Counter()
    for _ in range(3000):
        try:
            mask = fairseq.compute_mask_indices((2, size), padding, 0.4, 2, min_masks=1, **options)
            assert (mask.dtype, mask.shape) == (np.dtype(bool), (2, size))
            ours[mask.tobytes()] += 1
        except ValueError:
            ours["raised"] += 1
        same, add = options.get("require_same_masks", True), options.get("add_masks", False)
        mask = published(rng, lengths, size, 0.4, 2, 1, add, same, options.get("mask_dropout", 0.0))
        theirs["raised" if mask is None else mask.tobytes()] += 1
    assert alike(ours, theirs)
    for row in range(2):
        rows = [Counter() for _ in range(2)]
        for found, counter in zip(rows, (ours, theirs), strict=True):
            for key, n in counter.items():
                found[key if key == "raised" else key[row * size : (row + 1) * size]] += n
        assert alike(*rows)


def test_fairseq_keys_by_seed_epoch_and_index():
    arguments = {"padding_mask": None, "mask_prob": 0.5, "mask_length": 4, "require_same_masks": False, "seed": 3}
    ids = torch.tensor([70, 4, 9])
    whole = fairseq.compute_mask_indices((3, 60), epoch=1, indices=ids, **arguments)
    alone = fairseq.compute_mask_indices((1, 60), epoch=1, indices=ids[1:2], **arguments)
    assert np.array_equal(whole[1:2], alone)
    assert not np.array_equal(whole, fairseq.compute_mask_indices((3, 60), epoch=2, indices=ids, **arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_type": "uniform"}, "mask_type must be 'static', got 'uniform'"),
        ({"no_overlap": True}, "no_overlap must be False, got True"),
        ({"idc_select_ver": 2}, "idc_select_ver must be 1, got 2"),
        ({"num_mask_ver": 1}, "num_mask_ver must be 2, got 1"),
        ({"mask_length": 0}, "mask_length must be at least 1, got 0"),
        ({"mask_prob": 0.0}, "mask_prob, mask_length and min_masks must fit every row, got row 0 without a span"),
        ({"mask_length": 30}, "mask_prob, mask_length and min_masks must fit every row, got row 0 masked whole"),
    ],
)
def test_fairseq_errors(arguments, message):
    defaults = {"shape": (2, 20), "padding_mask": None, "mask_prob": 0.5, "mask_length": 4, "min_masks": 0}
    if arguments.get("mask_length") == 30:
        defaults["min_masks"] = 12
    with pytest.raises(ValueError, match=f"^compute_mask_indices: {message}$"):
        fairseq.compute_mask_indices(**{**defaults, **arguments})
