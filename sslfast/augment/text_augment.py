"""Augmentation of text as strings: by words, and by translation there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from sslfast import _check, host
from sslfast.host.token_rules import TokenRule
from sslfast.random import Generator, seed_tensor

Translate = Callable[[list[str]], Sequence[str]]


def augment_text(
    texts: Sequence[str | Sequence[str]],
    rules: TokenRule | Sequence[TokenRule],
    *,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    mask_word: str = "[MASK]",
    keep: Sequence[str] = (),
    choose: str = "all",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> list[Any]:
    """Augments sentences by the rules of :func:`augment_tokens`, with words as tokens and the same draws.

    EDA is ``augment_text(texts, [ReplaceTokens(0.1), InsertTokens(0.1), SwapTokens(0.1), DropTokens(0.1)],
    synonyms=synonyms, choose="one")``. On the CPU; a text that a tokenizer has seen is better augmented as ids.

    Args:
        texts: strings, whose words lie between white space, or lists of words.
        rules: a rule, or up to 8 of them.
        synonyms: the words that may take the place of a word, which is a whole one between white space, with its commas
            and capitals: neither ``"Good"`` nor ``"good,"`` is ``"good"``. Default: None.
        mask_word: what ``MaskTokens`` writes. Default: ``"[MASK]"``.
        keep: words that no rule touches, such as stop words. Default: none.
        choose: ``"all"`` rules in turn, or ``"one"`` at random for each text. Default: ``"all"``.
        generator: None | torch.Generator | int seed | int64 seed tensor, on the CPU. Default: None, torch's global
            generator.
        row_offset: global index of the first text, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each text in the draws. Default: None, ``row_offset`` and up.

    Returns:
        A list with a string for each string, its words joined by blanks, and a list for each list.

    Raises:
        TypeError: a text, rule or number has the wrong type.
        ValueError: a number or name is out of range, or a rule lacks its synonyms.

    Reference: Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
    Tasks", EMNLP 2019.
    """
    seed = int(seed_tensor(generator, function="augment_text"))
    numbers = sample_ids.cpu().numpy() if isinstance(sample_ids, Tensor) else sample_ids
    options = {"synonyms": synonyms, "mask_word": mask_word, "keep": keep, "choose": choose}
    return host.augment_text(texts, rules, **options, seed=seed, row_offset=row_offset, sample_ids=numbers)  # type: ignore[arg-type]


class BackTranslation:
    """Paraphrases by translation into another language and back, with the translators that you have.

    ``BackTranslation(to_german, to_english)(texts)``. Draws and models are the translators' own.

    Args:
        forward: takes a list of strings and returns as many, in the other language.
        backward: the same, back.
        batch_size: strings of one call, at least 1. Default: None, all at once.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``batch_size`` is out of range.

    Reference: Sennrich et al., "Improving Neural Machine Translation Models with Monolingual Data", ACL 2016; Xie et
    al., "Unsupervised Data Augmentation for Consistency Training", NeurIPS 2020.
    """

    def __init__(self, forward: Translate, backward: Translate, *, batch_size: int | None = None) -> None:
        name = type(self).__name__
        for of, function in (("forward", forward), ("backward", backward)):
            if not callable(function):
                raise TypeError(f"{name}: {of} must be callable, got {type(function).__name__}")
        if batch_size is not None:
            batch_size = _check.integer(name, "batch_size", batch_size, 1)
        self.forward, self.backward, self.batch_size = forward, backward, batch_size

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """The paraphrases, in the order of the texts.

        Raises:
            TypeError: if ``texts`` is no list of strings, or a translator returns something else.
            ValueError: if a translator returns more or fewer strings than it was given.
        """
        found = self._strings("texts", texts)
        size = self.batch_size or max(len(found), 1)
        results: list[str] = []
        for first in range(0, len(found), size):
            batch = found[first : first + size]
            there = self._translated("forward", self.forward, batch)
            results += self._translated("backward", self.backward, there)
        return results

    def _translated(self, of: str, function: Translate, batch: list[str]) -> list[str]:
        results = self._strings(f"the results of {of}", function(list(batch)))
        if len(results) != len(batch):
            raise ValueError(
                f"{type(self).__name__}: {of} must return {len(batch)} strings for as many, got {len(results)}"
            )
        return results

    def _strings(self, of: str, value: Any) -> list[str]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
            got = type(value).__name__ if not isinstance(value, (list, tuple)) else f"{value!r:.60}"
            raise TypeError(f"{type(self).__name__}: {of} must be a list of strings, got {got}")
        return list(value)
