"""Masks by coarse squares, tubes and frames beside SimMIM's and VideoMAE's published algorithms, one mask after the
other.

Floor: 1 byte written a patch. SimMIM's masks are int64 and VideoMAE's float64 in NumPy; they are stacked as a loader
would.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Call, Case


def make_inputs(device: torch.device, *, rows: int) -> int:
    return rows


def ours_grid(rows: int) -> Call:
    from sslfast.masking import grid_patch_mask

    return lambda: grid_patch_mask(rows, (48, 48), 8, 0.6)


def simmim(rows: int) -> Call:
    """Shuffle the coarse cells, mask the first, repeat them to model patches."""
    random = np.random.default_rng()

    def one() -> np.ndarray:
        mask = np.zeros(36, dtype=int)
        mask[random.permutation(36)[: int(np.ceil(36 * 0.6))]] = 1
        return mask.reshape(6, 6).repeat(8, axis=0).repeat(8, axis=1)

    return lambda: torch.from_numpy(np.stack([one() for _ in range(rows)]))


def ours_tube(rows: int) -> Call:
    from sslfast.masking import tube_mask

    return lambda: tube_mask(rows, (8, 14, 14), 0.9)


def videomae(rows: int) -> Call:
    """Shuffle one frame's mask, repeat it for all frames."""
    random = np.random.default_rng()
    masked = int(0.9 * 196)

    def one() -> np.ndarray:
        frame = np.hstack([np.zeros(196 - masked), np.ones(masked)])
        random.shuffle(frame)
        return np.tile(frame, (8, 1)).flatten()

    return lambda: torch.from_numpy(np.stack([one() for _ in range(rows)]))


def ours_frame(rows: int) -> Call:
    from sslfast.masking import frame_mask

    return lambda: frame_mask(rows, (8, 14, 14), 0.75)


def videomae_frames(rows: int) -> Call:
    """VideoMAE's ablation of its tubes: shuffle the frames, mask the first ones whole."""
    random = np.random.default_rng()

    def one() -> np.ndarray:
        frames = np.hstack([np.zeros(2), np.ones(6)])
        random.shuffle(frames)
        return np.repeat(frames, 196)

    return lambda: torch.from_numpy(np.stack([one() for _ in range(rows)]))


def check(rows: int, theirs: Tensor, ours: Tensor) -> None:
    counts = ours.flatten(1).sum(1)
    assert torch.equal(theirs.flatten(1).sum(1).long(), counts), "other counts"
    assert bool((counts == counts[0]).all()), "counts differ"


def case(op: str, rows: int, size: str, work: int, providers: dict[str, Any], **options: Any) -> Case:
    return Case(
        op=op,
        size=size,
        dtype="bool",
        make_inputs=partial(make_inputs, rows=rows),
        providers=providers,
        check=check,
        work=work,
        unit="B",
        formula="1 written B a patch",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    grid = {"sslfast": ours_grid, "published algorithm (SimMIM)": simmim}
    tube = {"sslfast": ours_tube, "published algorithm (VideoMAE)": videomae}
    frame = {"sslfast": ours_frame, "published algorithm (VideoMAE's ablation)": videomae_frames}
    return [
        case("grid_patch_mask", 256, "256 of 48x48", 256 * 48 * 48, grid, quick=True),
        case("tube_mask", 64, "64 of 8x14x14", 64 * 8 * 196, tube, quick=True),
        case("frame_mask", 64, "64 of 8x14x14", 64 * 8 * 196, frame, quick=True),
        case("frame_mask", 4, "4 of 8x14x14", 4 * 8 * 196, frame),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
