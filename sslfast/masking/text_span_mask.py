"""Masking of text by spans of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.text_span_mask import check_numbers
from sslfast.masking._arguments import numbered_rows, strided
from sslfast.masking._tokens import like_ids, replacement
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator, seed_tensor


class MaskedSpans(NamedTuple):
    """Masked ids, what they were, and where they are.

    Attributes:
        ids: (N, L), dtype of the ids, with the masked tokens replaced.
        labels: (N, L), dtype of the ids: the original id where masked, -100 elsewhere.
        mask: bool (N, L), True where masked; ``mask_indices(mask)`` is its compact form.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor


class CountedSpans(NamedTuple):
    """:class:`MaskedSpans` and its compact form, what losses take: :func:`mask_spans` with ``return_counts``.

    Attributes:
        ids, labels, mask: as of :class:`MaskedSpans`.
        indices: int64 (N * L,), the flat positions of the masked tokens in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    indices: Tensor
    counts: Tensor


@overload
def mask_spans(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: Tensor | None = ...,
    special_tokens_mask: Tensor | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: Tensor | None = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> MaskedSpans: ...


@overload
def mask_spans(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: Tensor | None = ...,
    special_tokens_mask: Tensor | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: Tensor | None = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> CountedSpans: ...


@overload
def mask_spans(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: Tensor | None = ...,
    special_tokens_mask: Tensor | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: Tensor | None = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
) -> MaskedSpans | CountedSpans: ...


def mask_spans(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: Tensor | None = None,
    special_tokens_mask: Tensor | None = None,
    mask_ratio: float = 0.15,
    length_law: str | Sequence[float] = "geometric",
    geometric_p: float = 0.2,
    min_span: int = 1,
    max_span: int = 10,
    replace_per: str = "span",
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> MaskedSpans | Any:
    """Masks spans of whole words as SpanBERT does, exactly ``ceil(maskable tokens * mask_ratio)`` tokens in every row.

    Until that budget is spent, a length in words is drawn from the law and a token uniformly from those of the row; if
    it is free, its word and the words after it are masked, up to that length, to the end of the row, or to a token that
    is never masked. The last span ends where the budget does, inside a word if need be; a span may run over tokens that
    are masked already, and spans that touch count as one. Then of the spans (or, with ``replace_per="token"``, of the
    tokens) 80 % become ``[MASK]``, 10 % random ids, 10 % stay.

    The law of the lengths is ``"geometric"``, p (1 - p)^(n - min_span) cut off at ``max_span`` and normalised, which is
    SpanBERT's with a mean of 3.8; ``"ngram"``, 1 / n, which is ALBERT's with ``max_span=3``; or probabilities of your
    own. In distribution this is SpanBERT's ``PairWithSpanMaskingScheme``, which draws random ids from the tokens of its
    corpus: ``random_token_ids`` are these. ``"exact"`` and ``"compat"`` have this one distribution, the same bits;
    ``"compat"`` lets ids outside of the vocabulary pass, as SpanBERT does. Tries are bounded by 8 a masked token and
    32: what they leave, where nearly all of a row is masked, is masked in order from a random token on, so the number
    is exact always.

    The draws depend on (seed, number of the row, try or token) alone. ``ids`` is not changed. One launch and no host
    synchronisation on a GPU.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides, in [0, ``vocab_size``), padding and special tokens
            too; on a GPU, where they are not looked at, others are copied as they are.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        word_ids: shape of ``ids``, integer: neighbours with equal numbers are one word, tokens below 0 are never masked
            (a tokenizer's ``word_ids()`` with -1 for None). Default: None, every token is a word.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mask_ratio: share of a row's maskable tokens that is masked, rounded up, in [0, 1]. Default: 0.15.
        length_law: ``"geometric"``, ``"ngram"`` or the probabilities of the lengths ``min_span`` to ``max_span``, which
            are divided by their sum. Default: ``"geometric"``.
        geometric_p: parameter of the geometric law, in (0, 1]. Default: 0.2.
        min_span: words in the shortest span, at least 1. Default: 1.
        max_span: words in the longest, at most 63 more. Default: 10.
        replace_per: ``"span"``, a span is replaced as one, or ``"token"``. Default: ``"span"``.
        mask_replace_prob: share of the spans (tokens) that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the spans (tokens) that become random ids. Default: 0.1.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``), checked on the
            CPU alone and not under torch.compile: an id that is there twice is drawn twice as often. Default: None,
            every id below ``vocab_size``, special ones too.
        mode: ``"exact"``, or ``"compat"``, in which ids are not looked at, see above. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``MaskedSpans(ids, labels, mask)``; with ``return_counts``
        ``CountedSpans(ids, labels, mask, indices, counts)``.

    Raises:
        TypeError: a tensor has another dtype than above, or a number or ``return_counts`` the wrong type.
        ValueError: a shape, device, number, name or, on the CPU, id is out of range, the two replacement shares exceed
            1, or the generator is on another GPU.

    Reference: Joshi et al., "SpanBERT: Improving Pre-training by Representing and Predicting Spans", TACL 2020, section
    3.1; Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations", ICLR 2020, section
    4.1.
    """
    name = "mask_spans"
    strided(name, "ids", ids)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.dim() != 2 or ids.shape[1] >= 2**28:
        raise ValueError(f"{name}: ids must have shape (N, L) with L < 2^28, got {tuple(ids.shape)}")
    if word_ids is not None:
        word_ids = like_ids(name, "word_ids", word_ids, ids).to(torch.int64)
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").bool()
    rule = replacement(name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
    numbers = check_numbers(name, mask_ratio, length_law, geometric_p, min_span, max_span, replace_per)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    exact = _check.mode_is_exact(name, mode)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, ids.shape[0], ids.device)
    seed = seed_tensor(generator, function=name, device=ids.device)
    shares = (rule.mask_replace_prob, rule.random_replace_prob)
    arguments = (rule.mask_token_id, rule.vocab_size, *numbers, *shares, row_offset, rule.random_token_ids, exact)
    out = MaskedSpans(*ops.text_span_mask(ids, special, word_ids, seed, sample_ids, *arguments))
    return CountedSpans(*out, *compact(out.mask)) if return_counts else out
