"""DINOv2's masks of a batch with its lists beside its collator's published algorithm, without the images.

Floor: 1 byte written a patch and 12 bytes a slot of the lists. The peer's lists end with the last masked patch: it
writes less. Its block masks are those of bench_block_mask.py.
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import bench_block_mask as blocks
from benchmarks.harness import Call, Case

Lists = tuple[Tensor, Tensor, Tensor]


def ours(rows: int) -> Call:
    from sslfast.masking import dino_masks

    return lambda: dino_masks(rows, (14, 14), mode="compat")[:3]


def published(rows: int) -> Call:
    """A block mask for each bin of ratios, in a random order of the rows; positions and weights of what is masked."""

    def call() -> Lists:
        masked_rows = rows // 2
        bins = torch.linspace(0.1, 0.5, masked_rows + 1).tolist()
        targets = [int(196 * random.uniform(*ends)) for ends in itertools.pairwise(bins)]
        masks = [blocks.dinov2_mask(n) for n in targets]
        masks += [np.zeros((14, 14), dtype=bool)] * (rows - masked_rows)
        random.shuffle(masks)
        collated = torch.from_numpy(np.stack(masks)).flatten(1)
        weights = (1 / collated.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(collated)[collated]
        return collated, collated.flatten().nonzero().flatten(), weights

    return call


def check(rows: int, theirs: Lists, ours: Lists) -> None:
    for masks, indices, weights in (ours, theirs):
        found = masks.flatten().nonzero().flatten()
        assert torch.equal(indices[: len(found)], found), "positions are not those of the masks"
        expected = 1 / masks.sum(1)[found // 196]
        assert torch.allclose(weights[: len(found)], expected), "weights are not those of the masks"
        assert int(masks.any(1).sum()) == rows // 2, "not half of the rows is masked"


def cases() -> list[Case]:
    rows = 256
    return [
        Case(
            op="dino_masks with lists",
            size=f"{rows} of 14x14",
            dtype="bool",
            make_inputs=partial(blocks.make_inputs, rows=rows),
            providers={"sslfast": ours, "published algorithm (DINOv2)": published},
            check=check,
            work=rows * 196 + 12 * int(rows * 0.5 * 0.3 * 196),
            unit="B",
            formula="1 written B a patch + 12 a slot",
            quick=True,
            devices=("cpu",),
        )
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
