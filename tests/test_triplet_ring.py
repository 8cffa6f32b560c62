"""Triplets in a ring whose anchors, or the positives of each, are taken in parts (gloo, CPU)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from loss_oracle import Largest
from ranks import found_by_ranks
from torch import Tensor

from sslfast.distributed import Shards
from sslfast.losses import _ring_rows, triplet_loss
from sslfast.losses._triplet_inputs import MINING

SHARDS = (3, 20, 9)
DIM = 4
# What may be kept: of few anchors, more parts than the first rank has rows; of one anchor, not of all its positives.
KEPT = {"few anchors": 32 * 40, "one anchor": 32 * 5}
LABELS: dict[str, Callable[[Tensor], Tensor]] = {
    "two": lambda at: at % 2,
    "many": lambda at: at % 7,
    "a shard alone": lambda at: torch.where(at < SHARDS[0], -1 - at, at % 3),
}
LOSSES: dict[str, Callable[..., Tensor]] = {
    "all": partial(triplet_loss, margin=0.4),
    "all, mean": partial(triplet_loss, margin=0.4, distance="cosine", reduction="mean"),
    "semi-hard": partial(triplet_loss, margin=0.4, mining="semi_hard", reduction="mean"),
    "soft": partial(triplet_loss, smooth_loss=True, reduction="sum"),
    "swap": partial(triplet_loss, margin=0.4, swap=True, distance="squared_euclidean"),
    "semi-hard, swap": partial(triplet_loss, margin=2.0, mining="semi_hard", swap=True, normalize=False),
    "drawn": partial(triplet_loss, margin=0.4, triplets_per_anchor=6, generator=3),
    "drawn, swap": partial(triplet_loss, triplets_per_anchor=6, generator=3, swap=True, smooth_loss=True),
}
CASES = [*itertools.product(LOSSES, LABELS)]


def outcome(name: str, labels: str, rows: slice, how: str) -> list[Tensor]:
    z = torch.randn(sum(SHARDS), DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)[rows]
    loss = LOSSES[name](z.requires_grad_(), LABELS[labels](torch.arange(sum(SHARDS)))[rows], gather_distributed=how)
    (3.0 * loss).backward()
    assert z.grad is not None
    return [loss.detach(), z.grad]


EVEN, WIDE = 16, 64


def largest(rank: int, **options: Any) -> int:
    """The largest tensor, of rows of two labels."""
    z = torch.randn(EVEN, WIDE, generator=torch.Generator().manual_seed(rank), requires_grad=True)
    with Largest() as found:
        triplet_loss(z, torch.arange(EVEN) % 2, gather_distributed="ring", **options).backward()
    return found.numel


def rank_main(rank: int, world: int) -> Any:
    own = slice(sum(SHARDS[:rank]), sum(SHARDS[: rank + 1]))
    _ring_rows._SHARDS = 0
    results: dict[Any, Any] = {}
    for kept, numbers in KEPT.items():
        _ring_rows._KEPT = numbers
        for name, labels in CASES:
            results[name, labels, kept] = outcome(name, labels, own, "ring")
    _ring_rows._SHARDS, _ring_rows._KEPT = 4, 0
    z = 1e19 * torch.randn(6, DIM, generator=torch.Generator().manual_seed(rank))  # whose squares overflow
    for mining in MINING:
        options = {"mining": mining, "normalize": False, "gather_distributed": "ring"}
        results["overflow", mining] = triplet_loss(z, torch.arange(6) % 2, 0.1, **options)
    results["largest"] = [largest(rank, swap=True), largest(rank, triplets_per_anchor=20)]
    return results


@pytest.mark.parametrize("kept", [0, 70, 400, 2**23])
@pytest.mark.parametrize("slots", [1, 6, 200])
def test_parts_hold_every_slot_once_and_no_more_than_is_kept(
    kept: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ring_rows, "_KEPT", kept)
    each = 16
    counts = set()
    for rank, size in enumerate(SHARDS):
        parts = _ring_rows.in_parts(size, slots, each, DIM, Shards(SHARDS, rank))
        counts.add(len(parts))
        held = torch.zeros(size, slots)
        for part in parts:
            assert held[part].numel() * each <= max(kept, 4 * max(SHARDS) * DIM)
            held[part] += 1
        assert (held == 1).all()
    assert len(counts) == 1  # every rank takes part in every round
    if kept == 0:
        assert counts == {{1: 1, 6: 7, 200: 200}[slots]}


def test_parts_come_to_the_whole(tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, len(SHARDS), tmp_path)
    for name, labels in CASES:
        loss, grad = outcome(name, labels, slice(None), "local")
        for kept in KEPT:
            where = f"{name}, {labels}, {kept}"
            found = [rank[name, labels, kept] for rank in ranks]
            for value, _ in found:
                torch.testing.assert_close(value, loss, rtol=1e-11, atol=1e-14, msg=where)
            parts = torch.cat([part for _, part in found]) / len(SHARDS)  # DistributedDataParallel averages
            assert (parts - grad).abs().max() <= 1e-11 * grad.abs().max(), where
    assert all(rank["overflow", mining].isnan() for rank in ranks for mining in MINING)
    for rank in ranks:  # one anchor's positives, or draws, alone would be more
        assert max(rank["largest"]) <= EVEN * WIDE
