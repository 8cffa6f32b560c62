"""Rows against columns over the ranks of torch.distributed, block by block: who takes what, and what travels when.

Every rank has rows and a block of columns, takes its own rows against the columns of others, and what it finds for
those, log-sum-exps or gradients, goes back to their owners. With W ranks of n rows and n columns a rank takes W n^2
pairs, its share of the whole. Where rows and columns are one, every pair of blocks is taken once: W n^2 / 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast.distributed import Exchange, Shards, all_gather_shards, reduce_scatter_shards

# How many ranks ahead the columns begin, which of the own rows to take against them, and the columns' tensors, with
# None where None was posted.
Block = tuple[int, slice, list[Any]]
Held = tuple[Tensor | None, Tensor | None]


def blocks_over_ranks(
    strategy: str,
    shards: Shards,
    results: Tensor | None = None,
    *,
    lse: bool = False,
    symmetric: bool = False,
    hold_all: bool = False,
) -> GatheredBlocks | RingBlocks:
    """The exchange of one pass.

    ``post(columns, factors, ...)`` sends the rank's block on its way: the rows of half types as they are, the float32
    factors that normalise them or None, and what else goes with each. ``blocks()`` yields ``(distance, rows, [columns,
    factors, ...])``: which of the rank's rows to take against which columns. At distance 0 these are the rank's own, or
    begin with them. What a pass finds for the columns at hand is given to ``leave``; when the blocks are through,
    ``collect()`` adds up what all ranks have left for this rank's columns.

    With ``symmetric`` the own block comes first, alone, for the caller to take as rows against themselves; nothing is
    left there. Then come the blocks of the (W - 1) / 2 ranks ahead, and for an even W half of the one at W / 2, of
    which its owner takes the other half.

    All ranks have to go through the same passes: one that does not leaves the others waiting.

    Args:
        strategy: ``"all_gather"`` or ``"ring"``.
        shards: of the columns.
        results: a tensor of the shape and dtype of what a pass finds for this rank's columns, or None for nothing.
        lse: whether that is log-sum-exps; else it is added up.
        symmetric: whether rows and columns are one.
        hold_all: whether a later pass takes the columns of more ranks than this one.
    """
    if strategy == "ring":
        return RingBlocks(shards, results, lse, symmetric)
    return GatheredBlocks(shards, results, lse, symmetric, hold_all)


def _part(shards: Shards, distance: int, symmetric: bool) -> tuple[slice, slice]:
    """Which of the own rows to take against which columns of the block at that distance."""
    own, theirs = shards.sizes[shards.rank], shards.sizes[shards.ahead(distance)]
    if not symmetric or 2 * distance != shards.world:
        return slice(0, own), slice(0, theirs)
    # Two ranks share this block: they cut the rows of the lower one in halves.
    if shards.rank < distance:
        return slice(0, own // 2), slice(0, theirs)
    return slice(0, own), slice(theirs // 2, theirs)


def _reach(shards: Shards, symmetric: bool) -> int:
    return shards.world // 2 if symmetric else shards.world - 1


def _as_posted(tensors: Iterable[Tensor], posted: list[bool]) -> list[Any]:
    """The tensors, and None between them where nothing was posted."""
    following = iter(tensors)
    return [next(following) if some else None for some in posted]


def _neutral(lse: bool) -> float:
    return float("-inf") if lse else 0.0


class GatheredBlocks:
    """All columns at once: a few large blocks, one collective there and one back.

    Attributes:
        held: after the blocks, the columns of the ranks at distances 0, 1, ... one after the other, and their factors,
            for a later pass.
    """

    def __init__(
        self, shards: Shards, results: Tensor | None, lse: bool, symmetric: bool, hold_all: bool = False
    ) -> None:
        self._shards, self._results, self._lse, self._symmetric = shards, results, lse, symmetric
        reach = _reach(shards, symmetric and not hold_all)
        self._ranks = [shards.ahead(distance) for distance in range(reach + 1)]
        self._left: list[tuple[slice, Tensor]] = []
        self.held: Held = (None, None)

    def post(self, columns: Tensor, factors: Tensor | None, *others: Tensor, held: Held = (None, None)) -> None:
        """Starts to gather (M_rank, ...) tensors; columns and factors only if a former pass has not held them."""
        # Where the gathered rows of each rank lie, in the order of their distance; made on the device, which is not
        # waited for, and in two launches where the shards are of one size.
        shards = self._shards
        places = [(shards.place(rank), shards.sizes[rank]) for rank in self._ranks]
        if len(set(shards.sizes)) == 1:
            places = [(places[0][0], len(places) * len(columns))]
        rows = [torch.arange(place, place + size, device=columns.device) for place, size in places]
        self._order = torch.cat(rows).remainder_(shards.place(shards.world))
        self.held = held
        travelling = others if held[0] is not None else (columns, factors, *others)
        self._posted = [t is not None for t in travelling]
        self._pending = [all_gather_shards(t, self._shards) for t in travelling if t is not None]

    def blocks(self) -> Iterator[Block]:
        shards = self._shards
        ends = [0]
        for rank in self._ranks:
            ends.append(ends[-1] + shards.sizes[rank])
        everything = slice(0, shards.sizes[shards.rank])
        if not self._symmetric:
            work = [(0, everything, slice(0, ends[-1]))]
        else:
            yield 0, everything, []  # needs nothing of what is still under way
            middle = (shards.world + 1) // 2
            work = [(1, everything, slice(ends[1], ends[middle]))]
            if shards.world % 2 == 0:
                rows, part = _part(shards, middle, True)
                work.append((middle, rows, slice(ends[middle] + part.start, ends[middle] + part.stop)))
        gathered = (wait().index_select(0, self._order) for wait in self._pending)
        tensors = _as_posted(gathered, self._posted)
        if self.held[0] is None:
            self.held = (tensors[0], tensors[1])
        else:
            tensors = [*self.held, *tensors]
        for distance, rows, at in work:
            if rows.start < rows.stop and at.start < at.stop:
                self._at = at
                yield distance, rows, [None if t is None else t[at] for t in tensors]

    def leave(self, values: Tensor) -> None:
        """Takes (m, ...) results for the columns at hand."""
        self._left.append((self._at, values))

    def collect(self, own: Tensor | None = None) -> Tensor:
        """What all ranks have left for this rank's columns, (M_rank, ...), and ``own``, added up."""
        assert self._results is not None
        shape = (self._shards.place(self._shards.world), *self._results.shape[1:])
        parts = self._results.new_full(shape, _neutral(self._lse))
        for at, values in self._left:
            parts.index_copy_(0, self._order[at], values)
        if not self._lse:
            total = reduce_scatter_shards(parts, self._shards)
            return total if own is None else total.add_(own)
        peak = parts.clone()
        dist.all_reduce(peak, dist.ReduceOp.MAX)
        peak.masked_fill_(peak == float("-inf"), 0.0)
        total = reduce_scatter_shards(parts.sub_(peak).exp_(), self._shards).log()
        first = self._shards.place(self._shards.rank)
        total += peak[first : first + len(total)]
        return total if own is None else torch.logaddexp(total, own)


class RingBlocks:
    """Blocks that go round: a rank holds its own, the one at hand and the one that is coming.

    The next exchange is posted before a block is given out, so that it runs while the rank computes. What the ranks
    leave for a block follows one step behind it, each adding its own, and after the last step goes to the owner.

    Attributes:
        held: nothing, between passes.
    """

    held: Held = (None, None)

    def __init__(self, shards: Shards, results: Tensor | None, lse: bool, symmetric: bool) -> None:
        self._shards, self._results, self._lse, self._symmetric = shards, results, lse, symmetric
        self._reach = _reach(shards, symmetric)
        self._left: Tensor | None = None
        self._trail: Exchange | None = None
        self._own: Tensor | None = None

    def post(self, columns: Tensor, factors: Tensor | None, *others: Tensor, held: Held = (None, None)) -> None:
        """Starts to pass on (M_rank, ...) tensors."""
        tensors = (columns, factors, *others)
        self._posted = [t is not None for t in tensors]
        self._block = [t.contiguous() for t in tensors if t is not None]
        self._coming = self._pass_on(0)

    def _pass_on(self, distance: int) -> Exchange:
        shards = self._shards
        return Exchange(self._block, shards.ahead(-1), shards.ahead(1), shards.sizes[shards.ahead(distance + 1)])

    def blocks(self) -> Iterator[Block]:
        for distance in range(self._reach + 1):
            if distance > 0:
                self._block = self._coming.wait()
                if distance < self._reach:
                    self._coming = self._pass_on(distance)
            rows, columns = _part(self._shards, distance, self._symmetric)
            self._left = None
            if rows.start < rows.stop and columns.start < columns.stop:
                yield distance, rows, _as_posted((t[columns] for t in self._block), self._posted)
            if distance == 0:
                self._own = self._left
            elif self._results is not None:
                self._follow(distance, columns)

    def _follow(self, distance: int, columns: slice) -> None:
        """Adds what was left for the block at hand to what has followed it here, and sends that after it."""
        shards, results = self._shards, self._results
        assert results is not None
        size = shards.sizes[shards.ahead(distance)]
        if self._trail is not None:
            (total,) = self._trail.wait()
        elif self._left is not None and len(self._left) == size:
            total, self._left = self._left.contiguous(), None
        else:
            total = results.new_full((size, *results.shape[1:]), _neutral(self._lse))
        if self._left is not None:
            total[columns] = self._sum(total[columns], self._left)
        if distance < self._reach:
            target, source, coming = shards.ahead(-1), shards.ahead(1), shards.ahead(distance + 1)
        else:
            target, source, coming = shards.ahead(distance), shards.ahead(-distance), shards.rank
        self._trail = Exchange([total], target, source, shards.sizes[coming])

    def _sum(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.logaddexp(a, b) if self._lse else a.add_(b)

    def leave(self, values: Tensor) -> None:
        """Takes (m, ...) results for the columns at hand."""
        self._left = values

    def collect(self, own: Tensor | None = None) -> Tensor:
        """What all ranks have left for this rank's columns, (M_rank, ...), and ``own``, added up."""
        assert self._trail is not None
        (total,) = self._trail.wait()
        for part in (self._own, own):
            if part is not None:
                total = self._sum(total, part)
        return total
