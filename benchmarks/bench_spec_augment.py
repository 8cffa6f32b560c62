"""SpecAugment beside torchaudio's published algorithm: two bands of 27 bins, two intervals of 100 frames (policy LD).

Floor: in place the masked cells written, at their mean number; else the spectrogram read and written, and read once
more for its mean where masked cells get that. torchaudio has nothing in place: its every mask makes a new tensor, and
its mean is of the batch; the eager one here is of each spectrogram, as ours.
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


def ours(spec: Tensor, *, inplace: bool, value: float | str) -> Call:
    from sslfast.masking import spec_augment

    masks = {"n_freq_masks": BANDS, "freq_mask_param": BAND, "n_time_masks": INTERVALS, "time_mask_param": INTERVAL}
    spec = spec.clone() if inplace else spec
    return lambda: spec_augment(spec, inplace=inplace, mask_value=value, **masks)


def one_mask(spec: Tensor, param: int, axis: int, fill: Tensor | None) -> Tensor:
    """``mask_along_axis_iid`` as published, positions in the spectrogram's type and all; ``fill`` is one a row."""
    value = torch.rand(spec.shape[:2], device=spec.device, dtype=spec.dtype) * param
    least = torch.rand(spec.shape[:2], device=spec.device, dtype=spec.dtype) * (spec.size(axis) - value)
    start = least.long()[..., None, None]
    end = start + value.long()[..., None, None]
    at = torch.arange(spec.size(axis), device=spec.device, dtype=spec.dtype)
    turned = spec.transpose(axis, -1)
    masked = (at >= start) & (at < end)
    return (turned.masked_fill(masked, 0.0) if fill is None else turned.where(~masked, fill)).transpose(axis, -1)


def published(spec: Tensor, *, value: float | str) -> Tensor:
    fill = spec.mean((-2, -1), keepdim=True) if value == "mean" else None
    for _ in range(INTERVALS):
        spec = one_mask(spec, INTERVAL, 3, fill)
    for _ in range(BANDS):
        spec = one_mask(spec, BAND, 2, fill)
    return spec


def eager(spec: Tensor, *, value: float | str) -> Call:
    return partial(published, spec, value=value)


def compile_of_eager(spec: Tensor, *, value: float | str) -> Call:
    return partial(compiled(published), spec, value=value)


def check(spec: Tensor, theirs: Tensor, ours: Tensor, *, value: float | str) -> None:
    """What is not masked is the spectrogram's, and about as much is masked; ours in place has met many calls' masks."""
    fill = spec.mean((-2, -1), keepdim=True) if value == "mean" else spec.new_zeros(())
    for out in (theirs, ours):
        assert out.shape == spec.shape, "another shape"
        assert bool((torch.isclose(out, fill, rtol=0, atol=1e-6) | (out == spec)).all()), "neither masked nor kept"
    assert 0.1 < float((theirs != spec).float().mean()) < 0.6, "another share is masked"


def case(
    op: str, shape: tuple[int, ...], dtype: torch.dtype, *, inplace: bool, value: float | str = 0.0, **options: Any
) -> Case:
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
            "sslfast": partial(ours, inplace=inplace, value=value),
            "eager torch (torchaudio)": partial(eager, value=value),
            "torch.compile (torchaudio)": partial(compile_of_eager, value=value),
        },
        check=partial(check, value=value),
        work=cells * element * ((1 - kept) if inplace else 3 if value == "mean" else 2),
        unit="B",
        formula="e a masked cell" if inplace else "3 e a cell" if value == "mean" else "2 e a cell",
        **options,
    )


def cases() -> list[Case]:
    return [
        case("spec_augment in place", (64, 1, 80, 3000), torch.float32, inplace=True),
        case("spec_augment in place", (64, 1, 80, 3000), torch.bfloat16, inplace=True),
        case("spec_augment", (64, 1, 80, 3000), torch.float32, inplace=False, memory=True),
        case("spec_augment", (4, 1, 80, 500), torch.float32, inplace=False, quick=True, one_thread_only=True),
        case("spec_augment mean", (64, 1, 80, 3000), torch.float32, inplace=False, value="mean"),
        case("spec_augment mean", (4, 1, 80, 500), torch.float32, inplace=False, value="mean", one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
