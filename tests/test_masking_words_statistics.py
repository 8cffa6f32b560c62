"""Masks of tokens and words as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from sslfast.masking import mask_tokens

VOCAB, MASK = 1000, 4
ALPHA = 1e-4  # of each test

# ---- token_mask


def test_the_forced_token_is_any_of_the_ordinary_ones():
    rows, length = 20_000, 10
    special = torch.zeros(rows, length, dtype=torch.bool)
    special[:, [0, 9]] = True
    labels = mask_tokens(
        torch.full((rows, length), 7),
        mask_token_id=MASK,
        vocab_size=VOCAB,
        special_tokens_mask=special,
        mlm_probability=0.0,
        min_masked=1,
        generator=1,
    )[1]
    counts = (labels != -100).sum(0)
    assert counts[[0, 9]].tolist() == [0, 0]
    assert stats.chisquare(counts[1:9]).pvalue > ALPHA


def test_only_rows_without_a_masked_token_get_one():
    ids = torch.full((20_000, 20), 7)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": 0.1, "generator": 3}
    free, forced = (mask_tokens(ids, min_masked=k, **arguments)[1] != -100 for k in (0, 1))
    empty = ~free.any(1)
    assert stats.binomtest(int(empty.sum()), len(ids), 0.9**20).pvalue > ALPHA
    assert torch.equal(free[~empty], forced[~empty])
    assert (forced[empty].sum(1) == 1).all()


def test_words_of_a_table_are_drawn_alike():
    table = torch.tensor([9, 700, 31, 31])
    out = mask_tokens(
        torch.zeros(1000, 40, dtype=torch.int64),
        mask_token_id=MASK,
        vocab_size=VOCAB,
        mlm_probability=1.0,
        mask_replace_prob=0,
        random_replace_prob=1,
        random_token_ids=table,
        generator=6,
    )[0]
    counts = np.bincount(out.flatten(), minlength=VOCAB)
    assert counts.sum() == counts[[9, 700, 31]].sum()
    assert stats.chisquare(counts[[9, 700, 31]], np.array([1, 1, 2]) * 10_000).pvalue > ALPHA
