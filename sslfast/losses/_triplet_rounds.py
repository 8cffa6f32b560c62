"""All triplets or the semi-hard ones over several ranks, whose blocks of rows go round.

A rank takes its rows as anchors, and the positives of each, all at once or in parts, every part in three rounds. The
first brings the positives, whose distances are kept. In the second the anchors meet the negatives of every block. The
weights of the positives are known when all negatives are through, and the third brings the positives once more, for the
gradients. With a swap the positives themselves are kept, and in the third only gradients travel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from sslfast.distributed import Shards, gathered_rows, mean_of_terms
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import kernel_integers, without_autocast
from sslfast.losses._labels import LabelGroups, readable
from sslfast.losses._points import Points, add_gradients, keep, scaled, units_of
from sslfast.losses._ring_rows import RowsByBlock, center_of_all, fetched, first_rows, in_parts, sent_home
from sslfast.losses._triplet_blocks import BlockTerms, blocks_of_positives
from sslfast.losses._triplets import counted

_NUMBERS = 16  # what is kept for a positive, its distance and its places above all, in numbers of 4 bytes


def triplets_in_ring(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
    terms: tuple[float, bool, bool],
    semi_hard: bool,
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards,
) -> Tensor:
    """The loss of all triplets of all ranks, or of the semi-hard ones, whose backward pass communicates nothing.

    Arguments as checked by :func:`triplet_loss`; all ranks have to agree on whether a gradient is needed. ``terms`` are
    the margin, whether to swap, and whether the margin is soft. Numbers are read: a GPU is waited for.
    """
    options = (terms, semi_hard, distance, normalize, reduction, shards)
    with without_autocast(embeddings):
        loss: Tensor = _InRounds.apply(function, embeddings, kernel_integers(labels), *options)
    return loss


class _InRounds(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ids, terms, semi_hard, distance, normalize, reduction, shards
    ):
        own = Points(embeddings, None, distance, normalize)
        ring = _Ring(own, gathered_rows(ids, shards), shards)
        unit, needed = own.units[0], ctx.needs_input_grad[1]
        itself = torch.arange(shards.start, shards.start + len(ids), device=ids.device)
        groups, width = LabelGroups(ids, ring.ids, itself), LabelGroups(ring.ids, None).largest()
        grad = torch.zeros_like(unit) if needed else None
        total = torch.zeros((), dtype=torch.float64, device=ids.device)
        count = torch.zeros((), dtype=torch.int64, device=ids.device)
        kind = _Swapped if terms[1] else _Summed if terms[2] else _Counted
        each = _NUMBERS + (4 * unit.shape[1] if terms[1] else 0)
        for rows, some in in_parts(len(ids), width, each, unit.shape[1], shards):
            numbers, valid = groups.positives(rows.start, rows.stop, width)
            anchors = kind(ring, rows, ids[rows], numbers[:, some], valid[:, some], terms, semi_hard)
            anchors.measure_positives()
            anchors.meet_negatives(grad)
            if grad is not None:
                anchors.meet_positives(grad)
            total += anchors.total
            count += anchors.taken if reduction == "mean" else anchors.above
        mean, factor = mean_of_terms(total + own.poison, count, reduction)
        keep(ctx, function, own, [] if grad is None else own.gradients([grad.mul_(factor)]))
        return mean.to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 7)


class _Ring:
    """The rows of all ranks, whose blocks go round.

    Args:
        own: the rows of this rank.
        ids: the labels of all.
        shards: of the rows.
    """

    def __init__(self, own: Points, ids: Tensor, shards: Shards) -> None:
        self.own, self.ids, self.shards = own, ids, shards
        self._center, self._firsts = center_of_all(own.units[0], own.distance, shards), first_rows(shards)

    def points(self, rows: Tensor, columns: Tensor) -> Points:
        """Some rows, normalised where asked, against others."""
        return Points(rows, columns, self.own.distance, normalize=False, center=self._center)

    def blocks(self, rows: slice, grad: Tensor | None) -> Iterator[tuple[int, Points, Tensor, list[Tensor]]]:
        """Yields, of every block, how far ahead it is, some of this rank's rows against its own, its labels, and what
        the gradients of both are to be added to: those rows of ``grad``, (N_rank, D), and one for the block, which goes
        to its owner to be added to this; none where it is None.
        """
        own, shards = self.own, self.shards
        unit = own.units[0]
        exchange = blocks_over_ranks("ring", shards, grad)
        exchange.post(own.inputs[0], None)
        for ahead, _, (block, *_) in exchange.blocks():
            columns = units_of(block, own.normalize) if ahead else unit
            first = self._firsts[ahead]
            grads = [] if grad is None else [grad[rows], torch.zeros_like(columns)]
            yield ahead, self.points(unit[rows], columns), self.ids[first : first + len(columns)], grads
            if grads:
                exchange.leave(grads[1])
        if grad is not None:
            grad.copy_(exchange.collect(grad))


class _Anchors(ABC):
    """Some anchors, and what is kept of their positives, P of each, while the blocks go round.

    Args:
        ring: the rows of all ranks.
        rows: which of this rank's the A anchors are.
        ids: (A,) int64, their labels.
        numbers: (A, P) int64, the positives among the rows of all ranks.
        valid: (A, P), which of these are some.
        terms: the margin, whether to swap, and whether the margin is soft.
        semi_hard: whether only semi-hard triplets are taken.

    Attributes:
        total: the sum of the terms, float64.
        taken: how many terms there are, int64, and
        above: how many are above 0.
    """

    def __init__(
        self,
        ring: _Ring,
        rows: slice,
        ids: Tensor,
        numbers: Tensor,
        valid: Tensor,
        terms: tuple[float, bool, bool],
        semi_hard: bool,
    ) -> None:
        self._ring, self._rows, self._ids, self._valid = ring, rows, ids, valid
        self._terms, self._semi_hard = terms, semi_hard
        self._places = valid.flatten().nonzero().squeeze(1)  # of the positives among all A * P
        self._by_block = RowsByBlock(self._places, numbers.flatten()[self._places], ring.shards)
        self._to_positives = ring.own.rows.new_full(valid.shape, -torch.inf)  # how far the positives are
        self._slopes = torch.zeros_like(self._to_positives)  # the derivatives of the sum in that
        self.total = torch.zeros((), dtype=torch.float64, device=ids.device)
        self.taken = torch.zeros((), dtype=torch.int64, device=ids.device)
        self.above = torch.zeros_like(self.taken)

    def measure_positives(self) -> None:
        """The first round. Whether a triplet is semi-hard is asked of distances of one kind: a negative that equals a
        positive is no farther.
        """
        for ahead, points, _, _ in self._ring.blocks(self._rows, None):
            places, columns = self._by_block.of(ahead)
            apart = points.distances_of_pairs(self._anchors_of(places), columns, products=self._semi_hard)
            self._to_positives.view(-1)[places] = apart

    @abstractmethod
    def meet_negatives(self, grad: Tensor | None) -> None:
        """The second round, after which the terms are known."""

    def meet_positives(self, grad: Tensor) -> None:
        """The third round, of gradients alone."""
        for ahead, points, _, grads in self._ring.blocks(self._rows, grad):
            places, columns = self._by_block.of(ahead)
            points.add_gradients_of_pairs(self._anchors_of(places), columns, *self._at(places), grads)

    def _anchors_of(self, places: Tensor) -> Tensor:
        return places // self._valid.shape[1]

    def _at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """How far some positives are, and the derivatives in that."""
        return self._to_positives.view(-1)[places], self._slopes.view(-1)[places]


class _Counted(_Anchors):
    """Terms without a swap or a soft margin, which add up by counting; see :mod:`sslfast.losses._triplets`."""

    def meet_negatives(self, grad: Tensor | None) -> None:
        to_positives, order = self._to_positives.sort(dim=1)
        reached = torch.zeros_like(order)
        positives = self._valid.sum(dim=1)
        for _, points, block_ids, grads in self._ring.blocks(self._rows, grad):
            for start, stop in points.strips():
                between = points.distances(start, stop)
                negative = self._ids[start:stop, None] != block_ids
                weights, counts = counted(between, negative, to_positives[start:stop], self._terms[0], self._semi_hard)
                reached[start:stop] += counts
                self.total += (weights.double() * between).sum()  # terms near 0 are what large ones leave
                self.taken += (positives[start:stop] * negative.sum(dim=1)).sum()
                if grads:
                    add_gradients(points, start, stop, between, weights, grads)
        self._slopes.scatter_(1, order, reached.to(self._slopes.dtype))
        self.above = reached.sum()
        if self._semi_hard:
            self.taken = self.above
        apart, slopes = self._at(self._places)
        self.total += (slopes.double() * apart).sum() + self._terms[0] * self.above.double()


class _Summed(_Anchors):
    """Terms with a soft margin: every triplet is looked at."""

    def meet_negatives(self, grad: Tensor | None) -> None:
        slots = torch.arange(self._valid.numel(), device=self._valid.device).view(self._valid.shape)
        for _, points, block_ids, grads in self._ring.blocks(self._rows, grad):
            swaps, swap_grads = self._swaps(points, grads)
            for start, stop in points.strips():
                between = points.distances(start, stop)
                negative = self._ids[start:stop, None] != block_ids
                weights = torch.zeros_like(between)
                positives = (slots[start:stop], self._valid[start:stop])
                for rows, places, valid in blocks_of_positives(*positives, between, readable(self._ids)):
                    parts = (between, negative) if rows is None else (between[rows], negative[rows])
                    to_positives = self._to_positives.view(-1)[places]
                    block = BlockTerms(*parts, to_positives, valid, swaps, places, self._terms, self._semi_hard)
                    self.total += block.losses.sum()
                    self.taken += block.taken.sum()
                    self.above += (block.losses > 0).sum()
                    if grads:
                        of_positives, of_negatives = block.slopes(swap_grads)
                        weights[slice(None) if rows is None else rows] += of_negatives
                        self._slopes.view(-1)[places] += of_positives
                if grads:
                    add_gradients(points, start, stop, between, weights, grads)

    def _swaps(self, points: Points, grads: list[Tensor]) -> tuple[Points | None, list[Tensor]]:
        """The positives of all places against the columns, and what the gradients of both are added to."""
        return None, []


class _Swapped(_Summed):
    """Terms with a swap, for which the positives themselves are kept."""

    def measure_positives(self) -> None:
        self._positives = fetched(self._by_block, self._valid.numel(), self._ring.own, self._ring.shards)
        self._grads = torch.zeros_like(self._positives)
        if self._semi_hard:
            super().measure_positives()
        else:
            anchors = self._anchors_of(self._places)
            self._to_positives.view(-1)[self._places] = self._among().distances_of_pairs(anchors, self._places)

    def meet_positives(self, grad: Tensor) -> None:
        pairs = (self._anchors_of(self._places), self._places, *self._at(self._places))
        self._among().add_gradients_of_pairs(*pairs, [grad[self._rows], self._grads])
        grad.copy_(sent_home(self._by_block, self._grads, grad, self._ring.shards))

    def _among(self) -> Points:
        return self._ring.points(self._ring.own.units[0][self._rows], self._positives)

    def _swaps(self, points: Points, grads: list[Tensor]) -> tuple[Points | None, list[Tensor]]:
        return self._ring.points(self._positives, points.units[-1]), [self._grads, *grads[1:]]
