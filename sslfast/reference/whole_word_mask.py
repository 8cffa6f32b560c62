"""Whole-word masking by definition: word by word, in plain Python."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows
from sslfast.reference.token_mask import masked_outputs, threshold

WORD_SELECT, WORD_REPLACE = 10, 11


def words_of_row(words: Tensor, special: Tensor | None) -> list[list[int]]:
    """The places of each word's tokens. ``words``: (L,) numbers of words, negative outside, or (L, 2) offsets."""
    offsets = words.dim() == 2
    found: list[list[int]] = []
    inside = False  # whether the token before is in a word
    for t in range(len(words)):
        if special is not None and special[t]:
            outside = True
        elif offsets:
            outside = special is None and bool(words[t, 0] == words[t, 1])
        else:
            outside = bool(words[t] < 0)
        if outside:
            inside = False
            continue
        before = words[t - 1, 1] if offsets else words[t - 1]
        if inside and before == (words[t, 0] if offsets else words[t]):
            found[-1].append(t)
        else:
            found.append([t])
        inside = True
    return found


def within_budget(words: list[list[int]], budget: int) -> list[list[int]]:
    """The words, taken one after the other where they fit into what is left of a number of tokens."""
    chosen: list[list[int]] = []
    for tokens in words:
        if sum(map(len, chosen)) + len(tokens) <= budget:
            chosen.append(tokens)
    return chosen


def mask_words(
    ids: Tensor,
    *,
    word_ids: Tensor | None = None,
    offset_mapping: Tensor | None = None,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: Tensor | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    replace: str = "token",
    min_masked: int = 0,
    mode: str = "exact",
    lengths: Tensor | None = None,
    max_predictions: int = 512,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_words`` with an int seed."""
    rows, length = ids.shape
    words = word_ids if word_ids is not None else offset_mapping
    assert words is not None
    select = philox_rows(seed, WORD_SELECT, rows, -(-length // 4), row_offset, sample_ids).flatten(1)[:, :length]
    kind, word, *_ = philox_rows(seed, WORD_REPLACE, rows, length, row_offset, sample_ids).unbind(-1)
    kind = kind.clone()
    masked = torch.zeros(rows, length, dtype=torch.bool)
    for r in range(rows):
        found = words_of_row(words[r], None if special_tokens_mask is None else special_tokens_mask[r])
        order = sorted(found, key=lambda tokens: int(select[r, tokens[0]]))  # a random one; ties by place
        if mode == "compat":
            tokens_of_row = length if lengths is None else int(lengths[r])
            budget = min(max_predictions, max(1, round(tokens_of_row * mlm_probability)))
            chosen = within_budget(order, budget)
        else:
            chosen = [tokens for tokens in found if select[r, tokens[0]] < threshold(mlm_probability)]
            chosen = chosen or order[:min_masked]
        for tokens in chosen:
            masked[r, tokens] = True
            if replace == "word":
                kind[r, tokens] = kind[r, tokens[0]].clone()
    return masked_outputs(
        ids,
        masked,
        kind,
        word,
        mask_token_id=mask_token_id,
        vocab_size=vocab_size,
        mask_replace_prob=mask_replace_prob,
        random_replace_prob=random_replace_prob,
        random_token_ids=random_token_ids,
    )
