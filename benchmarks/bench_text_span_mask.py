"""SpanBERT's masking beside its algorithm in Python over sets, row by row.

Floor: 8 bytes read and 17 written a token, int64. The published code is a part of a fork of fairseq, not a package: its
algorithm is written anew here, with NumPy's draws as there.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import Call, Case

VOCABULARY, MASK_ID, RATIO = 30522, 103, 0.15
GENERATOR = np.random.default_rng(0)
LENGTHS = np.arange(1, 11)
LAW = 0.2 * 0.8 ** (LENGTHS - 1)
LAW /= LAW.sum()


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    return torch.randint(1000, VOCABULARY, (rows, length)).to(device)


def ours(ids: Tensor) -> Call:
    from sslfast.masking import mask_spans

    return lambda: mask_spans(ids, mask_token_id=MASK_ID, vocab_size=VOCABULARY)[:2]


def ours_on_arrays(ids: Tensor) -> Call:
    from sslfast.host import mask_spans

    array, seeds, threads = ids.numpy(), itertools.count(), torch.get_num_threads()
    options: dict[str, Any] = {"mask_token_id": MASK_ID, "vocab_size": VOCABULARY, "threads": threads}
    return lambda: mask_spans(array, seed=next(seeds), **options)[:2]


def masked_tokens(length: int) -> list[list[int]]:
    """The spans of one row, those that touch as one."""
    budget, masked = math.ceil(length * RATIO), set()
    while len(masked) < budget:
        span = GENERATOR.choice(LENGTHS, p=LAW)
        anchor = int(GENERATOR.choice(length))
        if anchor in masked:
            continue
        for t in range(anchor, min(anchor + span, length)):
            if len(masked) >= budget:
                break
            masked.add(t)
    spans: list[list[int]] = []
    for t in sorted(masked):
        if spans and spans[-1][-1] == t - 1:
            spans[-1].append(t)
        else:
            spans.append([t])
    return spans


def published(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    out, labels = ids.copy(), np.full_like(ids, -100)
    for row, masked, label in zip(ids, out, labels, strict=True):
        for span in masked_tokens(len(row)):
            kind = GENERATOR.random()
            for t in span:
                label[t] = row[t]
                if kind < 0.8:
                    masked[t] = MASK_ID
                elif kind < 0.9:
                    masked[t] = GENERATOR.integers(VOCABULARY)
    return out, labels


def published_on_arrays(ids: Tensor) -> Call:
    return partial(published, ids.numpy())


def check(ids: Tensor, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """The budget of every row, the labels, and the share of each replacement."""
    original = ids.cpu()
    for masked_ids, labels in (theirs, ours):
        out, label = torch.as_tensor(masked_ids).cpu(), torch.as_tensor(labels).cpu()
        mask = label != -100
        assert (mask.sum(1) == math.ceil(ids.shape[1] * RATIO)).all(), "another number of masked tokens"
        assert torch.equal(label[mask], original[mask]), "a label is not the original id"
        assert torch.equal(out[~mask], original[~mask]), "an unmasked id is changed"
        for what, share, expected in (("[MASK]", out == MASK_ID, 0.8), ("unchanged", out == original, 0.1)):
            observed = float(share[mask].float().mean())
            assert abs(observed - expected) < 0.05, f"{what}: {observed:.3f}, expected {expected}"


def case(op: str, rows: int, length: int, providers: dict[str, Any], **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        providers=providers,
        check=check,
        work=25 * rows * length,
        unit="B",
        formula="(8 read + 17 written) B a token",
        **options,
    )


def cases() -> list[Case]:
    arrays = {"sslfast": ours_on_arrays, "published algorithm (Python)": published_on_arrays}
    return [
        case("text_span_mask", 256, 512, arrays, devices=("cpu",)),
        case("text_span_mask tensors", 256, 512, {"sslfast": ours}, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
