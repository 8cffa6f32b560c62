"""Rows of all ranks by their numbers: where a ring's blocks have them, and what goes home to their owners."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.distributed import Shards, sum_over_ranks
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._points import Points, units_of

_KEPT = 2**23  # numbers that are kept while blocks go round, or those of so many shards
_SHARDS = 4


class RowsByBlock:
    """Places that each have to do with a row of all ranks, in the order in which the blocks of these come.

    A GPU is waited for.

    Args:
        places: (T,) int64, in ascending order.
        numbers: (T,) int64, of the rows, in order of rank.
        shards: of the rows.
    """

    def __init__(self, places: Tensor, numbers: Tensor, shards: Shards) -> None:
        sizes = torch.tensor(shards.sizes, device=numbers.device)
        ends = sizes.cumsum(0)
        rank = torch.searchsorted(ends, numbers, right=True)
        ahead = (rank - shards.rank) % shards.world
        order = ahead.argsort(stable=True)
        self._places, self._rows = places[order], (numbers - (ends - sizes)[rank])[order]
        counts = torch.zeros_like(sizes).scatter_add_(0, ahead, torch.ones_like(ahead))
        self._ends = [0, *counts.cumsum(0).tolist()]

    def of(self, ahead: int) -> tuple[Tensor, Tensor]:
        """The places, in ascending order, whose rows the block at that distance has, and which of its rows."""
        some = slice(self._ends[ahead], self._ends[ahead + 1])
        return self._places[some], self._rows[some]


def fetched(wanted: RowsByBlock, count: int, own: Points, shards: Shards) -> Tensor:
    """The rows of so many places, (count, D), normalised where asked; 0 in other places. ``own`` are this rank's."""
    unit = own.units[0]
    found = unit.new_zeros((count, unit.shape[1]))
    exchange = blocks_over_ranks("ring", shards)
    exchange.post(own.inputs[0], None)
    for ahead, _, (block, *_) in exchange.blocks():
        places, rows = wanted.of(ahead)
        if ahead == 0:
            some = unit.index_select(0, rows)
        elif len(rows) < len(block):
            some = units_of(block.index_select(0, rows), own.normalize)
        else:
            some = units_of(block, own.normalize).index_select(0, rows)
        found.index_copy_(0, places, some)
    return found


def sent_home(wanted: RowsByBlock, grads: Tensor, own: Tensor, shards: Shards) -> Tensor:
    """``own``, (N_rank, D), and what all ranks have found for the rows of this one, (T, D) by their places."""
    exchange = blocks_over_ranks("ring", shards, own)
    exchange.post(own[:, 0], None)  # something small goes round, for the sums to follow
    for ahead, _, (block, *_) in exchange.blocks():
        places, rows = wanted.of(ahead)
        found = own.new_zeros((len(block), own.shape[1]))
        exchange.leave(found.index_add_(0, rows, grads.index_select(0, places)))
    return exchange.collect(own)


def first_rows(shards: Shards) -> list[int]:
    """The number of the first row of the block at every distance."""
    return [sum(shards.sizes[: shards.ahead(ahead)]) for ahead in range(shards.world)]


def center_of_all(unit: Tensor, distance: str, shards: Shards) -> Tensor | None:
    """One centre for all blocks, (D,), that equal rows are equally far wherever they lie, as far as rounding goes: it
    may differ between products of blocks of several sizes. None where there is none to be taken.
    """
    return None if distance == "cosine" else sum_over_ranks(unit.sum(dim=0)) / sum(shards.sizes)


def in_parts(rows: int, slots: int, each: int, width: int, shards: Shards) -> list[tuple[slice, slice]]:
    """The parts in which to take this rank's rows and the slots of each, if so many numbers are kept for a slot while
    blocks go round: four times those of the largest shard, or 2^23. As many parts on every rank; some may be empty.
    """
    most = max(shards.sizes)
    places = max(1, max(_KEPT, _SHARDS * most * width) // each)
    count = -(-most // max(1, places // slots))
    parts = [slice(rows * i // count, rows * (i + 1) // count) for i in range(count)]
    return [(part, slice(first, first + places)) for part in parts for first in range(0, slots, places)]
