"""Masking of text by spans, over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host._span_lengths import length_thresholds
from sslfast.host._tokens import like_ids, replacement
from sslfast.host.mask_indices import compact


class MaskedSpans(NamedTuple):
    """Masked ids: ``sslfast.masking.MaskedSpans`` in NumPy arrays.

    Attributes:
        ids: (N, L), dtype of the ids, with the masked tokens replaced.
        labels: (N, L), dtype of the ids: the original id where masked, -100 elsewhere.
        mask: bool (N, L), True where masked.
    """

    ids: NDArray[Any]
    labels: NDArray[Any]
    mask: NDArray[np.bool_]


class CountedSpans(NamedTuple):
    """:class:`MaskedSpans` and its compact form, what losses take: :func:`mask_spans` with ``return_counts``.

    Attributes:
        ids, labels, mask: as of :class:`MaskedSpans`.
        indices: int64 (N * L,), the flat positions of the masked tokens in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    ids: NDArray[Any]
    labels: NDArray[Any]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


@overload
def mask_spans(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: NDArray[Any] | None = ...,
    special_tokens_mask: NDArray[Any] | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: NDArray[np.int64] | None = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> MaskedSpans: ...


@overload
def mask_spans(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: NDArray[Any] | None = ...,
    special_tokens_mask: NDArray[Any] | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: NDArray[np.int64] | None = ...,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedSpans: ...


@overload
def mask_spans(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: NDArray[Any] | None = ...,
    special_tokens_mask: NDArray[Any] | None = ...,
    mask_ratio: float = ...,
    length_law: str | Sequence[float] = ...,
    geometric_p: float = ...,
    min_span: int = ...,
    max_span: int = ...,
    replace_per: str = ...,
    mask_replace_prob: float = ...,
    random_replace_prob: float = ...,
    random_token_ids: NDArray[np.int64] | None = ...,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> MaskedSpans | CountedSpans: ...


def mask_spans(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    word_ids: NDArray[Any] | None = None,
    special_tokens_mask: NDArray[Any] | None = None,
    mask_ratio: float = 0.15,
    length_law: str | Sequence[float] = "geometric",
    geometric_p: float = 0.2,
    min_span: int = 1,
    max_span: int = 10,
    replace_per: str = "span",
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: NDArray[np.int64] | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskedSpans | Any:
    """Masks spans of words as SpanBERT does: :func:`sslfast.masking.mask_spans` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides, in [0, ``vocab_size``). Not changed.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        word_ids: shape of ``ids``, integer: neighbours with equal numbers are one word, tokens below 0 are never
            masked. Default: None, every token is a word.
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked. Default: None.
        mask_ratio: share of a row's maskable tokens that is masked, rounded up. Default: 0.15.
        length_law: ``"geometric"``, ``"ngram"`` or the probabilities of the lengths. Default: ``"geometric"``.
        geometric_p: parameter of the geometric law, in (0, 1]. Default: 0.2.
        min_span: words in the shortest span. Default: 1.
        max_span: words in the longest. Default: 10.
        replace_per: ``"span"`` or ``"token"``. Default: ``"span"``.
        mask_replace_prob: share of the spans (tokens) that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the spans (tokens) that become random ids. Default: 0.1.
        random_token_ids: int64 (R,), the ids that random words are drawn from, in [0, ``vocab_size``): an id that is
            there twice is drawn twice as often. Default: None, every id below ``vocab_size``.
        mode: ``"exact"``, or ``"compat"``, in which ids are not looked at. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``MaskedSpans(ids, labels, mask)``; with ``return_counts``
        ``CountedSpans(ids, labels, mask, indices, counts)``.

    Raises:
        TypeError: an array has another dtype, or a number or ``return_counts`` the wrong type.
        ValueError: a shape, number, name or id is out of range, or the two replacement shares exceed 1.

    Reference: Joshi et al., "SpanBERT: Improving Pre-training by Representing and Predicting Spans", TACL 2020.
    """
    name = "mask_spans"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim != 2 or ids.shape[1] >= 2**28:
        raise ValueError(f"{name}: ids must have shape (N, L) with L < 2^28, got {ids.shape}")
    if word_ids is not None:
        word_ids = np.require(like_ids(name, "word_ids", word_ids, ids), np.int64, "A")
    special = special_tokens_mask
    if special is not None:
        special = like_ids(name, "special_tokens_mask", special, ids, kind="bool or integer").astype(
            np.bool_, copy=False
        )
    rule = replacement(name, ids, mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
    numbers = check_numbers(name, mask_ratio, length_law, geometric_p, min_span, max_span, replace_per)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    exact = _check.mode_is_exact(name, mode)
    threads = _arguments.threads(name, threads)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(ids))
    kernel = _host.text_span_mask_int32 if ids.dtype == np.int32 else _host.text_span_mask_int64
    out = MaskedSpans(
        *kernel(
            np.require(ids, requirements="A"),  # strides of a packed record are no whole elements: copied
            special,
            word_ids,
            _arguments.seed_bits(name, seed),
            sample_ids,
            rule.mask_token_id,
            rule.vocab_size,
            *numbers,
            rule.mask_replace_prob,
            rule.random_replace_prob,
            row_offset,
            rule.random_token_ids,
            exact,
            threads,
        )
    )
    return CountedSpans(*out, *compact(out.mask, threads=threads)) if return_counts else out


def check_numbers(
    function: str,
    mask_ratio: float,
    length_law: str | Sequence[float],
    geometric_p: float,
    min_span: int,
    max_span: int,
    replace_per: str,
) -> tuple[Any, ...]:
    """The numbers as the kernels take them.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number or a name is out of range.
    """
    mask_ratio = _check.probability(function, "mask_ratio", mask_ratio)
    thresholds = length_thresholds(function, length_law, geometric_p, min_span, max_span)
    _check.one_of(function, "replace_per", replace_per, ("span", "token"))
    return mask_ratio, min_span, thresholds, replace_per == "span"
