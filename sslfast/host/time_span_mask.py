"""Time span masks over NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host, _time_spans
from sslfast.host import _arguments
from sslfast.host.mask_indices import CountedMask, MaskOrCounted, counted


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: NDArray[Any] | None = ...,
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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: NDArray[Any] | None = ...,
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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedMask: ...


@overload
def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = ...,
    mask_length: int = ...,
    lengths: NDArray[Any] | None = ...,
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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = 0.65,
    mask_length: int = 10,
    lengths: NDArray[Any] | None = None,
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
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks spans of frames: :func:`sslfast.masking.time_mask` in NumPy; what the modes are is said there.

    Args:
        batch_size: number of rows N, at least 0.
        length: frames per row T, at least 1.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1]. Default: 0.65.
        mask_length: frames per span, at least 1. Default: 10.
        lengths: integer (N,), the frames of each row before its padding, in [0, T]. Default: None, all T.
        min_masks: least number of spans of a row, as far as they fit. Default: 0.
        mode: "exact", "hf", which "compat" is too, or "fairseq". Default: "exact".
        mask_type: fairseq's: lengths of spans, "static", "uniform", "normal" or "poisson". Default: "static".
        mask_other: fairseq's: least length of "uniform", standard deviation of "normal". Default: 0.
        no_overlap: fairseq's: spans are placed beside one another. Default: False.
        min_space: fairseq's: frames between them, with ``no_overlap`` alone. Default: 0.
        idc_select_ver: fairseq's: 2 draws starts up to the last frame. Default: 1.
        num_mask_ver: fairseq's: 1 rounds the numbers of spans by one draw of the batch where ``lengths`` is None.
            Default: 2.
        require_same_masks: fairseq's: all rows mask as many frames as the row with the fewest. Default: False.
        add_masks: fairseq's: as many as the row with the most. Default: False.
        mask_dropout: fairseq's: share of the masked frames that is unmasked again at the end. Default: 0.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, T), True where masked. With ``return_counts`` ``CountedMask(mask, indices, counts)`` with int64
        (N * T,), the flat positions of the masked frames and then -1, and int64 (N,), how many each row has.

    Raises:
        TypeError: a number or array has the wrong type.
        ValueError: a number, or one of ``lengths``, is out of range, spans would mask every frame of every full row in
            mode "exact", there is no such mode or ``mask_type``, an option of another mode is set, or an array has
            another shape.

    Reference: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 3.1.
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
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    lengths = _arguments.row_lengths(name, lengths, batch_size, length)
    draws = (_arguments.seed_bits(name, seed), sample_ids, lengths)
    threads = _arguments.threads(name, threads)
    spans = (batch_size, length, mask_prob, mask_length, min_masks)
    if mode == "fairseq":
        mask = _host.fairseq_span_mask(*draws, *spans, *law, row_offset, threads)[0]
    else:
        mask = _host.time_span_mask(*draws, *spans, rule, row_offset, threads)
    return counted(mask, return_counts, threads=threads)
