"""BERT4Rec's masking beside RecBole's algorithm in Python, item by item.

Floor: 8 bytes read and 17 written an item, int64. RecBole's transform wants its own configuration and batches: its
algorithm is written anew here, with the lists that it makes, but without negative items.
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Call, Case

RATIO, MASK_ID = 0.2, 20_000


def make_inputs(device: torch.device, *, rows: int, length: int) -> Tensor:
    items = torch.randint(1, MASK_ID, (rows, length))
    items[torch.arange(length) >= torch.randint(5, length + 1, (rows, 1))] = 0
    return items.to(device)


def ours(items: Tensor) -> Call:
    from sslfast.masking import mask_items

    return lambda: mask_items(items, mask_id=MASK_ID, mask_ratio=RATIO, mode="compat")[:2]


def ours_on_arrays(items: Tensor) -> Call:
    from sslfast.host import mask_items

    array, seeds, threads = items.numpy(), itertools.count(), torch.get_num_threads()
    options: dict[str, Any] = {"mask_id": MASK_ID, "mask_ratio": RATIO, "mode": "compat", "threads": threads}
    return lambda: mask_items(array, seed=next(seeds), **options)[:2]


def published(items: Tensor) -> tuple[Tensor, Tensor]:
    """Masked rows, and the labels that the lists of positions and items stand for."""
    length, most = items.shape[1], int(RATIO * items.shape[1])
    masked_rows, positions, targets = [], [], []
    for row in items.tolist():
        where, what = [], []
        for t, item in enumerate(row):
            if item == 0:
                break
            if random.random() < RATIO:
                where.append(t)
                what.append(item)
                row[t] = MASK_ID
        masked_rows.append(row)
        positions.append(([0] * most + where)[len(where) :] if most else [])
        targets.append(([0] * most + what)[len(what) :] if most else [])
    masked = torch.tensor(masked_rows, dtype=torch.long)
    index, target = torch.tensor(positions, dtype=torch.long), torch.tensor(targets, dtype=torch.long)
    labels = torch.full((len(items), length), -100)
    labels.scatter_(1, index, torch.where(index > 0, target, -100))
    labels[:, 0] = -100
    return masked, labels


def published_on_tensors(items: Tensor) -> Call:
    return partial(published, items)


def check(items: Tensor, theirs: tuple[Any, Any], ours: tuple[Any, Any]) -> None:
    """Padding is untouched, labels are right, and as many items are masked."""
    original = items.cpu()
    for masked_items, labels in (theirs, ours):
        out, label = torch.as_tensor(np.asarray(masked_items)), torch.as_tensor(np.asarray(labels))
        mask = out == MASK_ID
        assert not (mask & (original == 0)).any(), "padding is masked"
        assert torch.equal(label[label != -100], original[label != -100]), "a label is not the original item"
        share = float(mask.sum() / (original != 0).sum())
        assert abs(share - RATIO) < 0.01, f"{share:.3f} of the items are masked"


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
        formula="(8 read + 17 written) B an item",
        **options,
    )


def cases() -> list[Case]:
    peer = {"published algorithm (RecBole)": published_on_tensors}
    return [
        case("item_mask NumPy", 2048, 50, {"sslfast": ours_on_arrays} | peer, devices=("cpu",)),
        case("item_mask tensors", 2048, 50, {"sslfast": ours}, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
