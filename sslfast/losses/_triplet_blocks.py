"""Triplets whose terms do not add up by counting, with a swap or a soft margin: in blocks of some anchors with some of
their positives and all negatives, from distances in strips.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.distributed import Shards
from sslfast.losses._labels import LabelGroups, without_own
from sslfast.losses._points import Points, add_gradients, add_gradients_of, keep, scaled
from sslfast.losses._points_ranks import points_of
from sslfast.losses._strips import rows_at_once


def triplets_in_blocks(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    terms: tuple[float, bool, bool],
    semi_hard: bool,
    distance: str,
    normalize: bool,
    reduction: str,
    shards: Shards | None = None,
) -> Tensor:
    """The loss of all triplets, or of the semi-hard ones; arguments as checked by :func:`triplet_loss`.

    ``terms`` are the margin, whether to swap, and whether the margin is soft. The size of the largest group is read,
    once: without it there are blocks for as many positives as there are columns. A GPU is waited for, and a compiled
    graph breaks.
    """
    apply = _Blocks.apply
    if torch.compiler.is_compiling():  # not a decorator of this function, which would import the compiler in all cases
        torch._dynamo.graph_break(msg="the number of blocks depends on the size of the largest group of labels")
        apply = torch.compiler.disable(apply)
    loss: Tensor = apply(
        function,
        embeddings,
        ref_emb,
        labels,
        ref_labels,
        copies,
        terms,
        semi_hard,
        distance,
        normalize,
        reduction,
        shards,
    )
    return loss


class _Blocks(torch.autograd.Function):
    """A block is (anchors, positives, columns) of at most as many numbers as a strip of distances has."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        function,
        embeddings,
        ref_emb,
        labels,
        ref_labels,
        copies,
        terms,
        semi_hard,
        distance,
        normalize,
        reduction,
        shards,
    ):
        with torch.no_grad():
            points = points_of(embeddings, ref_emb, distance, normalize, shards)
            groups = LabelGroups(labels, ref_labels, copies)
            column_labels = labels if ref_labels is None else ref_labels
            needed = any(ctx.needs_input_grad[1:3])
            grads = points.zeros() if needed else []
            total = torch.zeros((), dtype=torch.float64, device=embeddings.device)
            count = torch.zeros((), dtype=torch.int64, device=embeddings.device)
            width, swaps = groups.largest(), points.of_columns() if terms[1] else None
            for start, stop in points.strips():
                between = points.distances(start, stop)
                negative = labels[start:stop, None] != column_labels
                if copies is not None:
                    negative = without_own(negative, copies, start)
                weights = torch.zeros_like(between)
                positives = groups.positives(start, stop, width)
                for rows, index, valid in blocks_of_positives(*positives, between, groups.readable()):
                    some = slice(None) if rows is None else rows
                    to_positives = between[some].gather(1, index)
                    block = BlockTerms(
                        between[some], negative[some], to_positives, valid, swaps, index, terms, semi_hard
                    )
                    total += block.losses.sum()
                    count += (block.taken if reduction == "mean" else block.losses > 0).sum()
                    if needed:
                        of_positives, of_negatives = block.slopes(grads[-1:])
                        weights[some] += of_negatives.scatter_add_(1, index, of_positives)
                if needed:
                    add_gradients(points, start, stop, between, weights, grads)
            total, count = points.over_ranks(total, count)
            share = 1.0 if reduction == "sum" else count.clamp_min(1).double().reciprocal()
            loss = (total * share).to(points.rows.dtype) + points.poison
            grads = points.gradients([grad.mul_(share) for grad in grads])
            keep(ctx, function, points, grads)
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *scaled(ctx, grad), *[None] * 9)


def blocks_of_positives(
    index: Tensor, valid: Tensor, between: Tensor, readable: bool
) -> Iterator[tuple[Tensor | None, Tensor, Tensor]]:
    """Some positives of a strip at once: the rows that have any of them, or None for all, their index, which count.

    Where it is ``readable``, rows that have no more are left out: one large group costs the others nothing.
    """
    step = max(1, rows_at_once(between, between.shape[1]) // max(1, len(between)))
    for first in range(0, index.shape[1], step):
        columns, there = index[:, first : first + step], valid[:, first : first + step]
        rows = there.any(dim=1).nonzero().flatten() if readable else None
        if rows is None or len(rows) == len(index):
            yield None, columns, there
        elif len(rows):
            yield rows, columns[rows], there[rows]


class BlockTerms:
    """The terms of some rows, each with some positives, and of all columns that are negatives.

    Args:
        between: (rows, columns), distances.
        negative: (rows, columns), which columns are negatives of a row.
        to_positives: (rows, P), the distances of the positives.
        valid: (rows, P), which of these count.
        swaps: the positives, as rows, against the columns, for a swap; None without.
        index: (rows, P), which of those rows they are.
        terms: the margin, whether to swap, and whether the margin is soft.
        semi_hard: whether only semi-hard triplets are taken.

    Attributes:
        losses: (rows, P, columns), 0 where no triplet is taken.
        taken: (rows, P, columns), where one is.
    """

    def __init__(
        self,
        between: Tensor,
        negative: Tensor,
        to_positives: Tensor,
        valid: Tensor,
        swaps: Points | None,
        index: Tensor,
        terms: tuple[float, bool, bool],
        semi_hard: bool,
    ) -> None:
        margin, _, self._smooth = terms
        gap = between.unsqueeze(1) - to_positives.unsqueeze(2)  # how much farther the negative is
        self.taken = valid.unsqueeze(2) & negative.unsqueeze(1)
        if semi_hard:
            self.taken &= (gap > 0) & (gap < margin)
        self._swaps, self._index = swaps, index.flatten()
        if swaps is not None:
            self._apart = swaps.distances_of(self._index)
            other = self._apart.view(gap.shape) - to_positives.unsqueeze(2)
            self._swapped = other < gap
            gap = torch.minimum(gap, other)
        self._excess = margin - gap
        losses = F.softplus(self._excess, threshold=50.0) if self._smooth else self._excess.clamp_min(0.0)
        self.losses = torch.where(self.taken, losses, 0.0)

    def slopes(self, grads: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The derivatives of the sum of terms in ``to_positives`` and in ``between``. Those of a swap's distances are
        added to the gradients of its points.
        """
        slope = torch.sigmoid(self._excess) if self._smooth else (self._excess > 0).to(self._excess.dtype)
        slope = torch.where(self.taken, slope, 0.0)
        of_positives = slope.sum(dim=2)
        if self._swaps is not None:
            crossed = slope * self._swapped
            add_gradients_of(self._swaps, self._index, self._apart, -crossed.flatten(0, 1), grads)
            slope = slope - crossed
        return of_positives, -slope.sum(dim=1)
