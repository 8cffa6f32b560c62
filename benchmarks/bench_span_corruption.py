"""T5 span corruption beside T5's algorithm in NumPy, row by row, as transformers' Flax example has it.

Floor: 8 bytes a token read and 8 a slot of both outputs written, int64. The example is a script, not a package: its
algorithm is written anew here.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import Call, Case

LENGTH, INPUTS, TARGETS = 568, 512, 114
DENSITY, MEAN, SENTINEL, EOS = 0.15, 3.0, 32099, 1
GENERATOR = np.random.default_rng(0)


def make_ids(device: torch.device, *, rows: int) -> Tensor:
    return torch.randint(2, 32000, (rows, LENGTH)).to(device)


def make_lists(device: torch.device, *, rows: int) -> list[dict[str, list[int]]]:
    return [{"input_ids": row} for row in make_ids(device, rows=rows).tolist()]


def ours(ids: Tensor) -> Call:
    from sslfast.masking import corrupt_spans

    return lambda: corrupt_spans(ids, sentinel_id=SENTINEL, mode="compat")[:2]


def ours_on_arrays(ids: Tensor) -> Call:
    from sslfast.host import corrupt_spans

    array, seeds, threads = ids.numpy(), itertools.count(), torch.get_num_threads()
    options: dict[str, Any] = {"sentinel_id": SENTINEL, "mode": "compat", "threads": threads}
    return lambda: corrupt_spans(array, seed=next(seeds), **options)[:2]


def ours_from_lists(examples: list[dict[str, list[int]]]) -> Call:
    from sslfast.masking import T5Collator

    collator = T5Collator(sentinel_id=SENTINEL, mode="compat", tokens_length=LENGTH)

    def call() -> tuple[Tensor, Tensor]:
        batch = collator(examples)
        return batch["input_ids"], batch["labels"]

    return call


def composition(items: int, parts: int) -> NDArray[np.int64]:
    """The lengths of ``parts`` segments, all orders of cuts equally likely: a shuffled mask of cuts."""
    cuts = np.arange(items - 1) < parts - 1
    GENERATOR.shuffle(cuts)
    return np.bincount(np.pad(cuts, (1, 0)).cumsum(), minlength=parts)


def noise_mask(length: int) -> NDArray[np.bool_]:
    noise = min(max(round(length * DENSITY), 1), length - 1)
    spans = max(round(noise / MEAN), 1)
    lengths = np.stack([composition(length - noise, spans), composition(noise, spans)], 1).flatten()
    begins = np.zeros(length, dtype=np.int64)
    begins[lengths.cumsum()[:-1]] = 1
    return begins.cumsum() % 2 == 1


def sentinels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The sentinel at the first token of each run, -1 at its others, 0 outside."""
    starts = mask & ~np.pad(mask, ((0, 0), (1, 0)))[:, :-1]
    numbered = np.where(starts, SENTINEL + 1 - starts.cumsum(1), 0)
    return numbered - (mask & ~starts)


def filtered(ids: NDArray[np.int64], replaced: NDArray[np.int64]) -> NDArray[np.int64]:
    whole = np.where(replaced != 0, replaced, ids)
    kept = whole[whole >= 0].reshape(len(ids), -1)
    return np.concatenate([kept, np.full((len(ids), 1), EOS)], 1)


def published(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    mask = np.stack([noise_mask(LENGTH) for _ in range(len(ids))])
    return filtered(ids, sentinels(mask)), filtered(ids, sentinels(~mask))


def published_on_arrays(ids: Tensor) -> Call:
    return partial(published, ids.numpy())


def published_from_lists(examples: list[dict[str, list[int]]]) -> Call:
    def call() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        inputs, labels = published(np.array([example["input_ids"] for example in examples]))
        decoder = np.zeros_like(labels)
        decoder[:, 1:] = labels[:, :-1]
        return inputs, labels

    return call


def check(inputs: Any, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """Shapes, and that both outputs together hold every token."""
    rows = [e["input_ids"] for e in inputs] if isinstance(inputs, list) else inputs.tolist()
    total = sum(sum(row) for row in rows)
    marks = 2 * len(rows) * (sum(SENTINEL - k for k in range(28)) + EOS)
    for kept, noise in (theirs, ours):
        assert tuple(kept.shape) == (len(rows), INPUTS), f"inputs {tuple(kept.shape)}"
        assert tuple(noise.shape) == (len(rows), TARGETS), f"targets {tuple(noise.shape)}"
        assert int(kept.sum()) + int(noise.sum()) == total + marks, "tokens are lost"


def case(op: str, make_inputs: Any, providers: dict[str, Any], rows: int = 256, **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows}x{LENGTH} to {INPUTS}/{TARGETS}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows),
        providers=providers,
        check=check,
        work=8 * rows * (LENGTH + INPUTS + TARGETS),
        unit="B",
        formula="8 B a token read, 8 B a slot written",
        **options,
    )


def cases() -> list[Case]:
    peer = "published algorithm (NumPy)"
    return [
        case("span_corruption", make_ids, {"sslfast": ours_on_arrays, peer: published_on_arrays}, devices=("cpu",)),
        case("span_corruption tensors", make_ids, {"sslfast": ours}, quick=True),
        case("T5 collator", make_lists, {"sslfast": ours_from_lists, peer: published_from_lists}, devices=("cpu",)),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
