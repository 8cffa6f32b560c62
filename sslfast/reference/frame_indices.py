"""Which frames of a video a clip takes (TSN; mmaction2's SampleFrames), by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

FRAMES = 117


def part(k: int, n: int, total: int) -> range:
    """Part k of n equal parts of [0, total)."""
    return range(k * total // n, (k + 1) * total // n)


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
    lengths: Tensor | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.augment.sample_frames`` with an int seed."""
    draws = clips * (clip_length if mode == "segments" else 1)
    out = torch.empty(rows, clips, clip_length, dtype=torch.int64)
    for r in range(rows):
        length = num_frames if lengths is None else min(max(int(lengths[r]), 0), num_frames)
        number = torch.tensor(row_offset + r) if sample_ids is None else sample_ids[r]
        words = philox(seed, FRAMES, number, torch.arange((draws + 3) // 4)).flatten().tolist()

        def place(among: range, word: int) -> int:
            count = len(among)
            return among.start + (word * count >> 32 if position == "random" else count // 2)

        for c in range(clips):
            if mode == "segments":
                frames = [place(part(i, clip_length, length), words[c * clip_length + i]) for i in range(clip_length)]
            else:
                starts = max(length - (clip_length - 1) * stride, 1)
                start = place(part(c, clips, starts), words[c])
                frames = [start + stride * i for i in range(clip_length)]
            for i, frame in enumerate(frames):
                if length == 0:
                    frame = -1
                elif frame >= length:
                    frame = frame % length if out_of_range == "loop" else length - 1
                out[r, c, i] = frame
    return out


def take_frames(video: Tensor, frames: Tensor, *, dim: int = 1) -> Tensor:
    """``sslfast.augment.take_frames`` of frames that are there."""

    def one(clip: Tensor) -> Tensor:
        return torch.stack([v.index_select(dim - 1, at) for v, at in zip(video, clip, strict=True)])

    return one(frames) if frames.dim() == 2 else torch.stack([one(clip) for clip in frames.unbind(1)], dim=1)
