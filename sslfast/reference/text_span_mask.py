"""SpanBERT's masking by definition (Joshi et al., 2020, section 3.1), with a bounded number of tries."""

from __future__ import annotations

import math
from bisect import bisect_right

import torch
from torch import Tensor

from sslfast.reference.philox import philox, philox_rows

TEXT_SPAN, TEXT_SPAN_REPLACE, FILL = 22, 23, 0xFFFFFFFF


def chosen(
    words: list[int | None], ratio: float, draws: list[list[int]], fill: int, thresholds: list[int], min_span: int
) -> list[int]:
    """The tokens that are masked, of a row whose token t is of word ``words[t]``, None where it is never masked.

    ``draws[k]`` are the words of try k: the length of a span, and the token that it is put on.
    """
    maskable = [t for t, word in enumerate(words) if word is not None]
    budget = min(math.ceil(len(maskable) * ratio), len(maskable))
    masked: set[int] = set()
    if budget == 0:
        return []
    low, size = maskable[0], maskable[-1] + 1 - maskable[0]
    for length, place, *_ in draws[: 8 * budget + 32]:
        if len(masked) == budget:
            break
        t = low + (place * size >> 32)
        if words[t] is None or t in masked:
            continue
        while t > 0 and words[t - 1] == words[t]:
            t -= 1
        left = min_span + bisect_right(thresholds[:-1], length)  # words of the span
        while left > 0 and t < len(words) and words[t] is not None and len(masked) < budget:
            word = words[t]
            while t < len(words) and words[t] == word and len(masked) < budget:
                masked.add(t)
                t += 1
            left -= 1
    start = fill * size >> 32
    for step in range(size):
        t = low + (start + step) % size
        if len(masked) < budget and words[t] is not None:
            masked.add(t)
    return sorted(masked)


def mask_spans(
    ids: Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    thresholds: list[int],
    word_ids: Tensor | None = None,
    special_tokens_mask: Tensor | None = None,
    mask_ratio: float = 0.15,
    min_span: int = 1,
    replace_per: str = "span",
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    random_token_ids: Tensor | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_spans`` with an int seed; the cumulative ``thresholds`` are the law of the lengths."""
    rows, length = ids.shape
    numbers = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    tries = philox_rows(seed, TEXT_SPAN, rows, 8 * length + 32, row_offset, sample_ids)
    fills = philox(seed, TEXT_SPAN, numbers, torch.tensor(FILL))[:, 0]
    replace = philox_rows(seed, TEXT_SPAN_REPLACE, rows, length, row_offset, sample_ids)
    replace_below = int(mask_replace_prob * 2**32 + 0.5)
    random_below = replace_below + int(random_replace_prob * 2**32 + 0.5)
    out, labels, mask = ids.clone(), torch.full_like(ids, -100), torch.zeros(rows, length, dtype=torch.bool)
    for r in range(rows):
        words: list[int | None] = list(range(length)) if word_ids is None else word_ids[r].tolist()
        for t in range(length):
            never = special_tokens_mask is not None and bool(special_tokens_mask[r, t])
            if never or (word_ids is not None and int(word_ids[r, t]) < 0):
                words[t] = None
        masked = chosen(words, mask_ratio, tries[r].tolist(), int(fills[r]), thresholds, min_span)
        first = -2
        for previous, t in zip([-2, *masked], masked, strict=False):
            first = t if replace_per == "token" or previous != t - 1 else first
            kind, word = int(replace[r, first, 0]), int(replace[r, t, 1])
            if kind < replace_below:
                out[r, t] = mask_token_id
            elif kind < random_below:
                drawn = word * (vocab_size if random_token_ids is None else len(random_token_ids)) >> 32
                out[r, t] = drawn if random_token_ids is None else int(random_token_ids[drawn])
        mask[r, masked] = True
    labels[mask] = ids[mask]
    return out, labels, mask
