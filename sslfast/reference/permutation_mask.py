"""XLNet's masks by definition (Yang et al., 2019; transformers, ``DataCollatorForPermutationLanguageModeling``)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox, philox_rows

PERMUTATION_SPAN, PERMUTATION_ORDER, SPARE = 24, 25, 0xFFFFFFFF


def spans(special: list[bool], draws: list[list[int]], spare: int, contexts: list[int], compat: bool) -> list[int]:
    """The masked tokens of one row; ``draws[k]`` are the words of context k: a length, a place, a rounding."""
    tokens = [t for t, s in enumerate(special) if compat or not s]
    if not tokens:
        return []
    begin, high = tokens[0], tokens[-1] + 1
    low, masked = begin, []
    for length, place, rounding, _ in draws:
        if begin >= high:
            break
        span = 1 + (length * len(contexts) >> 32)
        context = room = contexts[span - 1]
        if not compat and high - begin < context:
            room = high - begin
            span = (room * span + (rounding * context >> 32)) // context
        first = begin + (place * (room - span + 1) >> 32)
        masked += [t for t in range(first, min(first + span, high)) if not special[t]]
        begin += context
    if not masked and not compat:
        size = high - low
        ring = [low + ((spare * size >> 32) + step) % size for step in range(size)]
        masked = [next(t for t in ring if not special[t])]
    return masked


def permutation_mask(
    ids: Tensor,
    *,
    mask_token_id: int,
    special_tokens_mask: Tensor | None = None,
    plm_probability: float = 1 / 6,
    max_span_length: int = 5,
    dtype: torch.dtype = torch.float32,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``sslfast.masking.permutation_mask`` with an int seed."""
    rows, length = ids.shape
    compat = mode == "compat"
    numbers = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    special = torch.zeros(rows, length) if special_tokens_mask is None else special_tokens_mask
    special = special.bool()
    contexts = [int(span / plm_probability) for span in range(1, max_span_length + 1)]
    draws = philox_rows(seed, PERMUTATION_SPAN, rows, length + 1, row_offset, sample_ids).tolist()
    spare = philox(seed, PERMUTATION_SPAN, numbers, torch.tensor(SPARE))[:, 0].tolist()
    words = philox_rows(seed, PERMUTATION_ORDER, rows, -(-length // 4), row_offset, sample_ids).flatten(1)
    mask = torch.zeros(rows, length, dtype=torch.bool)
    for r in range(rows):
        mask[r, spans(special[r].tolist(), draws[r], spare[r], contexts, compat)] = True
    keys = words[:, : length // 2] if compat else words[:, :length]
    order = torch.argsort(torch.argsort(keys, dim=1, stable=True), dim=1)
    if compat:
        order = torch.cat([order, length // 2 + order], 1)
    order = torch.where(mask | (special & compat), order, -1)
    perm_mask = (order[:, :, None] <= order[:, None, :]) & mask[:, None, :]
    out, labels = torch.where(mask, mask_token_id, ids).to(ids.dtype), torch.where(mask, ids, -100).to(ids.dtype)
    target_mapping = torch.eye(length, dtype=dtype).expand(rows, length, length)
    return out, labels, perm_mask.to(dtype), target_mapping, mask, order
