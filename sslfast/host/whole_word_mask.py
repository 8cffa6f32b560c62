"""Whole-word masking over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments, _tokens


def mask_words(
    ids: NDArray[Any],
    *,
    word_ids: NDArray[Any] | None = None,
    offset_mapping: NDArray[Any] | None = None,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: NDArray[Any] | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: NDArray[np.int64] | None = None,
    replace: str = "token",
    min_masked: int = 0,
    mode: str = "exact",
    return_counts: bool = False,
    lengths: NDArray[Any] | None = None,
    max_predictions: int = 512,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], ...]:
    """Masks whole words of token ids: :func:`sslfast.masking.mask_words` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L) or (L,), int64, int32 or int16, any strides, in exact mode in [0, ``vocab_size``).
            Not changed.
        word_ids: the number of each token's word, shape of ``ids``, integer, negative outside of words. Default: None.
        offset_mapping: start and end of each token in the text, shape (N, L, 2) or (L, 2), integer, no end below its
            start. Default: None. Exactly one of the two is given; another dtype than int64 is converted.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None: with ``offset_mapping``, tokens that cover no text (start = end) are special;
            with ``word_ids``, the negative numbers say it.
        mlm_probability: probability that a word is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``). Default: None,
            every id below ``vocab_size``, special ones too.
        replace: "token", each masked token draws what it becomes; "word", the tokens of a word share that draw.
            Default: "token".
        min_masked: 0, or 1 for at least one masked word in every row that has a word; 0 in compat mode.
            Default: 0.
        mode: "exact", every word by itself, or "compat", words within a budget, with the defects that the torch
            function's docstring names. Default: "exact".
        return_counts: whether the result has how many tokens of each row are masked. Default: False.
        lengths: integer (N,), in compat mode alone: the tokens of each row before its padding, special ones included,
            in [0, L]. Default: None, all L.
        max_predictions: in compat mode, the largest budget, in [1, 32767]. Default: 512.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(ids, labels, masked)``, as of :func:`mask_tokens`, and ``counts`` with ``return_counts``.

    Raises:
        TypeError: an array is not of a dtype above, or a number or ``return_counts`` has the wrong type.
        ValueError: a shape, probability, id or offset is out of range, the two replacement shares exceed 1, or not
            exactly one of ``word_ids`` and ``offset_mapping`` is given, there is no such mode, or ``lengths`` or
            ``min_masked`` does not go with it.

    Reference: the whole-word models of Devlin et al., https://github.com/google-research/bert.
    """
    name = "mask_words"
    rows = _tokens.token_ids(name, ids)
    if (word_ids is None) == (offset_mapping is None):
        got = "neither" if word_ids is None else "both"
        raise ValueError(f"{name}: exactly one of word_ids and offset_mapping must be given, got {got}")
    if word_ids is not None:
        words = _tokens.like_ids(name, "word_ids", word_ids, ids)
    else:
        assert offset_mapping is not None
        words = _tokens.like_ids(name, "offset_mapping", offset_mapping, ids, last=2)
    special = special_tokens_mask
    if special is not None:
        special = _tokens.like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer")
        special = special.astype(np.bool_, copy=False)
    rule = _tokens.replacement(
        name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids
    )
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    _check.one_of(name, "replace", replace, ("token", "word"))
    min_masked = _check.integer(name, "min_masked", min_masked, 0, 1)
    lengths = _arguments.row_lengths(name, lengths, len(rows), rows.shape[1])
    most = word_budget(name, mode, lengths is not None, max_predictions, min_masked)
    budgets = None
    if most is not None:
        tokens = np.full(len(rows), rows.shape[1]) if lengths is None else lengths
        budgets = np.rint(tokens * mlm_probability).astype(np.int64).clip(1, most)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(rows))
    return_counts = _check.boolean(name, "return_counts", return_counts)
    masked_ids, labels, masked, counts = _host.whole_word_mask(
        rows,
        np.require(words, dtype=np.int64, requirements="A"),
        special,
        _arguments.seed_bits(name, seed),
        sample_ids,
        rule.mask_token_id,
        rule.vocab_size,
        mlm_probability,
        rule.mask_replace_prob,
        rule.random_replace_prob,
        replace == "word",
        row_offset,
        rule.random_token_ids,
        min_masked,
        budgets,
        budgets is None,
        _arguments.threads(name, threads),
    )
    result = (masked_ids.reshape(ids.shape), labels.reshape(ids.shape), masked)
    return (*result, counts) if return_counts else result


def word_budget(function: str, mode: str, has_lengths: bool, max_predictions: int, min_masked: int) -> int | None:
    """Returns the largest budget of a row, or None in exact mode, which has none.

    Raises:
        TypeError: if ``max_predictions`` is not an integer.
        ValueError: if there is no such mode, or an argument is out of range or does not go with it.
    """
    most = _check.integer(function, "max_predictions", max_predictions, 1, 2**15 - 1)
    if _check.mode_is_exact(function, mode):
        if has_lengths:
            raise ValueError(f'{function}: lengths must be left out except in mode "compat", got mode "exact"')
        return None
    if min_masked:
        raise ValueError(f'{function}: min_masked must be 0 in mode "compat", got {min_masked}')
    return most
