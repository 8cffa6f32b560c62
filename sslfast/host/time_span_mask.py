"""Time span masks over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def time_mask(
    batch_size: int,
    length: int,
    *,
    mask_prob: float = 0.65,
    mask_length: int = 10,
    lengths: NDArray[Any] | None = None,
    min_masks: int = 0,
    mode: str = "exact",
    require_same_masks: bool = False,
    add_masks: bool = False,
    mask_dropout: float = 0.0,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[np.bool_]:
    """Masks spans of frames: :func:`sslfast.masking.time_mask` in NumPy; what the modes are is said there.

    Args:
        batch_size: number of rows N, at least 0.
        length: frames per row T, at least 1.
        mask_prob: masked frames per frame if spans did not overlap, in [0, 1]. Default: 0.65.
        mask_length: frames per span, at least 1. Default: 10.
        lengths: integer (N,), the frames of each row before its padding; numbers outside [0, T] count as the nearest of
            the two. Default: None, all T.
        min_masks: least number of spans of a row, as far as they fit. Default: 0.
        mode: "exact", "hf" or "fairseq". Default: "exact".
        require_same_masks: fairseq's: all rows mask as many frames as the row with the fewest. Default: False.
        add_masks: fairseq's: as many as the row with the most. Default: False.
        mask_dropout: fairseq's: share of the masked frames that is unmasked again at the end. Default: 0.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, T), True where masked.

    Raises:
        TypeError: a number or array has the wrong type.
        ValueError: a number is out of range, there is no such mode, an option of another mode is set, or an array has
            another shape.

    Reference: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 3.1.
    """
    name = "time_mask"
    sizes = _check.time_spans(
        name, batch_size, length, mask_prob, mask_length, min_masks, mode, require_same_masks, add_masks, mask_dropout
    )
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, sizes[0])
    return _host.time_span_mask(
        _arguments.seed_bits(name, seed),
        sample_ids,
        _arguments.row_lengths(name, lengths, sizes[0]),
        *sizes,
        row_offset,
        _arguments.threads(name, threads),
    )
