"""Pairs of near and of far points and their loss with its gradients: the part of ContrastiveLoss that computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast.losses._few_rows import MOST_ROWS
from sslfast.losses._labels import LabelGroups, readable, without_own
from sslfast.losses._points import Points, add_gradients, add_symmetric_gradients, apart_of, keep, pull, scaled
from sslfast.losses._strips import in_strips

_PAIRS = 4096  # pairs whose embeddings are held at once
_FEW = 64  # one pair in so many, or fewer, is faster from the difference of its embeddings than from a product of all


def pairs_in_strips(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    terms: tuple[float, float, bool],
    distance: str,
    normalize: bool,
    reduction: str,
) -> Tensor:
    """The loss of all pairs; arguments as checked by :func:`contrastive_loss`.

    ``terms`` are the margins of positive and of negative pairs, and whether terms are squared.
    """
    loss: Tensor = _AllPairs.apply(
        function, embeddings, ref_emb, labels, ref_labels, copies, terms, distance, normalize, reduction
    )
    return loss


def given_pairs(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    pairs: Sequence[Tensor],
    terms: tuple[float, float, bool],
    distance: str,
    normalize: bool,
    reduction: str,
) -> Tensor:
    """The loss of the pairs with these rows: anchors and their positives, anchors and their negatives."""
    loss: Tensor = _GivenPairs.apply(function, embeddings, ref_emb, tuple(pairs), terms, distance, normalize, reduction)
    return loss


class Side:
    """The terms of the positive pairs, or of the negative ones: their sum, their number, and their gradients.

    A term is ``max(0, sign * (d - margin))``, or its square; the gradients wait for the number to divide them by.
    Each term stands for ``times`` pairs.
    """

    def __init__(
        self,
        points: Points,
        positive: bool,
        terms: tuple[float, float, bool],
        reduction: str,
        needed: bool,
        times: float = 1.0,
    ) -> None:
        self.points, self.reduction, self.times = points, reduction, times
        margin = terms[0] if positive else terms[1]
        self.margin = -margin if points.distance == "cosine" else margin
        self.sign = 1.0 if positive else -1.0
        self.squared = terms[2]
        self.total = torch.zeros((), dtype=torch.float64, device=points.rows.device)
        self.number = torch.zeros_like(self.total)  # whole, and exact: far below 2^53
        self.grads = points.zeros() if needed else []

    def add_strip(self, start: int, stop: int, first: int, between: Tensor, taken: Tensor) -> None:
        """The pairs that are ``taken``, 1 and not 0, of a strip (rows, columns from ``first`` on)."""
        weights = self._add(between, taken)
        if self.grads:
            add_gradients(self.points, start, stop, between, weights, self.grads, first=first)

    def add_square(self, between: Tensor, taken: Tensor) -> None:
        """The pairs that are ``taken`` of all rows with all, both of a pair and its reverse."""
        weights = self._add(between, taken)
        if self.grads:
            add_symmetric_gradients(self.points, between, weights, self.grads[0])

    def add_pairs(self, rows: Tensor, columns: Tensor) -> None:
        """Pairs one by one, some thousands at once, from the differences of their embeddings."""
        units = self.points.units
        for start in range(0, len(rows), _PAIRS):
            i, j = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
            x, y = units[0].index_select(0, i), units[-1].index_select(0, j)
            apart = apart_of(x, y, self.points.distance)
            weights = self._add(apart, None)
            if self.grads:
                grad_x, grad_y = pull(x, y, apart, weights, self.points.distance)
                self.grads[0].index_add_(0, i, grad_x)
                self.grads[-1].index_add_(0, j, grad_y)

    def _add(self, between: Tensor, taken: Tensor | None) -> Tensor:
        """Counts the terms of these distances, and returns the derivatives in them."""
        excess = (between - self.margin).mul_(self.sign).clamp_min_(0.0)
        if taken is not None:
            excess.mul_(taken)
        above = excess.sign()  # as numbers: torch is several times slower from bool to float and back
        if self.reduction == "mean_nonzero":
            self.number += above.sum()
        elif self.reduction == "mean":
            self.number += between.numel() if taken is None else taken.sum()
        self.total += (excess.square() if self.squared else excess).sum()
        return excess.mul_(2.0 * self.sign) if self.squared else above.mul_(self.sign)

    def reduced(self) -> tuple[Tensor, list[Tensor]]:
        """The loss of these terms and its gradients."""
        if self.reduction == "sum":
            share = torch.full_like(self.total, self.times)
        else:
            share = self.number.clamp_min(1.0).reciprocal()
        return self.total * share, [grad.mul_(share) for grad in self.grads]


def both_sides(
    points: Points,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    terms: tuple[float, float, bool],
    reduction: str,
    needed: bool,
    *,
    times: float = 1.0,
    few: bool = False,
) -> tuple[Side, Side]:
    """The positive pairs and the negative ones, counted; a pair of a row and a reference stands for so many.

    Without references a pair and its reverse are one: rows meet the columns after them. Rows that all fit into one
    strip meet all: that is one product less than from half of the square. Positives are taken one by one, from the
    differences of their embeddings, where they are few of these pairs, or of others that the caller knows of; not where
    their number cannot be read.
    """
    itself = ref_labels is None
    column_labels = labels if ref_labels is None else ref_labels
    groups = listed = None
    if readable(labels):
        groups = LabelGroups(labels, ref_labels, copies)
        listed = groups.number()
        if listed is not None and not (few or _are_few(listed, len(labels), len(column_labels))):
            listed = None
    strips = points.strips()
    square = itself and len(strips) == 1
    half = 2.0 if itself else times
    positives = Side(points, True, terms, reduction, needed, 1.0 if square and listed is None else half)
    negatives = Side(points, False, terms, reduction, needed, 1.0 if square else half)
    if groups is not None and listed is not None:
        for start in range(0, listed, _PAIRS):
            rows, columns = groups.pairs(start, min(start + _PAIRS, listed))
            if itself:
                rows, columns = rows[rows < columns], columns[rows < columns]
            positives.add_pairs(rows, columns)
    for start, stop in strips:
        first = start if itself else 0
        between = points.distances(start, stop, first=first)
        same = torch.eq(labels[start:stop, None], column_labels[first:], out=torch.empty_like(between))
        for side, taken in ((positives, same), (negatives, 1.0 - same)):
            if side is positives and listed is not None:
                continue
            if square:
                side.add_square(between, taken.fill_diagonal_(0.0))
            else:
                taken = taken.triu_(1) if itself else without_own(taken, copies, start)
                side.add_strip(start, stop, first, between, taken)
    return positives, negatives


def _are_few(positives: int, rows: int, columns: int) -> bool:
    return positives * _FEW <= rows * columns


def few_positives(labels: Tensor) -> bool:
    """Whether one process takes the positives of rows with these labels one by one, as its operator of few rows does,
    too; a GPU does not.
    """
    number = LabelGroups(labels, None).number() if readable(labels) else None
    if number is None:
        return False
    rows = len(labels)
    return _are_few(number, rows, rows) or (rows <= MOST_ROWS and not in_strips(number - rows, rows, rows))


def _finished(ctx, function: str, points: Points, sides: tuple[Side, Side]) -> Tensor:  # type: ignore[no-untyped-def]
    """The loss; its gradients are saved."""
    (near, near_grads), (far, far_grads) = (side.reduced() for side in sides)
    grads = points.gradients([a.add_(b) for a, b in zip(near_grads, far_grads, strict=True)])
    keep(ctx, function, points, grads)
    return (near + far).to(points.rows.dtype) + points.poison


class _AllPairs(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, labels, ref_labels, copies, terms, distance, normalize, reduction
    ):
        with torch.no_grad():
            points = Points(embeddings, ref_emb, distance, normalize)
            needed = any(ctx.needs_input_grad[1:3])
            sides = both_sides(points, labels, ref_labels, copies, terms, reduction, needed)
            return _finished(ctx, function, points, sides)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *scaled(ctx, grad), *[None] * 7)


class _GivenPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, embeddings, ref_emb, pairs, terms, distance, normalize, reduction):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            points = Points(embeddings, ref_emb, distance, normalize)
            needed = any(ctx.needs_input_grad[1:3])
            positives, negatives = (Side(points, positive, terms, reduction, needed) for positive in (True, False))
            positives.add_pairs(*pairs[:2])
            negatives.add_pairs(*pairs[2:])
            return _finished(ctx, function, points, (positives, negatives))

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, *scaled(ctx, grad), *[None] * 5)
