"""Spans of masked frames for speech and other time series."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from sslfast import _check, _time_spans, ops
from sslfast.masking._arguments import numbered_rows, row_lengths
from sslfast.masking.mask_indices import CountedMask, MaskOrCounted, counted
from sslfast.random import Generator, seed_tensor


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: Tensor | None = ...,
    min_masks: int = ...,
    mode: str = ...,
    mask_type: str = ...,
    mask_other: float = ...,
    no_overlap: bool = ...,
    min_space: int = ...,
    idc_select_ver: int = ...,
    num_mask_ver: int = ...,
    require_same_masks: bool = ...,
    add_masks: bool = ...,
    mask_dropout: float = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: Tensor | None = ...,
    min_masks: int = ...,
    mode: str = ...,
    mask_type: str = ...,
    mask_other: float = ...,
    no_overlap: bool = ...,
    min_space: int = ...,
    idc_select_ver: int = ...,
    num_mask_ver: int = ...,
    require_same_masks: bool = ...,
    add_masks: bool = ...,
    mask_dropout: float = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedMask: ...


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: Tensor | None = ...,
    min_masks: int = ...,
    mode: str = ...,
    mask_type: str = ...,
    mask_other: float = ...,
    no_overlap: bool = ...,
    min_space: int = ...,
    idc_select_ver: int = ...,
    num_mask_ver: int = ...,
    require_same_masks: bool = ...,
    add_masks: bool = ...,
    mask_dropout: float = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


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
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks spans of frames, as wav2vec 2.0, HuBERT, WavLM and data2vec do.

    A row of n frames gets ``mask_prob * n / mask_length`` spans, rounded up with the probability of the fraction and at
    least ``min_masks``, whose starts are drawn without replacement, uniform over [0, n - mask_length]. Spans overlap,
    so the masked share is below ``mask_prob``: with s spans and w(t) starts that cover frame t, frame t is masked with
    probability ``1 - C(n - mask_length + 1 - w(t), s) / C(n - mask_length + 1, s)``, about ``1 - exp(-mask_prob)`` away
    from the ends (0.48 at 0.65). The first and the last frame are covered by one start each.

    The draws depend on (seed, number of the row, its number of frames) alone. No host synchronisation on a GPU.

    Modes:
        ``"exact"``: nothing in the padding is masked; a row gets no more spans than leave a frame of it side by side,
        ``(n - 1) // mask_length``, so that one frame at least stays and a row of ``mask_length`` frames or fewer is not
        masked. Every row rounds its number of spans by itself.

        ``"hf"``: the distribution of transformers' ``_compute_mask_indices``. Rows round together, with one draw of the
        batch, and a row without a span masks the last frame of the batch, **in its padding**.

        ``"fairseq"``: the distribution of fairseq's ``compute_mask_indices``, whose options exist here alone. The last
        start is left out, so **the last frame is never masked** in rows that have room. Where fairseq raises, a row is
        masked whole (no room) or not at all (no span). Lengths that add up to nothing, or of no span, become one span
        of ``min(mask_length, n - 1)`` frames, also where fairseq fails. At most T - 1 spans of a row, and those beyond
        a row's end mask nothing. With ``require_same_masks``, what a row masks depends on its batch.

    Args:
        batch_size: number of rows N, at least 0.
        length: frames per row T, at least 1.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1]. Default: 0.65.
        mask_length: frames per span, at least 1. Default: 10.
        lengths: integer (N,), the frames of each row before its padding, in [0, T]; on a GPU and under
            torch.compile, where they are not looked at, numbers outside count as the nearest of the two. Default: None,
            all T.
        min_masks: least number of spans of a row, as far as they fit. Default: 0.
        mode: "exact", "hf", which "compat" is too, or "fairseq". Default: "exact".
        mask_type: fairseq's: how the lengths of spans are drawn. "static": all are ``mask_length``; "uniform": from
            ``int(mask_other)`` to ``2 * mask_length``, both included; "normal": of mean ``mask_length`` and standard
            deviation ``mask_other``, rounded, at least 1; "poisson": of mean ``mask_length``. Default: "static".
        mask_other: fairseq's: in [0, 2 * mask_length] for "uniform", at least 0 for "normal". Default: 0.
        no_overlap: fairseq's: spans are placed one after another, the longest first, in what is left of the row, until
            one fits nowhere. Default: False.
        min_space: fairseq's: frames that are not masked between spans, with ``no_overlap`` alone. Default: 0.
        idc_select_ver: fairseq's: 2 draws starts up to the last frame, so that a span may run out of the row; not with
            ``no_overlap``. Default: 1.
        num_mask_ver: fairseq's: 1 rounds the numbers of spans by one draw of the batch where ``lengths`` is None.
            Default: 2.
        require_same_masks: fairseq's: random masked frames of every row are unmasked until all rows have as many as the
            row with the fewest. Default: False (fairseq's own default is True).
        add_masks: fairseq's: instead random frames are masked until all rows have as many as the row with the most;
            **they may lie in the padding**. Default: False.
        mask_dropout: fairseq's: share of the masked frames that is unmasked again at the end. Default: 0.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: that of ``lengths``, else torch's default device.

    Returns:
        bool (N, T), True where masked. With ``return_counts`` ``CountedMask(mask, indices, counts)`` with int64
        (N * T,), the flat positions of the masked frames and then -1, and int64 (N,), how many each row has.

    Raises:
        TypeError: a number, ``return_counts``, ``lengths``, ``sample_ids`` or the generator has the wrong type.
        ValueError: a number, or on the CPU one of ``lengths``, is out of range, spans would mask every frame of every
            full row in mode "exact" (spans of one frame, or of the row), there is no such mode or ``mask_type``, an
            option of another mode is set, ``mask_length`` exceeds ``length`` in mode "hf" or 2^31 - 1 for random
            lengths, ``lengths`` has another shape or is on another device, or the generator is on another GPU.

    Reference: Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
    NeurIPS 2020, section 3.1.
    """
    name = "time_mask"
    batch_size, length, mask_prob, mask_length, min_masks, rule = _time_spans.spans(
        name, batch_size, length, mask_prob, mask_length, min_masks, mode
    )
    return_counts = _check.boolean(name, "return_counts", return_counts)
    options = (
        mask_type,
        mask_other,
        no_overlap,
        min_space,
        idc_select_ver,
        num_mask_ver,
        require_same_masks,
        add_masks,
        mask_dropout,
    )
    if mode == "fairseq":
        law = _time_spans.fairseq_options(name, mask_length, lengths is not None, *options)
    else:
        _time_spans.no_options(name, *options)
    if device is None and isinstance(lengths, Tensor):
        device = lengths.device
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    lengths = row_lengths(name, lengths, batch_size, like.device, length)
    seed = seed_tensor(generator, function=name, device=like.device)
    if mode == "fairseq":
        spans = (batch_size, length, mask_prob, mask_length, min_masks)
        mask = ops.fairseq_span_mask(like, seed, sample_ids, lengths, *spans, *law, row_offset)[0]
        return counted(mask, return_counts)
    mask = ops.time_span_mask(
        like, seed, sample_ids, lengths, batch_size, length, mask_prob, mask_length, min_masks, rule, row_offset
    )
    return counted(mask, return_counts)
