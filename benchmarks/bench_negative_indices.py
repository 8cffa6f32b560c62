"""Negatives of wav2vec 2.0's contrastive loss beside transformers' function, over NumPy arrays and as tensors.

Floor: 4 bytes written per negative of every frame, masked or not. transformers runs on the CPU alone and returns an
array; on a GPU its result is copied there.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

NEGATIVES = 100


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    from sslfast.masking import time_mask

    return time_mask(rows, length, generator=0, device=device)


def ours(mask: Tensor) -> Call:
    from sslfast.masking import sample_negatives

    return lambda: sample_negatives(mask, NEGATIVES)


def ours_on_arrays(mask: Tensor) -> Call:
    from sslfast.host import sample_negatives

    array, seeds, threads = mask.numpy(), itertools.count(), torch.get_num_threads()
    return lambda: torch.from_numpy(sample_negatives(array, NEGATIVES, seed=next(seeds), threads=threads))


def hugging_face(mask: Tensor) -> Call:
    sample = peers.load("transformers.models.wav2vec2.modeling_wav2vec2")._sample_negative_indices
    return lambda: torch.from_numpy(sample(mask.shape, NEGATIVES, mask.cpu().numpy())).to(mask.device)


def check(mask: Tensor, theirs: Tensor, ours: Tensor) -> None:
    """Every negative is another masked frame of its row, and they are spread alike."""
    frame = torch.arange(mask.numel(), device=mask.device).view_as(mask)
    for out in (theirs, ours):
        assert out.dtype == torch.int32, "another type"
        drawn = out.long()
        assert bool(mask.flatten()[drawn[mask]].all()), "a negative is not masked"
        assert bool((drawn // mask.shape[1] == frame[:, :1, None] // mask.shape[1]).all()), "of another row"
        assert bool((drawn != frame[..., None])[mask].all()), "a frame is its own negative"
        centre = float((drawn[mask] % mask.shape[1]).float().mean()) / mask.shape[1]
        assert abs(centre - 0.5) < 0.05, f"the mean place is {centre:.3f}"


def case(op: str, rows: int, length: int, providers: Any, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}x{NEGATIVES}",
        dtype="int32",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers=providers,
        check=check,
        work=4 * rows * length * NEGATIVES,
        unit="B",
        formula="4 B written a frame and negative",
        **options,
    )


def cases() -> list[Case]:
    arrays = {"sslfast": ours_on_arrays, "transformers": hugging_face}
    return [
        case("negative_indices", 32, 1500, {"sslfast": ours, "transformers": hugging_face}, quick=True),
        case("negative_indices NumPy", 32, 1500, arrays, devices=("cpu",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
