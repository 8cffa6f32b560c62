"""Time span masks beside transformers' function; fairseq's are in bench_fairseq_span_mask.py.

Floor: one byte written a frame. "drop-in" is the swap of one import, arrays on both sides. The peer runs on the CPU
alone and returns arrays; on a GPU its result is copied there.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks import peers
from benchmarks.harness import Call, Case

PROBABILITY, LENGTH = 0.65, 10


class Inputs(NamedTuple):
    rows: int
    length: int
    device: torch.device


def make_inputs(device: torch.device, *, rows: int, length: int) -> Inputs:
    return Inputs(rows, length, device)


def ours(inputs: Inputs, **options: Any) -> Call:
    from sslfast.masking import time_mask

    return lambda: time_mask(inputs.rows, inputs.length, device=inputs.device, **options)


def drop_in(inputs: Inputs) -> Call:
    from sslfast.masking.drop_in.wav2vec2 import _compute_mask_indices

    return lambda: torch.from_numpy(_compute_mask_indices((inputs.rows, inputs.length), PROBABILITY, LENGTH))


def hugging_face(inputs: Inputs) -> Call:
    mask = peers.load("transformers.models.wav2vec2.modeling_wav2vec2")._compute_mask_indices
    return lambda: torch.from_numpy(mask((inputs.rows, inputs.length), PROBABILITY, LENGTH)).to(inputs.device)


def check(inputs: Inputs, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """Both mask about 1 - exp(-0.65) of the frames."""
    for mask in (theirs, ours):
        assert mask.shape == (inputs.rows, inputs.length), "another shape"
        assert mask.dtype == torch.bool, "another type"
        share = float(mask.float().mean())
        assert 0.40 < share < 0.53, f"{share:.3f} of the frames are masked"


def case(op: str, rows: int, length: int, providers: Any, **options: Any) -> Case:
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
        **options,
    )


def cases() -> list[Case]:
    arrays = {"sslfast": drop_in, "transformers": hugging_face}
    exact = {"sslfast": ours, "transformers": hugging_face}
    return [
        case("time_span_mask", 32, 1500, exact, quick=True),
        case("time_span_mask drop-in", 32, 1500, arrays, devices=("cpu",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
