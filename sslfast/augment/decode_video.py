"""Frames of a video as uint8 tensors, through PyAV."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslfast import _check

_FORMATS = {"RGB": "rgb24", "L": "gray"}


def decode_video(
    source: Any,
    *,
    indices: Sequence[int] | Tensor | np.ndarray | None = None,
    start: int = 0,
    stride: int = 1,
    count: int | None = None,
    mode: str = "RGB",
    threads: int = 1,
) -> Tensor:
    """Decodes frames of a video, by their numbers from 0 in the order in which they are shown.

    Frames are counted, not looked up by time, so that a number is always the same frame; all before the last one that
    is asked for are decoded, those not asked for are not converted.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        indices: numbers of frames, in any order, repeated or not: a list, or a tensor or array of integers (T,), such
            as a clip of :func:`sample_frames`. Default: None, ``start``, ``stride`` and ``count``.
        start: number of the first frame. Default: 0.
        stride: from one frame to the next, at least 1. Default: 1.
        count: how many frames. Default: None, all up to the end.
        mode: "RGB" or "L". Default: "RGB".
        threads: threads of the decoder; 1 is right for a DataLoader worker. Default: 1.

    Returns:
        uint8 (T, C, H, W), a view of memory in the order (T, H, W, C).

    Raises:
        ImportError: PyAV is not installed.
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, both ``indices`` and the others are given, the video has no such frame,
            or it cannot be decoded: the text has the path and the reason.
    """
    name = "decode_video"
    _check.one_of(name, "mode", mode, tuple(_FORMATS))
    start = _check.integer(name, "start", start, 0)
    stride = _check.integer(name, "stride", stride, 1)
    count = None if count is None else _check.integer(name, "count", count, 1)
    threads = _check.integer(name, "threads", threads, 1, 1024)
    if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise TypeError(f"{name}: source must be a path, bytes or an open file, got {type(source).__name__}")
    if indices is not None:
        if isinstance(indices, (Tensor, np.ndarray)):
            indices = indices.tolist()
        if not isinstance(indices, (list, tuple, range)):
            raise TypeError(f"{name}: indices must be a list of numbers, got {type(indices).__name__}")
        if (start, stride, count) != (0, 1, None):
            raise ValueError(f"{name}: indices must be None beside start, stride or count, got {len(indices)}")
        if len(indices) == 0:
            raise ValueError(f"{name}: indices must be a list of at least one number, got {indices!r}")
        wanted: Sequence[int] | None = [_check.integer(name, "indices", index, 0) for index in indices]
    else:
        wanted = None if count is None else range(start, start + count * stride, stride)
    what = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "video"
    av = _av(name)
    try:
        frames, shown = _frames(av, source, wanted, start, stride, _FORMATS[mode], threads)
    except av.error.FFmpegError as error:
        raise ValueError(f"{name}: {what} cannot be decoded: {error.strerror or error}") from error
    if wanted is None:
        wanted = range(start, shown, stride)
    missing = [index for index in wanted if index not in frames]
    if missing or not frames:
        asked = missing[0] if missing else start
        raise ValueError(f"{name}: {what} must have frame {asked}, it has {shown}")
    stacked = torch.from_numpy(np.stack([frames[index] for index in wanted]))
    return (stacked[..., None] if stacked.dim() == 3 else stacked).permute(0, 3, 1, 2)


def _frames(
    av: ModuleType,
    source: Any,
    wanted: Sequence[int] | None,
    start: int,
    stride: int,
    pixels: str,
    threads: int,
) -> tuple[dict[int, np.ndarray], int]:
    """The frames that are asked for, by number, and how many were seen."""
    chosen = None if wanted is None else set(wanted)
    last = None if chosen is None else max(chosen)
    found: dict[int, np.ndarray] = {}
    shown = 0
    file = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    with av.open(os.fspath(file) if isinstance(file, os.PathLike) else file) as container:
        if not container.streams.video:
            return found, 0
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        for frame in container.decode(stream):
            if shown in chosen if chosen is not None else shown >= start and (shown - start) % stride == 0:
                found[shown] = frame.to_ndarray(format=pixels)
            shown += 1
            if last is not None and shown > last:
                break
    return found, shown


def _av(name: str) -> ModuleType:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ImportError(f"{name}: needs PyAV, which is not installed: pip install sslfast[video]") from error
