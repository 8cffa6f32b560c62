"""The hardest triplet of every anchor over several ranks, whose blocks of rows go round."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.distributed import Shards, mean_of_terms, sum_over_ranks
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import kernel_integers, without_autocast
from sslfast.losses._points import Points, keep, scaled, units_of
from sslfast.losses._triplets import extremes, sum_of_triplets


def hardest_in_ring(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
    terms: tuple[float, bool, bool],
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards,
) -> Tensor:
    """The loss of the hardest triplets of all ranks, whose backward pass communicates nothing.

    A rank keeps the farthest positive and the nearest negative of each of its rows while the blocks go round, the first
    of equally far ones as far as rounding goes, and their gradients follow a second round home. Arguments as checked by
    :func:`triplet_loss`; all ranks have to agree on whether a gradient is needed. ``terms`` are the margin, whether to
    swap, and whether the margin is soft.
    """
    options = (terms, distance, normalize, reduction, shards)
    with without_autocast(embeddings):
        loss: Tensor = _HardestInRing.apply(function, embeddings, kernel_integers(labels), *options)
    return loss


class _Hardest:
    """The column of the largest value that every row has met, the first of equal ones in the order of all ranks."""

    def __init__(self, rows: Tensor) -> None:
        self.columns = torch.zeros_like(rows)
        self.value = rows.new_full((len(rows),), float("-inf"))
        self.number = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)

    def meet(self, value: Tensor, index: Tensor, columns: Tensor, first: int) -> None:
        """A value of every row, of the column of that index; the block's first column has that number."""
        number = index + first
        better = (value > self.value) | ((value == self.value) & (number < self.number))
        self.value = torch.where(better, value, self.value)
        self.number = torch.where(better, number, self.number)
        self.columns = torch.where(better.unsqueeze(1), columns.index_select(0, index), self.columns)


class _HardestInRing(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ids, terms, distance, normalize, reduction, shards
    ):
        own = Points(embeddings, None, distance, normalize)
        unit, firsts = own.units[0], _firsts(shards)
        # One centre for all blocks, that equal rows are equally far wherever they lie, as far as rounding goes: it may
        # differ between products of blocks of several sizes.
        center = None if distance == "cosine" else sum_over_ranks(unit.sum(dim=0)) / sum(shards.sizes)
        positives, negatives = _Hardest(unit), _Hardest(unit)
        exchange = blocks_over_ranks("ring", shards)
        exchange.post(embeddings, None, ids)
        for ahead, _, (block, _, block_ids) in exchange.blocks():
            columns = units_of(block, normalize) if ahead else unit
            points = Points(unit, columns if ahead else None, distance, normalize=False, center=center)
            farthest, positive, nearest, negative = extremes(points, ids, block_ids if ahead else None, None)
            positives.meet(farthest, positive, columns, firsts[ahead])
            negatives.meet(-nearest, negative, columns, firsts[ahead])
        both = (positives.value != -torch.inf) & (negatives.value != -torch.inf)
        points = Points(unit, torch.cat([positives.columns, negatives.columns]), distance, normalize=False)
        at = torch.arange(len(unit), device=unit.device)
        grads = points.zeros() if ctx.needs_input_grad[1] else []
        total, count = sum_of_triplets(points, (at, at, at + len(unit)), both, terms, reduction, grads)
        mean, factor = mean_of_terms(total + own.poison, count, reduction)
        if grads:
            numbers = torch.where(both, torch.stack([positives.number, negatives.number]), -1).flatten()
            grad = _sent_home(shards, ids, numbers, *grads)
            grads = own.gradients([grad.mul_(factor)])
        keep(ctx, function, own, grads)
        return mean.to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 6)


def _firsts(shards: Shards) -> list[int]:
    """The number of the first row of the rank at every distance."""
    return [sum(shards.sizes[: shards.ahead(ahead)]) for ahead in range(shards.world)]


def _sent_home(shards: Shards, ids: Tensor, numbers: Tensor, own: Tensor, grads: Tensor) -> Tensor:
    """``own``, and what all ranks have found for the rows of this one.

    Args:
        shards: of the rows.
        ids: (N_rank,), what goes round, for the sums to follow it.
        numbers: (T,) int64, rows of all ranks, or -1 for none.
        own: (N_rank, D).
        grads: (T, D), of those rows.
    """
    exchange = blocks_over_ranks("ring", shards, own)
    exchange.post(ids, None)
    firsts = _firsts(shards)
    for ahead, _, (block, _) in exchange.blocks():
        places = numbers - firsts[ahead]
        inside = (places >= 0) & (places < len(block))
        # One more, for those of other blocks: to pick these out a GPU would have to be waited for.
        found = own.new_zeros((len(block) + 1, own.shape[1]))
        exchange.leave(found.index_add_(0, torch.where(inside, places, len(block)), grads)[:-1])
    return exchange.collect(own)
