"""Every masking rule, callable alike, for the contracts that all of them keep (test_mask_rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking import (
    corrupt_spans,
    mask_items,
    mask_spans,
    mask_tokens,
    permutation_mask,
    random_patch_mask,
    sample_replacements,
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
    Rule(
        "corrupt_spans",
        ids,
        lambda inputs, rows, device, **draws: corrupt_spans(*inputs, sentinel_id=9999, **draws),
        lambda inputs, rows, **draws: host.corrupt_spans(*inputs, sentinel_id=9999, **draws),
    ),
    Rule(
        "mask_spans",
        ids,
        lambda inputs, rows, device, **draws: mask_spans(*inputs, mask_token_id=4, vocab_size=1000, **draws),
        lambda inputs, rows, **draws: host.mask_spans(*inputs, mask_token_id=4, vocab_size=1000, **draws),
    ),
    Rule(
        "mask_items",
        ids,
        lambda inputs, rows, device, **draws: mask_items(*inputs, mask_id=1000, **draws),
        lambda inputs, rows, **draws: host.mask_items(*inputs, mask_id=1000, **draws),
    ),
    Rule(
        "permutation_mask",
        ids,
        lambda inputs, rows, device, **draws: permutation_mask(*inputs, mask_token_id=4, **draws),
        lambda inputs, rows, **draws: [a.copy() for a in host.permutation_mask(*inputs, mask_token_id=4, **draws)],
    ),
    Rule(
        "sample_replacements",
        lambda numbers: (ids(numbers)[0] / 500.0,),
        lambda inputs, rows, device, **draws: (sample_replacements(*inputs, **draws),),
        lambda inputs, rows, **draws: (host.sample_replacements(*inputs, **draws),),
    ),
]
