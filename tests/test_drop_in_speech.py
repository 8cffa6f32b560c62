"""drop_in.wav2vec2 beside the installed transformers."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import pytest
import torch
from distributions import ALPHA, alike
from peer_oracle import peer
from scipy import stats

from sslfast.masking.drop_in import wav2vec2


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
