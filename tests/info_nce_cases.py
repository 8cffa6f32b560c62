"""Inputs of info_nce_loss, and calls of it with every kind of negatives."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses import _few_pairs, info_nce_loss

N, M, D, K = 37, 50, 12, 5


def tensors(dtype: torch.dtype = torch.float64, rows: int = N, dim: int = D) -> dict[str, Tensor]:
    """Inputs by name; ``keys`` are as many as queries, ``more`` are more."""
    query, more = torch.randn(rows, dim, dtype=dtype), rows + M - N
    return {
        "query": query,
        "keys": query + torch.randn(rows, dim, dtype=dtype),
        "more": torch.randn(more, dim, dtype=dtype),
        "shared": torch.randn(K, dim, dtype=dtype),
        "hard": query.unsqueeze(1) + torch.randn(rows, K, dim, dtype=dtype),
        "queue": F.normalize(torch.randn(3 * K, dim, dtype=dtype), dim=1),
        "positives": torch.randint(0, more, (rows,)),
        "shuffled": torch.randperm(rows),
        "query_ids": torch.arange(rows) % 20,
        "key_ids": (torch.arange(rows) + torch.arange(rows) // 30) % 20,
        "more_ids": torch.arange(more) % 20,
    }


ALL_KINDS = {"in_batch": True, "query_negatives": True, "key_negatives": True, "queue": "queue"}
IDS = {"query_ids": "query_ids", "key_ids": "key_ids"}


def hardened(mode: str, strength: float) -> dict[str, Any]:
    return {"hardness_mode": mode, "hardness_strength": strength}


# Each case: which tensor is positive_key, which is negative_keys, and options; a string names a tensor.
CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "the other keys": ("keys", None, {}),
    "keys by index": ("more", None, {"positives": "positives"}),
    "both ways": ("keys", None, {"symmetric": True}),
    "both ways by index": ("keys", None, {"symmetric": True, "positives": "shuffled"}),
    "given negatives": ("keys", "shared", {}),
    "given negatives and the other keys": ("keys", "shared", {"in_batch": True}),
    "hard negatives": ("keys", "hard", {}),
    "hard negatives, not normalised": ("keys", "hard", {"in_batch": True, "normalize": False, "temperature": 5.0}),
    "all kinds": ("keys", "hard", ALL_KINDS),
    "queries only": ("keys", None, {"in_batch": False, "query_negatives": True}),
    "keys of keys by index": ("more", None, {"in_batch": False, "key_negatives": True, "positives": "positives"}),
    "a queue": ("keys", None, {"queue": "queue"}),
    "ids": ("keys", None, IDS | {"query_negatives": True}),
    "ids both ways": ("keys", None, IDS | {"symmetric": True}),
    "a margin": ("keys", None, {"margin": 0.05}),
    "a margin for all kinds": ("keys", "hard", ALL_KINDS | {"margin": -0.2}),
    "a margin and ids both ways": ("keys", None, IDS | {"margin": 0.0, "symmetric": True}),
    "debiased": ("keys", "hard", {"in_batch": True, "tau_plus": 0.1, "temperature": 0.5}),
    "debiased, all kinds": ("keys", "shared", ALL_KINDS | {"tau_plus": 0.05, "temperature": 0.5}),
    "debiased, turned round": ("keys", None, {"tau_plus": 0.9, "temperature": -0.5}),
    "debiased both ways": ("keys", None, {"symmetric": True, "tau_plus": 0.02, "temperature": 0.5}),
    "smooth": ("keys", None, {"label_smoothing": 0.1}),
    "smooth, keys by index": ("more", None, {"label_smoothing": 1.0, "positives": "positives"}),
    "smooth, all kinds": ("keys", "hard", ALL_KINDS | {"label_smoothing": 0.3}),
    "smooth, given negatives and a margin": (
        "keys",
        "shared",
        {"in_batch": True, "label_smoothing": 0.3, "margin": 0.1},
    ),
    "given negatives both ways": ("keys", "shared", {"in_batch": True, "symmetric": True}),
    "smooth, given negatives, ids and a margin both ways": (
        "keys",
        "shared",
        IDS | {"in_batch": True, "symmetric": True, "label_smoothing": 0.3, "margin": 0.1},
    ),
    "smooth, a margin for all kinds": (
        "more",
        "hard",
        ALL_KINDS | {"margin": -0.2, "positives": "positives", "label_smoothing": 0.3},
    ),
    "smooth, ids": (
        "keys",
        None,
        IDS | {"query_negatives": True, "key_negatives": True, "in_batch": True, "label_smoothing": 0.3},
    ),
    "smooth, ids both ways, not normalised": (
        "keys",
        None,
        IDS
        | {"symmetric": True, "positives": "shuffled", "label_smoothing": 0.3, "normalize": False, "temperature": 5.0},
    ),
    "smooth, a margin and ids both ways": (
        "keys",
        None,
        IDS | {"margin": 0.0, "symmetric": True, "positives": "shuffled", "label_smoothing": 0.3},
    ),
    "smooth, a margin both ways": (
        "keys",
        None,
        {"margin": 0.0, "symmetric": True, "positives": "shuffled", "label_smoothing": 0.3},
    ),
    "smooth, debiased both ways": (
        "keys",
        None,
        {"symmetric": True, "tau_plus": 0.02, "temperature": 0.5, "label_smoothing": 0.3},
    ),
    "queries of keys": ("keys", None, {"key_to_query_negatives": True}),
    "queries of keys alone, by index": (
        "more",
        None,
        {"in_batch": False, "key_to_query_negatives": True, "positives": "positives"},
    ),
    "queries of keys, both ways, smooth and debiased": (
        "keys",
        None,
        {
            "key_to_query_negatives": True,
            "symmetric": True,
            "positives": "shuffled",
            "tau_plus": 0.02,
            "temperature": 0.5,
            "label_smoothing": 0.3,
        },
    ),
    "queries of keys, ids and a margin": (
        "more",
        None,
        {
            "in_batch": True,
            "key_to_query_negatives": True,
            "positives": "positives",
            "query_ids": "query_ids",
            "key_ids": "more_ids",
            "margin": 0.1,
            "label_smoothing": 0.3,
        },
    ),
    "all kinds, queries of keys, too": ("keys", "hard", ALL_KINDS | IDS | {"key_to_query_negatives": True}),
    "hard in batch": ("keys", None, hardened("in_batch_negatives", 9.0)),
    "hard in batch, by index": ("more", None, hardened("in_batch_negatives", 9.0) | {"positives": "positives"}),
    "hard in batch, queries of keys": (
        "keys",
        None,
        hardened("in_batch_negatives", 2.0) | {"key_to_query_negatives": True},
    ),
    "hard hard negatives": ("keys", "hard", hardened("hard_negatives", 5.0) | {"in_batch": True}),
    "hard hard negatives, a queue": (
        "keys",
        "hard",
        hardened("hard_negatives", 5.0) | {"in_batch": True, "queue": "queue"},
    ),
    "hard given negatives, a queue, by index": (
        "more",
        "shared",
        hardened("hard_negatives", 5.0) | {"in_batch": True, "queue": "queue", "positives": "positives"},
    ),
    "hard given negatives, a margin, not normalised": (
        "keys",
        "shared",
        hardened("hard_negatives", 0.3) | {"margin": 1.0, "normalize": False, "temperature": 5.0},
    ),
    "all hard": ("keys", "hard", ALL_KINDS | hardened("all_negatives", 3.0)),
    "all hard, smooth, a margin": (
        "keys",
        "shared",
        hardened("all_negatives", 3.0)
        | {"in_batch": True, "key_negatives": True, "queue": "queue", "margin": 0.1, "label_smoothing": 0.3},
    ),
    "all hard both ways, smooth, ids": (
        "keys",
        "hard",
        IDS
        | hardened("all_negatives", 3.0)
        | {
            "in_batch": True,
            "symmetric": True,
            "positives": "shuffled",
            "key_to_query_negatives": True,
            "label_smoothing": 0.3,
        },
    ),
    "hard both ways, a margin": (
        "keys",
        None,
        hardened("in_batch_negatives", 4.0) | {"symmetric": True, "margin": 0.1},
    ),
    "debiased down to the least": ("keys", None, {"tau_plus": 0.9, "temperature": 0.5}),
}


def by_name(options: dict[str, Any], given: dict[str, Tensor]) -> dict[str, Any]:
    """The options of a case with tensors in the place of their names."""
    return {name: given.get(value, value) if isinstance(value, str) else value for name, value in options.items()}


def call(
    function,
    given: dict[str, Tensor],
    case: str,
    number: float | None = None,
    alone: int | None = None,
    **more: Any,
) -> tuple[Tensor, list[Tensor]]:
    """The losses (N,), and what they have a gradient in: all of them, or only the one at place ``alone``.

    ``number`` is the temperature, if not the case's own.
    """
    key, negatives, options = CASES[case]
    options = by_name(options, given)
    wide = torch.float64 if given["query"].dtype == torch.float64 else torch.float32
    own = options.pop("temperature", 0.1)
    temperature = torch.tensor(own if number is None else number, dtype=wide, device=given["query"].device)
    leaves = [given["query"], given[key], *([] if negatives is None else [given[negatives]]), temperature]
    leaves = [z.detach().requires_grad_(alone in (None, at)) for at, z in enumerate(leaves)]
    query, keys, *others, temperature = leaves
    losses = function(query, keys, *(others or [None]), temperature, **options, **more)
    return losses, leaves


def with_grads(function, given: dict[str, Tensor], case: str, weights: Tensor, **more: Any) -> list[Tensor]:
    losses, leaves = call(function, given, case, **more)
    grads = torch.autograd.grad((losses * weights.to(losses)).sum(), leaves, materialize_grads=True)
    return [losses.detach(), *grads]


def ours(*args: Any, **options: Any) -> Tensor:
    """The losses from tiles, as of many pairs; tests/test_few_pairs_each.py and test_info_nce_few.py have few ones."""
    with patch.object(_few_pairs, "_MOST", 0):
        return info_nce_loss(*args, reduction="none", **options)
