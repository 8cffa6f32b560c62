"""Time span masks by definition (Baevski et al., 2020, section 3.1), and as transformers and fairseq draw them."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.fairseq_span_mask import fairseq_mask
from sslfast.reference.philox import philox, philox_rows

TIME_SPAN_START, TIME_SPAN_COUNT, TIME_SPAN_BATCH = 70, 71, 72


def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = 0.65,
    mask_length: int = 10,
    lengths: Tensor | None = None,
    min_masks: int = 0,
    mode: str = "exact",
    mask_type: str = "static",
    mask_other: float = 0.0,
    no_overlap: bool = False,
    min_space: int = 0,
    idc_select_ver: int = 1,
    num_mask_ver: int = 2,
    require_same_masks: bool = False,
    add_masks: bool = False,
    mask_dropout: float = 0.0,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.time_mask`` with an int seed."""
    if mode == "fairseq":
        return fairseq_mask(
            batch_size,
            length,
            mask_prob=mask_prob,
            mask_length=mask_length,
            lengths=lengths,
            min_masks=min_masks,
            mask_type=mask_type,
            mask_other=mask_other,
            no_overlap=no_overlap,
            min_space=min_space,
            idc_select_ver=idc_select_ver,
            num_mask_ver=num_mask_ver,
            require_same_masks=require_same_masks,
            add_masks=add_masks,
            mask_dropout=mask_dropout,
            seed=seed,
            row_offset=row_offset,
            sample_ids=sample_ids,
        )
    numbers = torch.arange(batch_size) + row_offset if sample_ids is None else sample_ids
    frames = [length] * batch_size if lengths is None else [min(max(int(n), 0), length) for n in lengths]
    batch_word = int(philox(seed, TIME_SPAN_BATCH, torch.tensor(0), torch.tensor(0))[0])
    row_words = philox_rows(seed, TIME_SPAN_COUNT, batch_size, 1, row_offset, sample_ids)[:, 0, 0].tolist()

    def rounded(word: int, n: int) -> int:
        exact = mask_prob * n / mask_length
        whole = int(exact)
        return max(whole + (word < int((exact - whole) * 2**32 + 0.5)), min_masks)

    def as_transformers(n: int) -> int:
        return max(min(rounded(batch_word, n), length // mask_length, n - mask_length + 1), 0)

    mask = torch.zeros(batch_size, length, dtype=torch.bool)
    for r, n in enumerate(frames):
        starts = n - mask_length + 1
        if mode == "exact":
            spans = min(rounded(row_words[r], n), max(n - 1, 0) // mask_length)  # one frame is left
        else:
            spans = as_transformers(n)
            if spans == 0 and as_transformers(length) > 0:
                mask[r, -1] = True
        words = philox(seed, TIME_SPAN_START, numbers[r], torch.arange(-(-spans // 4))).flatten().tolist()
        chosen: set[int] = set()
        for word, newest in zip(words, range(starts - spans, starts), strict=False):
            drawn = word * (newest + 1) >> 32
            chosen.add(newest if drawn in chosen else drawn)
        for start in chosen:
            mask[r, start : start + mask_length] = True
    return mask
