"""Augmentation of text as strings or lists of words: the rules over token ids, with the words as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sslfast import _check
from sslfast.host._token_rule_numbers import check_rules
from sslfast.host.token_augment import augment_tokens, synonym_table
from sslfast.host.token_rules import MaskTokens, TokenRule

Text = str | Sequence[str]


def augment_text(
    texts: Sequence[Text],
    rules: TokenRule | Sequence[TokenRule],
    *,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    mask_word: str = "[MASK]",
    keep: Sequence[str] = (),
    choose: str = "all",
    seed: int,
    row_offset: int = 0,
    sample_ids: Any = None,
) -> list[Any]:
    """Augments sentences word by word: :func:`sslfast.augment.augment_text`, said there in full.

    Args:
        texts: strings, whose words lie between white space, or lists of words.
        rules: a rule such as ``DropTokens(0.1)``, or up to 8 of them.
        synonyms: the words that may take the place of a word, which is a whole one between white space, with its commas
            and capitals: neither ``"Good"`` nor ``"good,"`` is ``"good"``. Default: None.
        mask_word: what ``MaskTokens`` writes. Default: ``"[MASK]"``.
        keep: words that no rule touches, such as stop words. Default: none.
        choose: ``"all"`` rules in turn, or ``"one"`` at random for each text. Default: ``"all"``.
        seed: 64-bit signed seed.
        row_offset: global index of the first text, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each text in the draws. Default: None, ``row_offset`` and up.

    Returns:
        A list with a string for each string, its words joined by blanks, and a list for each list.

    Raises:
        TypeError: a text, rule or number has the wrong type.
        ValueError: a number or name is out of range, or a rule lacks its synonyms.
    """
    name = "augment_text"
    sentences = [_words(name, text) for text in _sequence(name, "texts", texts)]
    steps = check_rules(name, rules)
    _check.one_of(name, "choose", choose, ("all", "one"))
    if not isinstance(mask_word, str):
        raise TypeError(f"{name}: mask_word must be a str, got {type(mask_word).__name__}")
    if synonyms is not None and not isinstance(synonyms, Mapping):
        raise TypeError(f"{name}: synonyms must be a mapping from words to words, got {type(synonyms).__name__}")
    kept = {_word(name, "keep", word) for word in _sequence(name, "keep", keep)}
    ids: dict[str, int] = {}

    def number(word: str) -> int:
        return ids.setdefault(word, len(ids) + 1)  # 0 is padding

    lengths = np.array([len(words) for words in sentences], np.int64)
    rows = np.zeros((len(sentences), int(lengths.max(initial=0))), np.int64)
    special = np.zeros(rows.shape, np.bool_)
    for row, flags, words in zip(rows, special, sentences, strict=True):
        row[: len(words)] = [number(word) for word in words]
        flags[: len(words)] = [word in kept for word in words]
    table = None
    if synonyms is not None:
        found = {i: _synonyms(name, word, synonyms[word]) for word, i in ids.items() if word in synonyms}
        table = synonym_table({i: [number(word) for word in words] for i, words in found.items()})
    try:
        augmented = augment_tokens(
            rows,
            steps,
            lengths=lengths,
            special_tokens_mask=special,
            synonyms=table,
            mask_id=number(mask_word) if any(isinstance(step, MaskTokens) for step in steps) else None,
            choose=choose,
            seed=seed,
            row_offset=row_offset,
            sample_ids=sample_ids,
        )
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {str(error).partition(': ')[2]}") from None
    words_of = ["", *ids]
    results = []
    for text, row, mask in zip(texts, augmented.ids, augmented.attention_mask, strict=True):
        words = [words_of[i] for i in row[mask].tolist()]
        results.append(" ".join(words) if isinstance(text, str) else words)
    return results


def _sequence(function: str, name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{function}: {name} must be a list, got {type(value).__name__}")
    return value


def _word(function: str, name: str, word: Any) -> str:
    if not isinstance(word, str):
        raise TypeError(f"{function}: {name} must hold words, got {word!r:.60}")
    return word


def _synonyms(function: str, word: str, words: Any) -> list[str]:
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise TypeError(f"{function}: synonyms of {word!r} must be a list of words, got {type(words).__name__}")
    return [_word(function, "synonyms", one) for one in words]


def _words(function: str, text: Any) -> list[str]:
    if isinstance(text, str):
        return text.split()
    if not isinstance(text, Sequence):
        raise TypeError(f"{function}: a text must be a str or a list of words, got {type(text).__name__}")
    return [_word(function, "a text", word) for word in text]
