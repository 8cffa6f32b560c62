"""The masks as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from sslfast.masking import mask_tokens, random_patch_mask

VOCAB, MASK = 1000, 4
ALPHA = 1e-4  # of each test

# ---- token_mask


def test_positions_are_masked_alike_and_independently():
    rows, length, p = 20_000, 20, 0.15
    ids = torch.full((rows, length), 7)
    _, labels, _ = mask_tokens(ids, mask_token_id=MASK, vocab_size=VOCAB, mlm_probability=p, generator=1)
    masked = (labels != -100).numpy()
    for position in range(length):
        assert stats.binomtest(int(masked[:, position].sum()), rows, p).pvalue > ALPHA
    per_row = np.bincount(masked.sum(1), minlength=length + 1)
    expected = stats.binom(length, p).pmf(np.arange(length + 1)) * rows
    common = expected > 5  # chi-square wants a few of each; the rest is one cell
    observed = np.append(per_row[common], per_row[~common].sum())
    assert stats.chisquare(observed, np.append(expected[common], expected[~common].sum())).pvalue > ALPHA
    for shifted in (masked[1:] & masked[:-1], masked[:, 1:] & masked[:, :-1]):  # next row, next position
        assert stats.binomtest(int(shifted.sum()), shifted.size, p * p).pvalue > ALPHA


def test_eighty_ten_ten():
    ids = torch.full((2000, 50), 7)  # 7 is never the mask token
    out, labels, _ = mask_tokens(ids, mask_token_id=MASK, vocab_size=VOCAB, mlm_probability=1.0, generator=4)
    assert (labels == 7).all()
    replaced, kept = int((out == MASK).sum()), int((out == 7).sum())
    randomised = out.numel() - replaced - kept
    share = 0.1 / VOCAB  # a random id is the mask token, or the token itself, once in VOCAB draws
    expected = np.array([0.8 + share, 0.1 + share, 0.1 - 2 * share]) * out.numel()
    assert stats.chisquare([replaced, kept, randomised], expected).pvalue > ALPHA


def test_random_ids_are_uniform_over_the_vocabulary():
    vocab = 97
    ids = torch.zeros(1000, 100, dtype=torch.int64)
    out, _, _ = mask_tokens(
        ids,
        mask_token_id=0,
        vocab_size=vocab,
        mlm_probability=1.0,
        mask_replace_prob=0,
        random_replace_prob=1,
        generator=6,
    )
    counts = np.bincount(out.flatten().numpy(), minlength=vocab)
    assert len(counts) == vocab
    assert stats.chisquare(counts).pvalue > ALPHA


# ---- patch_mask


def test_every_subset_is_equally_likely():
    rows, patches = 42_000, 7
    mask = random_patch_mask(rows, patches, 4 / 7, generator=1).mask.numpy()
    codes = np.bincount(mask @ (1 << np.arange(patches)), minlength=2**patches)
    subsets = codes[codes > 0]
    assert len(subsets) == 35  # 7 choose 3
    assert stats.chisquare(subsets).pvalue > ALPHA


def test_every_order_is_equally_likely():
    ids_restore = random_patch_mask(24_000, 4, 0.0, generator=2).ids_restore.numpy()
    orders = np.unique(ids_restore @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(orders) == 24
    assert stats.chisquare(orders).pvalue > ALPHA
