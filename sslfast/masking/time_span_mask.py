"""Spans of masked frames for speech and other time series."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows, row_lengths
from sslfast.random import Generator, seed_tensor


def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = 0.65,
    mask_length: int = 10,
    lengths: Tensor | None = None,
    min_masks: int = 0,
    mode: str = "exact",
    require_same_masks: bool = False,
    add_masks: bool = False,
    mask_dropout: float = 0.0,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Masks spans of frames, as wav2vec 2.0, HuBERT, WavLM and data2vec do.

    A row of n frames gets ``mask_prob * n / mask_length`` spans, rounded up with the probability of the fraction and at
    least ``min_masks``, whose starts are drawn without replacement, uniform over [0, n - mask_length]. Spans overlap,
    so the masked share is below ``mask_prob``: with s spans and w(t) starts that cover frame t, frame t is masked with
    probability ``1 - C(n - mask_length + 1 - w(t), s) / C(n - mask_length + 1, s)``, about ``1 - exp(-mask_prob)`` away
    from the ends (0.48 at 0.65). The first and the last frame are covered by one start each.

    The draws depend on (seed, number of the row, its number of frames) alone. No host synchronisation on a GPU.

    Modes:
        ``"exact"``: nothing in the padding is masked; a row gets no more spans than fit into it side by side; a row
        shorter than ``mask_length`` is not masked. Every row rounds its number of spans by itself.

        ``"hf"``: the distribution of transformers' ``_compute_mask_indices``. Rows round together, with one draw of the
        batch, and a row without a span masks the last frame of the batch, **in its padding**.

        ``"fairseq"``: the distribution of fairseq's ``compute_mask_indices`` with static lengths and
        ``num_mask_ver=2``. The last start is left out, so **the last frame is never masked** in rows that have room; a
        short row may be masked whole, where fairseq raises, and a row without a span stays unmasked, where fairseq
        raises too. ``require_same_masks``, ``add_masks`` and ``mask_dropout`` exist here alone; with the first, what a
        row masks depends on its batch.

    Args:
        batch_size: number of rows N, at least 0.
        length: frames per row T, at least 1.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1]. Default: 0.65.
        mask_length: frames per span, at least 1. Default: 10.
        lengths: integer (N,), the frames of each row before its padding; numbers outside [0, T] count as the nearest of
            the two. Default: None, all T.
        min_masks: least number of spans of a row, as far as they fit. Default: 0.
        mode: "exact", "hf" or "fairseq". Default: "exact".
        require_same_masks: fairseq's: random masked frames of every row are unmasked until all rows have as many as the
            row with the fewest. Default: False (fairseq's own default is True).
        add_masks: fairseq's: instead random frames are masked until all rows have as many as the row with the most;
            **they may lie in the padding**. Default: False.
        mask_dropout: fairseq's: share of the masked frames that is unmasked again at the end. Default: 0.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: that of ``lengths``, else torch's default device.

    Returns:
        bool (N, T), True where masked. ``mask_indices`` gives the positions.

    Raises:
        TypeError: a number, ``lengths``, ``sample_ids`` or the generator has the wrong type.
        ValueError: a number is out of range, there is no such mode, an option of another mode is set, ``mask_length``
            exceeds ``length`` in mode "hf", ``lengths`` has another shape or is on another device, or the generator is
            on another GPU.

    Reference: Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
    NeurIPS 2020, section 3.1.
    """
    name = "time_mask"
    sizes = _check.time_spans(
        name, batch_size, length, mask_prob, mask_length, min_masks, mode, require_same_masks, add_masks, mask_dropout
    )
    if device is None and isinstance(lengths, Tensor):
        device = lengths.device
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, sizes[0], like.device)
    lengths = row_lengths(name, lengths, sizes[0], like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    mask, _ = ops.time_span_mask(like, seed, sample_ids, lengths, *sizes, row_offset)
    return mask
