"""Frames of clips: 16 of 64 frames of uint8 videos beside indexing and ``index_select``; and which frames.

Floor: a byte of each frame that is taken read and written; of the indices, 8 bytes each written.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case

LENGTH, STRIDE = 16, 4


def make_video(device: torch.device, *, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    video = torch.randint(0, 256, shape, dtype=torch.uint8)
    starts = torch.randint(0, shape[1] - (LENGTH - 1) * STRIDE, (shape[0], 1))
    return video.to(device), (starts + STRIDE * torch.arange(LENGTH)).to(device)


def ours(inputs: tuple[Tensor, Tensor]) -> Call:
    from sslfast.augment import take_frames

    return partial(take_frames, *inputs)


def index(inputs: tuple[Tensor, Tensor]) -> Call:
    video, frames = inputs
    return lambda: video[torch.arange(len(video), device=video.device)[:, None], frames]


def select(inputs: tuple[Tensor, Tensor]) -> Call:
    video, frames = inputs
    return lambda: torch.stack([v.index_select(0, at) for v, at in zip(video, frames, strict=True)])


def check(_: Any, theirs: Tensor, ours: Tensor) -> None:
    assert torch.equal(theirs, ours), "other frames"


def make_lengths(device: torch.device, *, rows: int) -> Tensor:
    return torch.randint(40, 300, (rows,)).to(device)


def our_indices(lengths: Tensor) -> Call:
    from sslfast.augment import sample_frames

    return lambda: sample_frames(len(lengths), 300, LENGTH, stride=STRIDE, lengths=lengths)


def eager_indices(lengths: Tensor) -> Call:
    def call() -> Tensor:
        room = (lengths - (LENGTH - 1) * STRIDE).clamp(min=1)
        start = (torch.rand(len(lengths), device=lengths.device, dtype=torch.float64) * room).long()
        frames = start[:, None] + STRIDE * torch.arange(LENGTH, device=lengths.device)
        return torch.minimum(frames, lengths[:, None] - 1)[:, None]

    return call


def check_indices(lengths: Tensor, theirs: Tensor, ours: Tensor) -> None:
    for out in (theirs, ours):
        assert out.shape == (len(lengths), 1, LENGTH), "another shape"
        assert bool(((out >= 0) & (out < lengths[:, None, None])).all()), "a frame that is not there"


def cases() -> list[Case]:
    shape = (8, 64, 3, 112, 112)
    video = Case(
        op="take_frames",
        size="x".join(map(str, shape)),
        dtype="uint8",
        make_inputs=partial(make_video, shape=shape),
        providers={"sslfast": ours, "eager torch (indexing)": index, "eager torch (index_select)": select},
        check=check,
        work=2.0 * shape[0] * LENGTH * 3 * 112 * 112,
        unit="B",
        formula="2 a byte taken",
        quick=True,
    )
    indices = Case(
        op="sample_frames",
        size="256x16",
        dtype="int64",
        make_inputs=partial(make_lengths, rows=256),
        providers={"sslfast": our_indices, "eager torch": eager_indices},
        check=check_indices,
        work=8.0 * 256 * LENGTH,
        unit="B",
        formula="8 an index",
        one_thread_only=True,
    )
    return [video, indices]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
