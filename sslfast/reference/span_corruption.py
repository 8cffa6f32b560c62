"""T5 span corruption by definition (Raffel et al., 2020, section 3.1.4): cut points first, then the two outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

SPAN_CORRUPTION = 20


def counts(length: int, noise_density: float, mean: float, mode: str) -> tuple[int, int]:
    """Tokens of noise, and spans that they fall into."""
    if length < 2:
        return 0, 0
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean), 1), noise)
    return noise, min(spans, length - noise + (mode == "exact"))


def noise_spans(words: list[int], noise: int, spans: int, mode: str) -> list[tuple[int, int]]:
    """(first token, end) of each span; ``words[t]`` decides whether a segment ends before token t.

    A boundary is taken when ``word * boundaries left >> 32`` is below the number of boundaries still to take.
    """
    found: list[tuple[int, int]] = []
    keep, left = len(words) - noise, spans
    t = 0
    while t < len(words):
        # What is kept before the next span: in compat mode a token at least, and the last gap is the end of the row.
        while True:
            if mode == "exact":
                begins = words[t] * (keep + 1) >> 32 < left if t < len(words) else False
            elif t == 0:
                begins = False
            else:
                begins = keep == 0 or words[t] * keep >> 32 < left - 1
            if begins or keep == 0:
                break
            t, keep = t + 1, keep - 1
            if t == len(words):
                return found
        first, left = t, left - 1
        t, noise = t + 1, noise - 1
        while noise > 0 and words[t] * noise >> 32 >= left:
            t, noise = t + 1, noise - 1
        found.append((first, t))
        if keep == 0:
            break
        t, keep = t + 1, keep - 1  # what follows a span is kept
    return found


def corrupt_spans(
    ids: Tensor,
    *,
    sentinel_id: int,
    eos_token_id: int | None = 1,
    pad_token_id: int = 0,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    descending: bool = True,
    ignore_index: int = -100,
    lengths: Tensor | None = None,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.corrupt_spans`` with an int seed."""
    rows, length = ids.shape
    eos = [] if eos_token_id is None else [eos_token_id]
    noise, spans = counts(length, noise_density, mean_noise_span_length, mode)
    words = philox_rows(seed, SPAN_CORRUPTION, rows, -(-length // 4), row_offset, sample_ids).flatten(1)
    inputs = torch.full((rows, length - noise + spans + len(eos)), pad_token_id, dtype=ids.dtype)
    targets = torch.full((rows, noise + spans + len(eos)), ignore_index, dtype=ids.dtype)
    input_lengths = torch.zeros(rows, dtype=torch.int64)
    for r in range(rows):
        row = ids[r, : length if lengths is None else min(max(int(lengths[r]), 0), length)].tolist()
        noise, spans = counts(len(row), noise_density, mean_noise_span_length, mode)
        found = noise_spans(words[r, : len(row)].tolist(), noise, spans, mode) if spans else []
        kept, dropped, end = [], [], 0
        for k, (first, last) in enumerate(found):
            sentinel = sentinel_id - k if descending else sentinel_id + k
            kept += [*row[end:first], sentinel]
            dropped += [sentinel, *row[first:last]]
            end = last
        kept += row[end:] + eos
        dropped += eos
        inputs[r, : len(kept)] = torch.tensor(kept, dtype=ids.dtype)
        targets[r, : len(dropped)] = torch.tensor(dropped, dtype=ids.dtype)
        input_lengths[r] = len(kept)
    return inputs, targets, input_lengths
