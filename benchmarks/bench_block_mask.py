"""Block masks beside DINOv2's generator by its published algorithm, one mask after the other, and beside lightly.

Floor: 1 byte written a patch. DINOv2 draws from Python's ``random`` and masks at most the target, which is "compat";
"exact" masks the target.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

MASKED = 58  # of 196


def make_inputs(device: torch.device, *, rows: int) -> int:
    random.seed(0)
    return rows


def ours(rows: int, mode: str) -> Call:
    from sslfast.masking import block_mask

    return lambda: block_mask(rows, (14, 14), MASKED, mode=mode)


SIDE = 14
LOG_ASPECT = math.log(0.3), math.log(1 / 0.3)


def _add_block(mask: np.ndarray, missing: int) -> int:
    for _ in range(10):
        area = random.uniform(4, missing)
        aspect = math.exp(random.uniform(*LOG_ASPECT))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w < SIDE and h < SIDE:
            top, left = random.randint(0, SIDE - h), random.randint(0, SIDE - w)
            masked = mask[top : top + h, left : left + w].sum()
            if 0 < h * w - masked <= missing:
                added = 0
                for y in range(top, top + h):  # patch by patch, as published
                    for x in range(left, left + w):
                        if mask[y, x] == 0:
                            mask[y, x] = 1
                            added += 1
                return added
    return 0


def dinov2_mask(target: int) -> np.ndarray:
    """Rectangles of random area and aspect until nothing is added in ten tries."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    count = 0
    while count < target and (added := _add_block(mask, target - count)):
        count += added
    return mask


def dinov2(rows: int) -> Call:
    return lambda: torch.from_numpy(np.stack([dinov2_mask(MASKED) for _ in range(rows)]))


def ours_like_lightly(rows: int) -> Call:
    from sslfast.masking import dino_masks

    return lambda: dino_masks(rows, (14, 14), mode="compat").masks.view(rows, 14, 14)


def lightly(rows: int) -> Call:
    function = peers.load("lightly.models.utils").random_block_mask
    return lambda: function((rows, 14, 14))


def ours_inverse(rows: int) -> Call:
    from sslfast.masking import inverse_block_mask

    return lambda: inverse_block_mask(rows, (14, 14), 0.65)


def lightly_inverse(rows: int) -> Call:
    function = peers.load("lightly.models.utils").random_inverse_block_mask

    def call() -> Tensor:
        masked = function((rows, 196), num_prefix_tokens=0)[1]
        return torch.zeros(rows, 196, dtype=torch.bool).scatter_(1, masked, True).view(rows, 14, 14)

    return call


def ours_squares(rows: int) -> Call:
    from sslfast.masking import square_mask

    return lambda: square_mask(rows, (14, 14), 0.8, adjust=0.07)


def data2vec(rows: int) -> Call:
    """Squares of 3 around random patches in one scatter, then row by row thinned or completed at random."""
    kept, squares = int(196 * (1 - 0.8)), int(196 * ((1 - 0.8 + 0.07) / 9))
    steps = torch.arange(-1, 2)

    def call() -> Tensor:
        centres = torch.randint(0, 196, (rows, squares))
        y = (centres // SIDE)[..., None, None] + steps[:, None]
        x = (centres % SIDE)[..., None, None] + steps
        places = y.clamp(0, SIDE - 1) * SIDE + x.clamp(0, SIDE - 1)
        marked = torch.zeros(rows, 196).scatter_(1, places.flatten(1), 1.0)
        for row, count in zip(marked, marked.sum(1).long().tolist(), strict=True):
            if count > kept:
                row[torch.multinomial(row, count - kept)] = 0
            elif count < kept:
                row[torch.multinomial(1 - row, kept - count)] = 1
        return (1 - marked).bool().view(rows, SIDE, SIDE)

    return call


def check(inputs: int, theirs: Tensor, ours: Tensor, *, mean: float) -> None:
    for masks in (ours, theirs):
        share = float(masks.float().mean()) * 196
        assert abs(share - mean) < 3, f"{share:.1f} patches masked on average, expected {mean}"
        assert masks.shape[1:] == (14, 14), f"shape {tuple(masks.shape)}"


def case(op: str, rows: int, mean: float, providers: dict[str, Any], **options: Any) -> Case:
    return Case(
        op=op,
        size=f"{rows} of 14x14",
        dtype="bool",
        make_inputs=partial(make_inputs, rows=rows),
        providers=providers,
        check=partial(check, mean=mean),
        work=rows * 196,
        unit="B",
        formula="1 written B a patch",
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    dino = "published algorithm (DINOv2)"
    return [
        case("block_mask", 256, 58, {"sslfast": partial(ours, mode="exact"), dino: dinov2}, quick=True),
        case("block_mask compat", 256, 58, {"sslfast": partial(ours, mode="compat"), dino: dinov2}),
        case(
            "dino_masks",
            256,
            29.3,
            {"sslfast": ours_like_lightly, "lightly random_block_mask": lightly},
            quick=True,
        ),
        case(
            "inverse_block_mask",
            256,
            127,
            {"sslfast": ours_inverse, "lightly random_inverse_block_mask": lightly_inverse},
            quick=True,
        ),
        case(
            "square_mask",
            256,
            157,
            {"sslfast": ours_squares, "published algorithm (data2vec 2.0)": data2vec},
            quick=True,
        ),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
