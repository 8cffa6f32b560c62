"""Audio augmentation of 32 utterances of ten seconds at 16 kHz beside torch-audiomentations' published algorithms.

Every transform is used on every row, so that nobody has less to do by chance. torch-audiomentations has one module a
transform, each of which clones the batch, picks its rows, changes them and puts them back; its coloured noise goes
through two Fourier transforms, which are left out here because the noise is white. "eager torch" is what one would
write without rows to pick: a gather for the shift, one product, one sum.

Floor: a sample read and written; read twice where a ratio of powers has to be known first; a quarter more, and its
power, where a piece of another row, a quarter of the row on average, is added. White noise costs no bytes but draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Call, Case, compiled

SHIFT, GAIN_DB, NOISE_DB, MIX_DB = (-0.5, 0.5), (-18.0, 6.0), (3.0, 30.0), (-5.0, 5.0)
ALWAYS = {"shift_p": 1.0, "gain_p": 1.0, "noise_p": 1.0, "mix_p": 1.0}


def make_inputs(device: torch.device, *, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(device, dtype)


def ours(waves: Tensor, *, what: str) -> Call:
    from sslfast.augment import AudioAugment

    rules: dict[str, Any] = {"shift": SHIFT, "gain_db": GAIN_DB, "polarity_p": 1.0} if what != "noise" else {}
    if what in ("noise", "all"):
        rules["noise_snr_db"] = NOISE_DB
    if what == "all":
        rules["mix_snr_db"] = MIX_DB
    augment = AudioAugment(**rules, **ALWAYS)
    return lambda: augment(waves)


def uniform(low: float, high: float, waves: Tensor) -> Tensor:
    return torch.empty(len(waves), 1, device=waves.device).uniform_(low, high).to(waves.dtype)


def rms(waves: Tensor) -> Tensor:
    return waves.square().mean(-1, keepdim=True).sqrt()


# ---- as published


def on_rows(change: Callable[[Tensor], Tensor], waves: Tensor) -> Tensor:
    chosen = torch.rand(len(waves), device=waves.device) < 1.0
    out = waves.clone()
    out[chosen] = change(out[chosen])
    return out


def shift_rows(waves: Tensor) -> Tensor:
    length = waves.shape[1]
    places = torch.randint(round(SHIFT[0] * length), round(SHIFT[1] * length) + 1, (len(waves),), device=waves.device)
    if waves.is_cuda:
        return waves.gather(1, (torch.arange(length, device=waves.device) - places[:, None]) % length)
    for row, place in zip(waves, places.tolist(), strict=True):
        row[:] = torch.roll(row, place)
    return waves


def gain_rows(waves: Tensor) -> Tensor:
    return waves * 10 ** (uniform(*GAIN_DB, waves) / 20)


def noise_rows(waves: Tensor) -> Tensor:
    noise = torch.randn_like(waves)
    noise = noise / rms(noise)
    return waves + rms(waves) / 10 ** (uniform(*NOISE_DB, waves) / 20) * noise


def mix_rows(waves: Tensor) -> Tensor:
    """Algorithm 1 of WavLM, row by row."""
    length, before = waves.shape[1], waves.clone()
    level = rms(before)
    for r in range(len(waves)):
        other = (r + int(torch.randint(1, len(waves), ()))) % len(waves)
        piece = int(torch.randint(1, length // 2 + 1, ()))
        at, start = (int(torch.randint(length - piece + 1, ())) for _ in range(2))
        factor = level[r] / level[other] * 10 ** (-float(torch.empty(()).uniform_(*MIX_DB)) / 20)
        waves[r, at : at + piece] += factor * before[other, start : start + piece]
    return waves


CHANGES = {
    "shift gain polarity": (shift_rows, gain_rows, torch.neg),
    "noise": (noise_rows,),
    "all": (shift_rows, mix_rows, noise_rows, gain_rows, torch.neg),
}


def published(waves: Tensor, *, what: str) -> Call:
    def call() -> Tensor:
        out = waves
        for change in CHANGES[what]:
            out = on_rows(change, out)
        return out

    return call


# ---- as one would write it


def written(waves: Tensor, *, what: str) -> Tensor:
    rows, length = waves.shape
    out = waves
    if what != "noise":
        low, high = round(SHIFT[0] * length), round(SHIFT[1] * length)
        places = torch.randint(low, high + 1, (rows, 1), device=waves.device)
        out = out.gather(1, (torch.arange(length, device=waves.device) - places) % length)
    if what == "all":
        other = (torch.arange(rows, device=waves.device) + torch.randint(1, rows, (rows,), device=waves.device)) % rows
        piece = torch.randint(1, length // 2 + 1, (rows, 1), device=waves.device)
        room = length - piece + 1
        at, start = ((torch.rand(rows, 1, device=waves.device) * room).long() for _ in range(2))
        t = torch.arange(length, device=waves.device)
        added = waves[other].gather(1, (t - at + start).clamp(0, length - 1))
        level = rms(waves)
        factor = level / level[other] * 10 ** (-uniform(*MIX_DB, waves) / 20)
        out = out + torch.where((t >= at) & (t < at + piece), factor * added, 0)
    if what != "shift gain polarity":
        out = out + rms(waves) * 10 ** (-uniform(*NOISE_DB, waves) / 20) * torch.randn_like(waves)
    if what != "noise":
        out = out * -(10 ** (uniform(*GAIN_DB, waves) / 20))
    return out


def eager(waves: Tensor, *, what: str) -> Call:
    return partial(written, waves, what=what)


def compile_of_eager(waves: Tensor, *, what: str) -> Call:
    return partial(compiled(written), waves, what=what)


def check(waves: Tensor, theirs: Tensor, ours: Tensor) -> None:
    """Other draws, so the mean power alone: within what 18 dB of gain and the draws of few rows can do."""
    for out in (theirs, ours):
        assert out.shape == waves.shape, "another shape"
        assert bool(out.isfinite().all()), "not finite"
    ratio = float(ours.float().square().mean() / theirs.float().square().mean())
    assert 0.1 < ratio < 10, f"another power, by {ratio}"


def case(what: str, shape: tuple[int, int], dtype: torch.dtype, **options: Any) -> Case:
    element = torch.finfo(dtype).bits // 8
    moved = {"shift gain polarity": 2.0, "noise": 3.0, "all": 3.25}[what]
    return Case(
        op=f"audio_augment {what}",
        size="x".join(map(str, shape)),
        dtype={torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype],
        make_inputs=partial(make_inputs, shape=shape, dtype=dtype),
        providers={
            "sslfast": partial(ours, what=what),
            "eager torch (torch-audiomentations)": partial(published, what=what),
            "eager torch": partial(eager, what=what),
            "torch.compile": partial(compile_of_eager, what=what),
        },
        check=check,
        work=shape[0] * shape[1] * element * moved,
        unit="B",
        formula=f"{moved:g} e a sample",
        **options,
    )


def cases() -> list[Case]:
    long, short = (32, 160000), (4, 16000)
    return [
        case("shift gain polarity", long, torch.float32),
        case("noise", long, torch.float32),
        case("all", long, torch.float32, memory=True),
        case("all", long, torch.bfloat16),
        case("all", short, torch.float32, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
