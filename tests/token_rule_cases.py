"""The rules of token augmentation for the contract of test_mask_rules.py, and how the reference names them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from sslfast import augment, host
from sslfast.augment import (
    CropTokens,
    DropTokens,
    InsertTokens,
    MaskTokens,
    ReorderTokens,
    RepeatTokens,
    ReplaceTokens,
    ShuffleSpans,
    ShuffleTokens,
    SwapTokens,
    add_feature_noise,
    augment_tokens,
)

# Ids from 3 to 99, of which those divisible by 3 have entries: one to four.
ENTRIES = {i: [200 + i + k for k in range(1 + i % 4)] for i in range(3, 100, 3)}
MASK = 1000

EVERY_RULE = [
    DropTokens(0.3),
    DropTokens(0.3, selection="exact"),
    DropTokens(0.3, in_place=True),
    DropTokens(1.0),
    SwapTokens(0.3),
    SwapTokens(count=3),
    RepeatTokens(0.32),
    RepeatTokens(count=4),
    ReplaceTokens(0.2),
    ReplaceTokens(count=2),
    ReplaceTokens(0.5, selection="bernoulli"),
    InsertTokens(0.2),
    InsertTokens(count=3),
    ShuffleSpans(1, 5),
    ShuffleSpans(3, 3),
    ShuffleTokens(3),
    ShuffleTokens(None),
    CropTokens(0.6),
    ReorderTokens(0.6),
    MaskTokens(0.3),
    MaskTokens(0.3, selection="bernoulli"),
]
EVERY_KIND = [DropTokens(0.2), SwapTokens(0.2), RepeatTokens(0.2), ReplaceTokens(0.3), InsertTokens(0.2)]
EVERY_KIND += [ShuffleTokens(2), ReorderTokens(0.5), MaskTokens(0.2)]


def as_reference(rules: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(type(rule).__name__, asdict(rule)) for rule in rules]


def tokens(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 40): ids from 3 to 99, then padding, with special tokens 1 and 2."""
    ids = 3 + (numbers[:, None] * 31 + torch.arange(40) * 7) % 97
    ids[:, 0], lengths = 1, 10 + numbers * 13 % 30
    ids.scatter_(1, (lengths - 1)[:, None], 2)
    return (torch.where(torch.arange(40) < lengths[:, None], ids, 0),)


def features(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 30)."""
    return ((numbers[:, None] * 31 + torch.arange(30) * 7) % 101 / 7,)


TABLE = augment.synonym_table(ENTRIES)
TABLES = {"cpu": TABLE}


def table_on(device: str) -> Any:
    """The table on a device, copied there once: a copy within a captured graph would wait."""
    if device not in TABLES:
        TABLES[device] = TABLE.to(device)
    return TABLES[device]


def on_tensors(rule: Any, **options: Any) -> Any:
    def call(inputs: Any, rows: int, device: Any, **draws: Any) -> tuple[Tensor, ...]:
        common = {"special_ids": (1, 2), "synonyms": table_on(str(device)), "mask_id": MASK, "positions": True}
        return tuple(_rows(t, options) for t in augment_tokens(*inputs, rule, **common, **options, **draws))

    return call


def on_arrays(rule: Any, **options: Any) -> Any:
    def call(inputs: Any, rows: int, **draws: Any) -> tuple[Any, ...]:
        common = {"special_ids": (1, 2), "synonyms": host.synonym_table(ENTRIES), "mask_id": MASK, "positions": True}
        return tuple(_rows(a, options) for a in host.augment_tokens(*inputs, rule, **common, **options, **draws))

    return call


def _rows(result: Any, options: dict[str, Any]) -> Any:
    """Rows first."""
    return result.swapaxes(0, 1).reshape(result.shape[1], -1) if "views" in options else result


# (name, inputs, over tensors, over arrays)
CASES: list[tuple[str, Any, Any, Any]] = [
    *((f"augment_tokens {rule}", tokens, on_tensors(rule), on_arrays(rule)) for rule in EVERY_RULE if rule.kind != 3),
    *((f"augment_tokens {rule}", tokens, on_tensors(rule), on_arrays(rule)) for rule in EVERY_RULE[8:9]),
    *(
        (
            f"augment_tokens {choose} of many",
            tokens,
            on_tensors(EVERY_KIND, **o),
            on_arrays(EVERY_KIND, **o),
        )
        for choose in ("all", "one", "distinct")
        for o in [{"choose": choose, "views": 2, "padding_side": "left"}]
    ),
    *(
        (
            f"add_feature_noise {noise}",
            features,
            lambda inputs, rows, device, noise=noise, **draws: (
                add_feature_noise(*inputs, 0.5, noise=noise, probability=0.6, **draws),
            ),
            lambda inputs, rows, noise=noise, **draws: (
                host.add_feature_noise(*inputs, 0.5, noise=noise, probability=0.6, **draws),
            ),
        )
        for noise in ("gaussian", "uniform")
    ),
]
