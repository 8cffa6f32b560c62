"""The collator of BERT4Rec, from lists of Python ints to padded and masked tensors, beside RecBole's transform.

Floor: none of the machine's; what a list costs is Python's. RecBole's batches come padded, so that histories are padded
for its transform by torch's ``pad_sequence``. It samples a negative item for every masked one too, which cannot be
switched off; its algorithm written anew, with the lists that it makes, does not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.bench_item_mask import MASK_ID, RATIO, published, recbole_transform
from benchmarks.harness import Call, Case

Histories = list[list[int]]


def make_inputs(device: torch.device, *, rows: int, length: int) -> Histories:
    histories = [torch.randint(1, MASK_ID, (int(n),)).tolist() for n in torch.randint(5, length + 1, (rows,))]
    histories[0] = torch.randint(1, MASK_ID, (length,)).tolist()
    return histories


def ours(histories: Histories, **options: Any) -> Call:
    from sslfast.masking import ItemCollator

    collator = ItemCollator(
        mask_id=MASK_ID, max_length=len(histories[0]), mask_ratio=RATIO, padding_side="right", **options
    )

    def call() -> tuple[Tensor, Tensor]:
        batch = collator(histories)
        return batch["input_ids"], batch["labels"]

    return call


def padded(histories: Histories) -> Tensor:
    return pad_sequence([torch.tensor(history) for history in histories], batch_first=True)


def recbole(histories: Histories) -> Call:
    transform = recbole_transform(len(histories[0]))
    return lambda: transform(padded(histories))


def algorithm(histories: Histories) -> Call:
    return lambda: published(padded(histories))


def check(histories: Histories, theirs: tuple[Tensor, ...], ours: tuple[Tensor, ...]) -> None:
    """Padding is untouched and as many items are masked, those alone replaced."""
    original = padded(histories)
    for out in (theirs[0], ours[0]):
        mask = out == MASK_ID
        assert torch.equal(out[~mask], original[~mask]), "an item that is not masked is changed"
        assert not (mask & (original == 0)).any(), "padding is masked"
        count = int((original != 0).sum())
        assert abs(float(mask.sum() / count) - RATIO) < 0.01 + 4 * (RATIO / count) ** 0.5, "another share is masked"


def case(rows: int, length: int, **options: Any) -> Case:
    return Case(
        op="item_collator",
        size=f"{rows}x{length}",
        dtype="int64",
        make_inputs=partial(make_inputs, rows=rows, length=length),
        check=check,
        work=24 * rows * length,
        unit="B",
        formula="(8 items + 8 labels + 8 attention) B an item written",
        devices=("cpu",),
        providers={
            "sslfast": partial(ours, mode="compat"),
            "RecBole MaskItemSequence": recbole,
            "published algorithm (RecBole)": algorithm,
        },
        **options,
    )


def cases() -> list[Case]:
    return [case(2048, 50), case(8, 20, quick=True, one_thread_only=True)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
