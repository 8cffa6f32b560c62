"""The hardest triplet of every anchor, or drawn ones, over several ranks, whose blocks of rows go round."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.distributed import Shards, gathered_rows, mean_of_terms
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import kernel_integers, without_autocast
from sslfast.losses._points import Points, keep, scaled, units_of
from sslfast.losses._ring_rows import RowsByBlock, center_of_all, fetched, first_rows, in_parts, sent_home
from sslfast.losses._triplets import drawn_triplets, extremes, sum_of_triplets


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


def drawn_in_ring(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
    per_anchor: int,
    seed: Tensor,
    terms: tuple[float, bool, bool],
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards,
) -> Tensor:
    """The loss of so many triplets of every anchor, those that one process draws; as :func:`hardest_in_ring` else.

    The labels of all ranks are gathered; rows are fetched from the ring, those of some triplets at once. A GPU is
    waited for.
    """
    ids = kernel_integers(labels)
    itself = torch.arange(shards.start, shards.start + len(ids), device=ids.device)
    drawn, valid = drawn_triplets(ids, gathered_rows(ids, shards), itself, per_anchor, seed, shards.start)
    options = (terms, distance, normalize, reduction, shards)
    with without_autocast(embeddings):
        loss: Tensor = _DrawnInRing.apply(function, embeddings, drawn, valid, per_anchor, *options)
    return loss


class _Hardest:
    """The column of the largest value that every row has met, the first of equal ones in the order of all ranks; of NaN
    where there is one.
    """

    def __init__(self, rows: Tensor) -> None:
        self.columns = torch.zeros_like(rows)
        self.value = rows.new_full((len(rows),), float("-inf"))
        self.number = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)

    def meet(self, value: Tensor, index: Tensor, columns: Tensor, first: int) -> None:
        """A value of every row, of the column of that index; the block's first column has that number."""
        number = index + first
        better = (value > self.value) | ((value == self.value) & (number < self.number)) | value.isnan()
        self.value = torch.where(better, value, self.value)
        self.number = torch.where(better, number, self.number)
        self.columns = torch.where(better.unsqueeze(1), columns.index_select(0, index), self.columns)


class _HardestInRing(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ids, terms, distance, normalize, reduction, shards
    ):
        own = Points(embeddings, None, distance, normalize)
        unit, firsts = own.units[0], first_rows(shards)
        center = center_of_all(unit, distance, shards)
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
        units = [unit, torch.cat([positives.columns, negatives.columns])]
        at = torch.arange(len(unit), device=unit.device)
        grads = [torch.zeros_like(z) for z in units] if ctx.needs_input_grad[1] else []
        total, count = sum_of_triplets(units, distance, (at, at, at + len(unit)), both, terms, reduction, grads)
        mean, factor = mean_of_terms(total + own.poison, count, reduction)
        if grads:
            places = both.repeat(2).nonzero().squeeze(1)
            numbers = torch.cat([positives.number, negatives.number])[places]
            grad = sent_home(RowsByBlock(places, numbers, shards), grads[1], grads[0], shards)
            grads = own.gradients([grad.mul_(factor)])
        keep(ctx, function, own, grads)
        return mean.to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 6)


class _DrawnInRing(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, drawn, valid, per_anchor, terms, distance, normalize, reduction, shards
    ):
        own = Points(embeddings, None, distance, normalize)
        unit = own.units[0]
        grad = torch.zeros_like(unit) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float64, device=unit.device)
        count = torch.zeros((), dtype=torch.int64, device=unit.device)
        for part in in_parts(len(unit), per_anchor, 8 * unit.shape[1], unit.shape[1], shards):
            anchors, positives, negatives, some = (t.view(-1, per_anchor)[part].flatten() for t in (*drawn, valid))
            places = some.repeat(2).nonzero().squeeze(1)
            wanted = RowsByBlock(places, torch.cat([positives, negatives])[places], shards)
            others = fetched(wanted, 2 * len(anchors), own, shards)
            at = torch.arange(len(anchors), device=unit.device)
            grads = [] if grad is None else [grad, torch.zeros_like(others)]
            triplets = (anchors, at, at + len(anchors))
            sums = sum_of_triplets([unit, others], distance, triplets, some, terms, reduction, grads)
            total, count = total + sums[0], count + sums[1]
            if grad is not None:
                grad = sent_home(wanted, grads[1], grad, shards)
        mean, factor = mean_of_terms(total + own.poison, count, reduction)
        keep(ctx, function, own, [] if grad is None else own.gradients([grad.mul_(factor)]))
        return mean.to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 8)
