"""SpecAugment beside torchaudio's published algorithm: two bands of 27 bins, two intervals of 100 frames (policy LD).

Floor: in place the masked cells written, at their mean number; else the spectrogram read and written. torchaudio has
nothing in place: its every mask makes a new tensor.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled

BANDS, BAND, INTERVALS, INTERVAL = 2, 27, 2, 100


def make_inputs(device: torch.device, *, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(device, dtype)


def ours(spec: Tensor, *, inplace: bool) -> Call:
    from sslfast.masking import spec_augment

    masks = {"n_freq_masks": BANDS, "freq_mask_param": BAND, "n_time_masks": INTERVALS, "time_mask_param": INTERVAL}
    spec = spec.clone() if inplace else spec
    return lambda: spec_augment(spec, inplace=inplace, **masks)


def one_mask(spec: Tensor, param: int, axis: int) -> Tensor:
    """``mask_along_axis_iid`` as published, positions in the spectrogram's type and all."""
    value = torch.rand(spec.shape[:2], device=spec.device, dtype=spec.dtype) * param
    least = torch.rand(spec.shape[:2], device=spec.device, dtype=spec.dtype) * (spec.size(axis) - value)
    start = least.long()[..., None, None]
    end = start + value.long()[..., None, None]
    at = torch.arange(spec.size(axis), device=spec.device, dtype=spec.dtype)
    turned = spec.transpose(axis, -1)
    return turned.masked_fill((at >= start) & (at < end), 0.0).transpose(axis, -1)


def published(spec: Tensor) -> Tensor:
    for _ in range(INTERVALS):
        spec = one_mask(spec, INTERVAL, 3)
    for _ in range(BANDS):
        spec = one_mask(spec, BAND, 2)
    return spec


def eager(spec: Tensor) -> Call:
    return partial(published, spec)


def compile_of_eager(spec: Tensor) -> Call:
    return partial(compiled(published), spec)


def check(spec: Tensor, theirs: Tensor, ours: Tensor) -> None:
    """What is not zero is the spectrogram's, and about as much is zero; ours in place has met many calls' masks."""
    for out in (theirs, ours):
        assert out.shape == spec.shape, "another shape"
        assert bool(((out == 0) | (out == spec)).all()), "a cell is neither masked nor kept"
    assert 0.1 < float((theirs == 0).float().mean()) < 0.6, "another share is masked"


def case(op: str, shape: tuple[int, ...], dtype: torch.dtype, *, inplace: bool, **options: Any) -> Case:
    rows, channels, bins, frames = shape
    cells = rows * channels * bins * frames
    kept = (1 - BAND / 2 / bins) ** BANDS * (1 - INTERVAL / 2 / frames) ** INTERVALS
    element = torch.finfo(dtype).bits // 8
    return Case(
        op=op,
        size="x".join(map(str, shape)),
        dtype={torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype],
        make_inputs=partial(make_inputs, shape=shape, dtype=dtype),
        providers={
            "sslfast": partial(ours, inplace=inplace),
            "eager torch (torchaudio)": eager,
            "torch.compile (torchaudio)": compile_of_eager,
        },
        check=check,
        work=cells * element * ((1 - kept) if inplace else 2),
        unit="B",
        formula="e a masked cell" if inplace else "2 e a cell",
        **options,
    )


def cases() -> list[Case]:
    return [
        case("spec_augment in place", (64, 1, 80, 3000), torch.float32, inplace=True),
        case("spec_augment in place", (64, 1, 80, 3000), torch.bfloat16, inplace=True),
        case("spec_augment", (64, 1, 80, 3000), torch.float32, inplace=False, memory=True),
        case("spec_augment", (4, 1, 80, 500), torch.float32, inplace=False, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
