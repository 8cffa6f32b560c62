"""Every masking rule, callable alike, for the contracts that all of them keep (test_mask_rules.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking import mask_tokens, random_patch_mask

Result = tuple[Tensor, ...]


class Rule(NamedTuple):
    """One rule at one size.

    Attributes:
        name: what the test is called.
        torch: (row numbers, device, keywords ``generator``, and ``sample_ids`` or ``row_offset``) -> tensors whose first
            dimension is the row. What a row is given beside its draws may depend on its number alone.
        numpy: the same over arrays, with ``seed`` instead of ``generator``, or None where there is no such face.
    """

    name: str
    torch: Callable[..., Result]
    numpy: Callable[..., tuple[Any, ...]] | None


def _ids(numbers: Tensor) -> Tensor:
    """(N, 60): token ids that depend on the number of the row."""
    return (numbers[:, None] * 31 + torch.arange(60) * 7) % 1000


TOKENS = {"mask_token_id": 4, "vocab_size": 1000, "mlm_probability": 0.3}

RULES = [
    Rule(
        "mask_tokens",
        lambda n, device, **draws: mask_tokens(_ids(n).to(device), **TOKENS, **draws)[:2],
        lambda n, **draws: host.mask_tokens(_ids(n).numpy(), **TOKENS, **draws)[:2],
    ),
    Rule(
        "random_patch_mask",
        lambda n, device, **draws: random_patch_mask(len(n), 49, device=device, **draws),
        lambda n, **draws: host.random_patch_mask(len(n), 49, **draws),
    ),
]
