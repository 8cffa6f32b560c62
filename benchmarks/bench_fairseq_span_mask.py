"""fairseq's time span masks beside its published algorithm: static lengths over one another, and Poisson's apart.

Floor: one byte written a frame. The peer runs on the CPU alone and returns arrays; on a GPU its result is copied there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.harness import Call, Case

PROBABILITY, LENGTH = 0.65, 10
SAME = {"mask_prob": PROBABILITY, "mask_length": LENGTH, "mode": "fairseq", "require_same_masks": True, "min_masks": 2}


class Inputs(NamedTuple):
    rows: int
    length: int
    device: torch.device


def make_inputs(device: torch.device, *, rows: int, length: int) -> Inputs:
    return Inputs(rows, length, device)


def ours(inputs: Inputs, **options: Any) -> Call:
    from sslfast.masking import time_mask

    return lambda: time_mask(inputs.rows, inputs.length, device=inputs.device, **SAME, **options)


def overlapping(rng: np.random.Generator, length: int, number: int) -> np.ndarray:
    starts = rng.choice(length - LENGTH, number, replace=False)
    return np.asarray([start + offset for start in starts for offset in range(LENGTH)])


def apart(rng: np.random.Generator, length: int, number: int) -> np.ndarray:
    lengths, parts, frames = rng.poisson(LENGTH, number).tolist(), [(0, length)], []
    for span in sorted(lengths, reverse=True):
        room = np.asarray([end - begin if end - begin > span else 0 for begin, end in parts])
        if room.sum() == 0:
            break
        begin, end = parts.pop(rng.choice(len(parts), p=room / room.sum()))
        start = int(rng.integers(begin, end - span))
        frames += range(start, start + span)
        sides = (begin, start), (start + span + 1, end)
        parts += [(left, right) for left, right in sides if right - left > min(lengths)]
    return np.asarray(frames)


def fairseq(inputs: Inputs, spans: Any) -> Call:
    """The published algorithm: a generator a row, its spans' frames, then equal counts."""

    def rows() -> Iterator[np.ndarray]:
        for _ in range(inputs.rows):
            rng = np.random.default_rng()
            number = max(2, int(PROBABILITY * inputs.length / LENGTH + rng.random()))
            frames = spans(rng, inputs.length, number)
            yield np.unique(frames[frames < inputs.length])

    def mask() -> torch.Tensor:
        frames = list(rows())
        fewest = min(map(len, frames))
        rng = np.random.default_rng()
        out = np.zeros((inputs.rows, inputs.length), dtype=bool)
        for row, masked in zip(out, frames, strict=True):
            row[rng.choice(masked, fewest, replace=False) if len(masked) > fewest else masked] = True
        return torch.from_numpy(out).to(inputs.device)

    return mask


def check(inputs: Inputs, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """Equal counts, which lie together: rows of 1500 frames hardly differ."""
    shares = []
    for mask in (theirs, ours):
        assert mask.shape == (inputs.rows, inputs.length), "another shape"
        assert mask.dtype == torch.bool, "another type"
        counts = mask.sum(1)
        assert (counts == counts[0]).all(), "counts differ"
        shares.append(float(mask.float().mean()))
    assert abs(shares[0] - shares[1]) < 0.05, f"{shares[0]:.3f} of the frames are masked, and {shares[1]:.3f}"


def case(op: str, rows: int, length: int, providers: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="bool",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers=providers,
        check=check,
        work=rows * length,
        unit="B",
        formula="1 B written a frame",
        quick=True,
    )


def cases() -> list[Case]:
    peer = "eager NumPy (fairseq)"
    poisson = partial(ours, mask_type="poisson", no_overlap=True, min_space=1)
    return [
        case("time_span_mask fairseq", 32, 1500, {"sslfast": ours, peer: partial(fairseq, spans=overlapping)}),
        case("time_span_mask apart", 32, 1500, {"sslfast": poisson, peer: partial(fairseq, spans=apart)}),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
