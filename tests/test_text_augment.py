"""augment_text and BackTranslation: the rules over words, and translators that are right or wrong."""

from __future__ import annotations

import pytest
import torch

from sslfast import host
from sslfast.augment import (
    BackTranslation,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReplaceTokens,
    ShuffleSpans,
    SwapTokens,
    augment_text,
    augment_tokens,
)

TEXTS = ["the quick brown fox jumps over the lazy dog", "", "one", ["a", "b c", "d", "e"], "the end of the quick day"]
SYNONYMS = {"quick": ["fast", "rapid"], "dog": ["hound"], "e": ["f"]}


def test_words_are_tokens():
    """The numbers of the words go through augment_tokens with the same draws."""
    out = augment_text(TEXTS, [DropTokens(0.3), ShuffleSpans(1, 2)], generator=5)
    sentences = [t.split() if isinstance(t, str) else t for t in TEXTS]
    ids = torch.zeros(5, 9, dtype=torch.int64)
    for row, words in zip(ids, sentences, strict=True):
        row[: len(words)] = torch.arange(1, len(words) + 1)
    same = augment_tokens(ids, [DropTokens(0.3), ShuffleSpans(1, 2)], generator=5)
    for text, found, row, mask, words in zip(TEXTS, out, same.ids, same.attention_mask, sentences, strict=True):
        expected = [words[i - 1] for i in row[mask].tolist()]
        assert found == (" ".join(expected) if isinstance(text, str) else expected)


def test_synonyms_masks_and_words_that_stay():
    for seed in range(30):
        replaced = augment_text(TEXTS, ReplaceTokens(count=1), synonyms=SYNONYMS, generator=seed)
        assert replaced[0] in [TEXTS[0].replace(a, b) for a in SYNONYMS for b in SYNONYMS[a] if a != "e"]
        assert replaced[1:4] == ["", "one", ["a", "b c", "d", "f"]]
        inserted = augment_text(TEXTS, InsertTokens(count=1), synonyms=SYNONYMS, generator=seed)
        assert len(inserted[0].split()) == 10
        assert "fast" in inserted[4] or "rapid" in inserted[4]
        kept = augment_text(TEXTS, DropTokens(1.0), keep=("the", "of"), generator=seed)
        words = kept[4].split()
        assert [w for w in words if w in ("the", "of")] == ["the", "of", "the"]
        assert len(words) == 4
        masked = augment_text(TEXTS[:1], MaskTokens(0.5), mask_word="_", generator=seed)[0]
        assert masked.split().count("_") == 4


def test_draws():
    numbers = torch.tensor([7, 3, 9, 4, 100])
    rules = [SwapTokens(0.5), DropTokens(0.3)]
    whole = augment_text(TEXTS, rules, generator=5, sample_ids=numbers)
    order = [3, 1, 4, 0, 2]
    moved = augment_text([TEXTS[i] for i in order], rules, generator=torch.tensor(5), sample_ids=numbers[order])
    assert moved == [whole[i] for i in order]
    halves = [augment_text(TEXTS[a:b], rules, generator=5, row_offset=a) for a, b in ((0, 2), (2, 5))]
    assert halves[0] + halves[1] == augment_text(TEXTS, rules, generator=5)
    assert host.augment_text(TEXTS, rules, seed=5, sample_ids=numbers.numpy()) == whole
    assert augment_text(TEXTS, rules, generator=6) != augment_text(TEXTS, rules, generator=5)
    torch.manual_seed(3)
    first = augment_text(TEXTS, rules)
    torch.manual_seed(3)
    assert augment_text(TEXTS, rules) == first
    assert augment_text([], rules, generator=1) == []
    one = [SwapTokens(count=1), MaskTokens(1.0), DropTokens(1.0)]
    found = {tuple(augment_text(["a b"], one, choose="one", generator=seed)) for seed in range(60)}
    assert found == {("b a",), ("[MASK] [MASK]",), ("a",), ("b",)}


def test_back_translation():
    calls = []

    def there(texts):
        calls.append(len(texts))
        return [text.upper() for text in texts]

    def back(texts):
        return tuple(text + "!" for text in texts)

    texts = ["a", "b", "c", "d", "e"]
    assert BackTranslation(there, back, batch_size=2)(texts) == ["A!", "B!", "C!", "D!", "E!"]
    assert calls == [2, 2, 1]
    assert BackTranslation(there, back)(texts) == ["A!", "B!", "C!", "D!", "E!"]
    assert calls[3:] == [5]
    assert BackTranslation(there, back)([]) == []


def _same(texts):
    return texts


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BackTranslation(None, _same), TypeError, "forward must be callable, got NoneType"),
        (lambda: BackTranslation(_same, 5), TypeError, "backward must be callable, got int"),
        (lambda: BackTranslation(_same, _same, batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: BackTranslation(_same, _same)("abc"), TypeError, "texts must be a list of strings, got str"),
        (lambda: BackTranslation(_same, _same)(["a", 5]), TypeError, "texts must be a list of strings, got ['a', 5]"),
        (
            lambda: BackTranslation(_same, lambda texts: texts[1:])(["a", "b"]),
            ValueError,
            "backward must return 2 strings for as many, got 1",
        ),
        (
            lambda: BackTranslation(lambda texts: None, _same)(["a"]),
            TypeError,
            "the results of forward must be a list of strings, got NoneType",
        ),
    ],
)
def test_bad_translators(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == f"BackTranslation: {message}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": "abc"}, TypeError, "texts must be a list, got str"),
        ({"texts": [5]}, TypeError, "a text must be a str or a list of words, got int"),
        ({"texts": [["a", 5]]}, TypeError, "a text must hold words, got 5"),
        ({"rules": "drop"}, TypeError, "rules must be a rule such as DropTokens(0.1) or several, got 'drop'"),
        ({"synonyms": ["a"]}, TypeError, "synonyms must be a mapping from words to words, got list"),
        ({"synonyms": {"a": [5]}}, TypeError, "synonyms must hold words, got 5"),
        ({"synonyms": {"a": "big"}}, TypeError, "synonyms of 'a' must be a list of words, got str"),
        ({"sample_ids": torch.arange(3)}, ValueError, "sample_ids must have shape (1,), one a row, got (3,)"),
        ({"mask_word": 5}, TypeError, "mask_word must be a str, got int"),
        ({"keep": "the"}, TypeError, "keep must be a list, got str"),
        ({"choose": "distinct"}, ValueError, "choose must be 'all' or 'one', got 'distinct'"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        augment_text(**{"texts": ["a b"], "rules": DropTokens(), "generator": 1} | arguments)
    assert str(raised.value) == f"augment_text: {message}"


def test_rules_without_synonyms():
    with pytest.raises(
        ValueError, match=r"^augment_text: synonyms must be given for ReplaceTokens and InsertTokens, got None"
    ):
        augment_text(["a"], ReplaceTokens(), generator=1)
