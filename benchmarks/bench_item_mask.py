"""BERT4Rec's masking beside RecBole's transform, which goes item by item in Python.

Floor: 8 bytes read and 17 written an item, int64. RecBole's transform samples a negative item for every masked one too,
which cannot be switched off; its algorithm written anew, with the lists that it makes, does not.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
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


def recbole_transform(length: int) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """RecBole's own: padded items -> masked rows, positions in the rows and the items there."""
    transforms, batches = peers.load("recbole.data.transform"), peers.load("recbole.data.interaction")
    config = {"ITEM_ID_FIELD": "item", "LIST_SUFFIX": "_list", "ITEM_LIST_LENGTH_FIELD": "length"}
    transform = transforms.MaskItemSequence(config | {"MAX_ITEM_LIST_LENGTH": length, "mask_ratio": RATIO})
    dataset = SimpleNamespace(num=lambda field: MASK_ID)

    def call(items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch = transform(dataset, batches.Interaction({"item_list": items}))
        return batch["Mask_item_list"], batch["MASK_INDEX"], batch["Pos_item"]

    return call


def recbole(items: Tensor) -> Call:
    transform = recbole_transform(items.shape[1])
    return lambda: transform(items)


def check(items: Tensor, theirs: tuple[Any, ...], ours: tuple[Any, Any]) -> None:
    """Padding is untouched, labels are right, and as many items are masked."""
    original = items.cpu()
    if len(theirs) == 3:  # RecBole's loss reads its positions but for 0
        masked_items, index, wanted = (t.cpu() for t in theirs)
        labels = torch.full(original.shape, -100)
        theirs = (masked_items, labels.scatter_(1, index, torch.where(index > 0, wanted, -100)))
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
    peer = {"RecBole MaskItemSequence": recbole, "published algorithm (RecBole)": published_on_tensors}
    return [
        case("item_mask NumPy", 2048, 50, {"sslfast": ours_on_arrays} | peer, devices=("cpu",)),
        case("item_mask tensors", 2048, 50, {"sslfast": ours}, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
