"""Every masking rule, callable alike, for the contracts that all of them keep (test_mask_rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking import (
    block_mask,
    dino_masks,
    frame_mask,
    grid_patch_mask,
    ijepa_masks,
    inverse_block_mask,
    mask_tokens,
    random_patch_mask,
    square_mask,
    tube_mask,
    vjepa_masks,
)

Result = tuple[Tensor, ...]


class Rule(NamedTuple):
    """One rule at one size.

    Attributes:
        name: what the test is called.
        inputs: the numbers of the rows -> what the rule reads, on the CPU; may depend on these numbers alone.
        torch: (inputs on the device, number of rows, device, keywords ``generator`` and ``sample_ids`` or
            ``row_offset``) -> tensors whose first dimension is the row.
        numpy: the same over arrays, without a device and with ``seed`` instead of ``generator``, or None where there is
            no such face.
    """

    name: str
    inputs: Callable[[Tensor], tuple[Tensor, ...]]
    torch: Callable[..., Result]
    numpy: Callable[..., tuple[Any, ...]] | None


def nothing(numbers: Tensor) -> tuple[Tensor, ...]:
    return ()


def ids(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 60): token ids."""
    return ((numbers[:, None] * 31 + torch.arange(60) * 7) % 1000,)


TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.3}

RULES = [
    Rule(
        "mask_tokens",
        ids,
        lambda inputs, rows, device, **draws: mask_tokens(*inputs, **TOKENS, **draws)[:2],
        lambda inputs, rows, **draws: host.mask_tokens(*inputs, **TOKENS, **draws)[:2],
    ),
    Rule(
        "random_patch_mask",
        nothing,
        lambda inputs, rows, device, **draws: random_patch_mask(rows, 49, device=device, **draws),
        lambda inputs, rows, **draws: host.random_patch_mask(rows, 49, **draws),
    ),
]


def _masks(name: str, function: Callable[..., Tensor], *sizes: Any, **options: Any) -> Rule:
    """A rule that reads nothing and returns one mask."""
    return Rule(
        name,
        nothing,
        lambda inputs, rows, device, **draws: (function(rows, *sizes, **options, device=device, **draws),),
        lambda inputs, rows, **draws: (getattr(host, function.__name__)(rows, *sizes, **options, **draws),),
    )


IJEPA = {"allow_overlap": True, "fixed_size": True, "pred_mask_scale": (0.1, 0.2)}


def _lists(masks: Any) -> tuple[Any, ...]:
    return (*masks.masks_enc, *masks.masks_pred)


DINO = {"mask_ratio_min_max": (0.3, 0.3), "mask_probability": 1.0}

RULES += [
    _masks("grid_patch_mask", grid_patch_mask, (12, 8), 2),
    _masks("tube_mask", tube_mask, (4, 7, 7)),
    _masks("frame_mask", frame_mask, (8, 3, 5)),
    _masks("block_mask", block_mask, (14, 14), 58, shift=True),
    _masks("inverse_block_mask", inverse_block_mask, (14, 14)),
    _masks("square_mask", square_mask, (14, 14)),
    Rule(  # every row is masked by one ratio: nothing is left that rows share
        "dino_masks",
        nothing,
        lambda inputs, rows, device, **draws: dino_masks(rows, (14, 14), **DINO, device=device, **draws)[:1],
        lambda inputs, rows, **draws: host.dino_masks(rows, (14, 14), **DINO, **draws)[:1],
    ),
    Rule(  # contexts that keep the targets' patches have one length: nothing is cut to the shortest of the batch
        "ijepa_masks",
        nothing,
        lambda inputs, rows, device, **draws: _lists(ijepa_masks(rows, **IJEPA, device=device, **draws)),
        lambda inputs, rows, **draws: _lists(host.ijepa_masks(rows, **IJEPA, **draws)),
    ),
    Rule(  # one block and its complement have one length
        "vjepa_masks",
        nothing,
        lambda inputs, rows, device, **draws: vjepa_masks(rows, (4, 7, 7), fixed_size=True, device=device, **draws)[:2],
        lambda inputs, rows, **draws: host.vjepa_masks(rows, (4, 7, 7), fixed_size=True, **draws)[:2],
    ),
]
