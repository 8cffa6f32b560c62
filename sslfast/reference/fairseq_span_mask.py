"""Time span masks as fairseq draws them, by definition: ``fairseq.data.data_utils.compute_mask_indices``.

The draws are laid out anew, counter by counter; their distribution is fairseq's. Where fairseq fails or raises, what is
done instead is said at the place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast.reference.philox import philox, philox_rows

TIME_SPAN_LENGTH, TIME_SPAN_START, TIME_SPAN_COUNT, TIME_SPAN_BATCH = 65, 70, 71, 72
TIME_SPAN_TRIM, TIME_SPAN_DROPOUT = 73, 74


def fairseq_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float,
    mask_length: int,
    lengths: Tensor | None,
    min_masks: int,
    mask_type: str,
    mask_other: float,
    no_overlap: bool,
    min_space: int,
    idc_select_ver: int,
    num_mask_ver: int,
    require_same_masks: bool,
    add_masks: bool,
    mask_dropout: float,
    seed: int,
    row_offset: int,
    sample_ids: Tensor | None,
) -> Tensor:
    """``sslfast.masking.time_mask(mode="fairseq")`` with an int seed."""
    numbers = torch.arange(batch_size) + row_offset if sample_ids is None else sample_ids
    frames = [length] * batch_size if lengths is None else [min(max(int(n), 0), length) for n in lengths]
    row_words = philox_rows(seed, TIME_SPAN_COUNT, batch_size, 1, row_offset, sample_ids)[:, 0, 0].tolist()
    if num_mask_ver == 1 and lengths is None:
        row_words = [int(philox(seed, TIME_SPAN_BATCH, torch.tensor(0), torch.tensor(0))[0])] * batch_size

    mask = torch.zeros(batch_size, length, dtype=torch.bool)
    for row, number, n, word in zip(mask, numbers, frames, row_words, strict=True):
        exact = mask_prob * n / mask_length
        whole = int(exact)
        spans = max(whole + (word < int((exact - whole) * 2**32 + 0.5)), min_masks)
        spans = min(spans, length if no_overlap else n if idc_select_ver == 2 else length - 1)  # fairseq fails above
        drawn = [
            min(span_length(word, mask_type, mask_length, mask_other), length)
            for word in _words(seed, TIME_SPAN_LENGTH, number, spans)
        ]
        if mask_type != "static" and sum(drawn) == 0:  # fairseq fails here where spans overlap and are not 1
            drawn = [min(mask_length, n - 1)] if n > 1 else []
        place = _apart if no_overlap else _overlapping
        for start, frames_of_span in place(drawn, n, seed, number, min_space if no_overlap else idc_select_ver):
            row[start : min(start + frames_of_span, n)] = True

    counts = mask.sum(1).tolist()
    for row, number, count in zip(mask, numbers, counts, strict=True):
        if require_same_masks:
            target = max(counts) if add_masks else min(counts)
            _flip(row, count > target, abs(count - target), seed, TIME_SPAN_TRIM, number)
            count = target
        _flip(row, True, round(count * mask_dropout), seed, TIME_SPAN_DROPOUT, number)
    return mask


def span_length(word: int, mask_type: str, mask_length: int, mask_other: float) -> int:
    """The length at the quantile (word + 1/2) / 2^32 of its law, where Poisson's numbers are in the order of their
    distance from the mean: mean, mean + 1, mean - 1, mean + 2, ...
    """
    if mask_type == "static":
        return mask_length
    if mask_type == "uniform":
        least = int(mask_other)
        return least + (word * (2 * mask_length - least + 1) >> 32)
    u = (word + 0.5) / 2**32
    if mask_type == "normal":
        return max(
            1, round(mask_length + mask_other * float(torch.special.ndtri(torch.tensor(u, dtype=torch.float64))))
        )
    for step in range(int(8 * math.sqrt(mask_length)) + 65):
        for number in dict.fromkeys((mask_length + step, mask_length - step)):
            if number >= 0:
                u -= math.exp(number * math.log(mask_length) - mask_length - math.lgamma(number + 1))
            if u < 0:
                return number
    return mask_length


def _words(seed: int, stream: int, number: Tensor, count: int) -> list[int]:
    return philox(seed, stream, number, torch.arange(-(-count // 4))).flatten().tolist()[:count]


def _overlapping(drawn: list[int], n: int, seed: int, number: Tensor, idc_select_ver: int) -> list[tuple[int, int]]:
    """(start, length) of each span; starts are different, by Floyd's algorithm. The last place where the shortest span
    fits is left out, and where the row has no room for them all there is one start more than spans.
    """
    if not drawn:
        return []
    starts = n if idc_select_ver == 2 else max(n - min(drawn), len(drawn) + 1)
    chosen: dict[int, int] = {}
    words = _words(seed, TIME_SPAN_START, number, len(drawn))
    for word, newest, frames in zip(words, range(starts - len(drawn), starts), drawn, strict=True):
        at = word * (newest + 1) >> 32
        chosen[newest if at in chosen else at] = frames
    return list(chosen.items())


def _apart(drawn: list[int], n: int, seed: int, number: Tensor, min_space: int) -> list[tuple[int, int]]:
    """(start, length) of the spans that find a place, the longest first: in a part of the row, chosen by its size,
    anywhere but at its end. What is left of the part to both sides is a part again if it is longer than the shortest
    span. A part as long as the span is not chosen (fairseq fails when it is).
    """
    parts, placed = [(0, n)], []
    for i, frames in enumerate(sorted(drawn, reverse=True)):
        sizes = [end - begin if end - begin >= frames + max(min_space, 1) else 0 for begin, end in parts]
        if frames == 0 or sum(sizes) == 0:
            break
        words = philox(seed, TIME_SPAN_START, number, torch.tensor(i)).tolist()
        at = words[0] * sum(sizes) >> 32
        chosen = next(c for c in range(len(parts)) if at < sum(sizes[: c + 1]))
        begin, end = parts[chosen]
        start = begin + (words[1] * (end - frames - begin) >> 32)
        placed.append((start, frames))
        parts[chosen] = parts[-1]  # their order is that of the kernels
        parts.pop()
        sides = (begin, start - min_space + 1), (start + frames + min_space, end)
        parts += [(left, right) for left, right in sides if right - left > min(drawn)]
    return placed


def _flip(row: Tensor, value: bool, wanted: int, seed: int, stream: int, number: Tensor) -> None:
    """Flips ``wanted`` random ones of the cells of this value."""
    cells = (row == value).nonzero().flatten().tolist()
    words = _words(seed, stream, number, len(cells))
    for seen, cell in enumerate(cells):
        if words[seen] * (len(cells) - seen) >> 32 < wanted:
            row[cell] = not value
            wanted -= 1
