"""Masks of tokens and words as distributions: seeds are fixed, so each test passes always or never."""

from __future__ import annotations

import numpy as np
import torch
from peer_oracle import peer
from scipy import stats

from sslfast.masking import mask_tokens, mask_words

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


# ---- whole_word_mask


def words_of_lengths(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Words of 1, 2, 3, 4 and 2 tokens between two special ones, and the place of each word's first token."""
    row = torch.tensor([-1, *torch.arange(5).repeat_interleave(torch.tensor([1, 2, 3, 4, 2])), -1])
    return row.expand(rows, -1), torch.tensor([1, 2, 4, 7, 11])


def test_words_are_masked_alike_and_independently():
    rows, p = 20_000, 0.15
    words, starts = words_of_lengths(rows)
    labels = mask_words(
        torch.full(words.shape, 7), word_ids=words, mask_token_id=MASK, vocab_size=VOCAB, mlm_probability=p, generator=1
    )[1]
    masked = (labels[:, starts] != -100).numpy()
    for word in range(masked.shape[1]):
        assert stats.binomtest(int(masked[:, word].sum()), rows, p).pvalue > ALPHA
    expected = stats.binom(5, p).pmf(np.arange(6)) * rows
    counts = np.bincount(masked.sum(1), minlength=6)
    assert stats.chisquare([*counts[:4], counts[4:].sum()], [*expected[:4], expected[4:].sum()]).pvalue > ALPHA
    for shifted in (masked[1:] & masked[:-1], masked[:, 1:] & masked[:, :-1]):  # next row, next word
        assert stats.binomtest(int(shifted.sum()), shifted.size, p * p).pvalue > ALPHA


def test_replacements_of_words_and_tokens():
    words, starts = words_of_lengths(4000)
    ids = torch.full(words.shape, 7)
    arguments = {"mask_token_id": MASK, "vocab_size": 10**6, "mlm_probability": 1.0, "generator": 4}
    inside = words[0] >= 0
    for replace in ("token", "word"):
        out = mask_words(ids, word_ids=words, replace=replace, **arguments)[0]
        draws = out[:, inside] if replace == "token" else out[:, starts]
        kinds = [int((draws == MASK).sum()), int((draws == 7).sum())]
        kinds.append(draws.numel() - sum(kinds))
        assert stats.chisquare(kinds, np.array([0.8, 0.1, 0.1]) * draws.numel()).pvalue > ALPHA
    together = (out[:, 4] == 7) & (out[:, 7] == 7)  # two words draw by themselves
    assert stats.binomtest(int(together.sum()), len(out), 0.01).pvalue > ALPHA


def test_the_forced_word_is_any_of_them():
    words, starts = words_of_lengths(20_000)
    labels = mask_words(
        torch.full(words.shape, 7),
        word_ids=words,
        mask_token_id=MASK,
        vocab_size=VOCAB,
        mlm_probability=0.0,
        min_masked=1,
        generator=2,
    )[1]
    masked = labels[:, starts] != -100
    assert (masked.sum(1) == 1).all()
    assert stats.chisquare(masked.sum(0)).pvalue > ALPHA


def test_lengths_masked_are_those_of_transformers():
    """How many tokens of a row are masked: ours and the peer's, two samples of one distribution."""
    collator = peer("transformers").DataCollatorForLanguageModeling
    words, _ = words_of_lengths(6000)
    covered = (words >= 0).long()
    ends = (covered + (words != words.roll(1, 1))).cumsum(1)
    offsets, special = torch.stack([ends - covered, ends], 2), words < 0
    ids = torch.full(words.shape, 7)
    arguments = {"mask_token_id": MASK, "vocab_size": VOCAB, "mlm_probability": 0.3, "generator": 3}
    ours = mask_words(ids, offset_mapping=offsets, special_tokens_mask=special, **arguments)[1]
    numbers, no_start = collator._calc_word_ids_and_prob_mask(offsets.numpy(), special.long().numpy())
    drawn = np.random.default_rng(3).random(words.shape) < 0.3
    theirs = collator._whole_word_mask(numbers, drawn & ~no_start).sum(1)
    table = [np.bincount(counts, minlength=13) for counts in ((ours != -100).sum(1).numpy(), theirs)]
    table = np.array(table)[:, np.sum(table, 0) > 20]
    assert stats.chi2_contingency(table).pvalue > ALPHA
