"""Frame sub-sampling of videos over NumPy arrays, for loaders that decode the frames they need alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast._frame_clips import frame_clips
from sslfast.host import _arguments


def sample_frames(
    rows: int,
    num_frames: int,
    clip_length: int,
    *,
    stride: int = 1,
    clips: int = 1,
    mode: str = "clip",
    position: str = "random",
    out_of_range: str = "last",
    lengths: NDArray[Any] | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[np.int64]:
    """Draws which frames of each video are taken: :func:`sslfast.augment.sample_frames` in NumPy, said there in full.

    Args:
        rows: number of videos N, at least 0.
        num_frames: frames of each, in [0, 2^31).
        clip_length: frames to take, at least 1.
        stride: distance of the frames of a clip; 1 for "segments". Default: 1.
        clips: clips of each video, at least 1. Default: 1.
        mode: "clip" or "segments". Default: "clip".
        position: "random" or "centre". Default: "random".
        out_of_range: "last" or "loop". Default: "last".
        lengths: integer (N,), frames of each video, in [0, num_frames]. Default: None, all ``num_frames``.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        int64 (N, clips, clip_length) in [0, L), or -1 for a video without frames.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number, length or shape is out of range, there is no such mode, position or out_of_range, or
            ``stride`` is not 1 with "segments".

    Reference: as of the torch function.
    """
    name = "sample_frames"
    rows = _check.integer(name, "rows", rows, 0)
    sizes = frame_clips(name, num_frames, clip_length, stride, clips, mode, position, out_of_range)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    return _host.frame_indices(
        _arguments.seed_bits(name, seed),
        sample_ids,
        _arguments.row_lengths(name, lengths, rows, sizes[0]),
        rows,
        *sizes,
        row_offset,
        _arguments.threads(name, threads),
    )
