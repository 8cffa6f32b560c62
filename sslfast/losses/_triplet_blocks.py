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
from sslfast.losses._points import Points, add_column_gradients, add_gradients, keep, scaled
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
            width = groups.largest()
            for start, stop in points.strips():
                between = points.distances(start, stop)
                negative = labels[start:stop, None] != column_labels
                if copies is not None:
                    negative = without_own(negative, copies, start)
                weights = torch.zeros_like(between) if needed else None
                for rows, index, valid in _blocks(*groups.positives(start, stop, width), between, groups.readable()):
                    parts = (between, negative) if rows is None else (between[rows], negative[rows])
                    losses, taken = _terms(points, *parts, index, valid, terms, semi_hard, weights, rows, grads)
                    total += losses.sum()
                    count += (taken if reduction == "mean" else losses > 0).sum()
                if weights is not None:
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


def _blocks(
    index: Tensor, valid: Tensor, between: Tensor, readable: bool
) -> Iterator[tuple[Tensor | None, Tensor, Tensor]]:
    """Some positives of a strip at once: the rows that have any of them, or None for all, their columns, which count.

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


def _terms(
    points: Points,
    between: Tensor,
    negative: Tensor,
    index: Tensor,
    valid: Tensor,
    terms: tuple[float, bool, bool],
    semi_hard: bool,
    weights: Tensor | None,
    rows: Tensor | None,
    grads: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The terms of a block (rows, positives, columns), 0 where none is, and which are some; their gradients are added.

    Those of the rows' distances go into ``weights``, of a strip whose ``rows`` these are; those of the distances of
    positives from negatives go to ``grads``.
    """
    margin, swap, smooth = terms
    gap = between.unsqueeze(1) - between.gather(1, index).unsqueeze(2)  # how much farther the negative is
    taken = valid.unsqueeze(2) & negative.unsqueeze(1)
    if semi_hard:
        taken &= (gap > 0) & (gap < margin)
    swapped = apart = None
    if swap:
        apart = points.distances_of_columns(index.flatten())
        other = apart.view(gap.shape) - between.gather(1, index).unsqueeze(2)
        swapped = other < gap
        gap = torch.minimum(gap, other)
    excess = margin - gap
    losses = F.softplus(excess, threshold=50.0) if smooth else excess.clamp_min(0.0)
    losses = torch.where(taken, losses, 0.0)
    if weights is None:
        return losses, taken
    slope = torch.where(taken, torch.sigmoid(excess) if smooth else (excess > 0).to(excess.dtype), 0.0)
    of_positives = slope.sum(dim=2)
    if swapped is not None and apart is not None:
        crossed = slope * swapped
        add_column_gradients(points, index.flatten(), apart, -crossed.flatten(0, 1), grads[-1])
        slope = slope - crossed
    of_negatives = -slope.sum(dim=1)
    if rows is None:
        weights.add_(of_negatives).scatter_add_(1, index, of_positives)
    else:
        weights.index_add_(0, rows, of_negatives.scatter_add_(1, index, of_positives))
    return losses, taken
