"""Points at distances of one another: strips of distances, their gradients, and those of pairs of points.

What the losses with margins share.
"""

from __future__ import annotations

from copy import copy
from itertools import pairwise

import torch
from torch import Tensor

from sslfast._autograd import first_order_only, unit_rows, unit_rows_backward
from sslfast.losses._inputs import widened
from sslfast.losses._strips import rows_at_once

# One pair in so many, or more, is faster from products of whole rows than from the difference of its own, on a CPU.
_MANY = 16


class Points:
    """Rows and columns in the dtype of accumulation, normalised where asked, about their centre where only differences
    count: the square of a distance is then not the difference of far larger numbers.
    """

    def __init__(
        self,
        embeddings: Tensor,
        ref_emb: Tensor | None,
        distance: str,
        normalize: bool,
        center: Tensor | None = None,  # about which they are taken; None, the mean of the columns
    ) -> None:
        self.distance, self.normalize = distance, normalize
        self.inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
        sides = widened(*self.inputs)
        self.factors: list[Tensor] = []
        if normalize:
            pairs = [unit_rows(z) for z in sides]
            sides, self.factors = [unit for unit, _ in pairs], [factor for _, factor in pairs]
        self.units = sides
        if distance != "cosine":
            center = sides[-1].mean(dim=0) if center is None else center
            sides = [z - center for z in sides]
        self.rows, self.columns = sides[0], sides[-1]
        self.squares = [z.square().sum(dim=1) for z in (self.rows, self.columns)]

    @property
    def poison(self) -> Tensor:
        """NaN if a number is NaN or infinite, else 0."""
        sides = [self.rows] if self.columns is self.rows else [self.rows, self.columns]
        return torch.stack([(z * 0.0).sum() for z in sides]).sum()

    def strips(self) -> list[tuple[int, int]]:
        count, width = len(self.rows), len(self.columns)
        step = rows_at_once(self.rows, width)
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def distances(self, start: int, stop: int, *, first: int = 0, root: bool = True) -> Tensor:
        """Distances of some rows from the columns from ``first`` on; squared where no root is wanted."""
        part = slice(start, stop)
        return self._between(self.rows[part], self.squares[0][part], first, root)

    def distances_of(self, index: Tensor) -> Tensor:
        """Distances of those rows from all columns."""
        return self._between(self.rows.index_select(0, index), self.squares[0].index_select(0, index), 0, True)

    def distances_of_pairs(self, rows: Tensor, columns: Tensor, *, products: bool = False) -> Tensor:
        """Distances of pairs of a row and a column, (T,), in ascending order of rows; from products where they are
        many of all, or have to have the rounding of :meth:`distances`, or else from the differences, which keep the
        relative precision of small ones.
        """
        found = self.rows.new_empty(len(rows))
        if products or self._are_many(rows):
            for start, stop, some in self._pairs_in_strips(rows):
                found[some] = self.distances(start, stop)[rows[some] - start, columns[some]]
            return found
        step = rows_at_once(self.rows, self.rows.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            x, y = self.units[0].index_select(0, rows[some]), self.units[-1].index_select(0, columns[some])
            found[some] = apart_of(x, y, self.distance)
        return found

    def add_gradients_of_pairs(
        self, rows: Tensor, columns: Tensor, apart: Tensor, weights: Tensor, grads: list[Tensor]
    ) -> None:
        """Adds the gradients of ``weights`` times the distances of such pairs, no two of them alike."""
        if self._are_many(rows):
            for start, stop, some in self._pairs_in_strips(rows):
                at = (rows[some] - start, columns[some])
                between, of_pairs = self.rows.new_zeros((2, stop - start, len(self.columns)))
                between[at], of_pairs[at] = apart[some], weights[some]
                add_gradients(self, start, stop, between, of_pairs, grads)
            return
        step = rows_at_once(self.rows, self.rows.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            i, j = rows[some], columns[some]
            x, y = self.units[0].index_select(0, i), self.units[-1].index_select(0, j)
            grad_x, grad_y = pull(x, y, apart[some], weights[some], self.distance)
            grads[0].index_add_(0, i, grad_x)
            grads[-1].index_add_(0, j, grad_y)

    def _are_many(self, pairs: Tensor) -> bool:
        return len(pairs) * _MANY > len(self.rows) * len(self.columns)

    def _pairs_in_strips(self, rows: Tensor) -> list[tuple[int, int, slice]]:
        """The strips, and which of the pairs of those rows, in ascending order, are in each."""
        strips = self.strips()
        ends = [0, *[len(rows)] * len(strips)]
        if len(strips) > 1:  # else a GPU need not be waited for
            ends = torch.searchsorted(rows, torch.tensor([0, *(stop for _, stop in strips)]).to(rows)).tolist()
        return [(*strip, slice(*some)) for strip, some in zip(strips, pairwise(ends), strict=True)]

    def of_columns(self) -> Points:
        """The columns against themselves."""
        points = copy(self)
        points.rows, points.squares, points.units = self.columns, [self.squares[1]] * 2, self.units[-1:]
        return points

    def _between(self, rows: Tensor, row_squares: Tensor, first: int, root: bool) -> Tensor:
        columns = self.columns[first:]
        if self.distance == "cosine":
            return (rows @ columns.T).neg_()
        squares = row_squares[:, None] + self.squares[1][first:]
        least = squares * (8 * torch.finfo(squares.dtype).eps)
        between = squares.addmm_(rows, columns.T, alpha=-2.0)
        between.mul_(least.lt_(between))  # 0 where not: equal rows are apart by the rounding of the product
        return between.sqrt_() if root and self.distance == "euclidean" else between

    def gradients(self, grads: list[Tensor]) -> list[Tensor]:
        """From the gradients of the points to those of the inputs, in place, in the dtype of accumulation: half types
        wait for the loss's own gradient, a scale of which rescues what would be rounded to 0. None of none.
        """
        if not self.normalize or not grads:
            return grads
        found = zip(grads, self.units, self.factors, strict=True)
        return [unit_rows_backward(grad, unit, factor) for grad, unit, factor in found]

    def over_ranks(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """Sums over all anchors: these, where there is one rank."""
        return sums

    def zeros(self) -> list[Tensor]:
        return [torch.zeros_like(z) for z in self.units]


def units_of(z: Tensor, normalize: bool) -> Tensor:
    """Rows in the dtype of accumulation, normalised where asked."""
    (wide,) = widened(z)
    return unit_rows(wide)[0] if normalize else wide


def add_gradients(
    points: Points,
    start: int,
    stop: int,
    between: Tensor,
    weights: Tensor,
    grads: list[Tensor],
    *,
    first: int = 0,
) -> None:
    """Adds the gradients of a strip of distances, from the columns from ``first`` on, to those of the points."""
    rows, grad_rows = points.rows[start:stop], grads[0][start:stop]
    columns, grad_columns = points.columns[first:], grads[-1][first:]
    if points.distance != "cosine":
        weights = _per_difference(points, between, weights)
        grad_rows.addcmul_(rows, weights.sum(dim=1, keepdim=True))
        grad_columns.addcmul_(columns, weights.sum(dim=0).unsqueeze(1))
    grad_rows.addmm_(weights, columns, alpha=-1.0)
    grad_columns.addmm_(weights.T, rows, alpha=-1.0)


def add_gradients_of(points: Points, index: Tensor, between: Tensor, weights: Tensor, grads: list[Tensor]) -> None:
    """Adds the gradients of the distances of the rows ``index`` from all columns to those of the points."""
    rows = points.rows.index_select(0, index)
    of_rows = torch.zeros_like(rows)
    if points.distance != "cosine":
        weights = _per_difference(points, between, weights)
        of_rows.addcmul_(rows, weights.sum(dim=1, keepdim=True))
        grads[-1].addcmul_(points.columns, weights.sum(dim=0).unsqueeze(1))
    grads[0].index_add_(0, index, of_rows.addmm_(weights, points.columns, alpha=-1.0))
    grads[-1].addmm_(weights.T, rows, alpha=-1.0)


def add_symmetric_gradients(points: Points, between: Tensor, weights: Tensor, grad: Tensor) -> None:
    """Adds the gradients of the distances of all rows from all, where the weights of a pair and its reverse are one."""
    if points.distance != "cosine":
        weights = _per_difference(points, between, weights)
        grad.addcmul_(points.rows, weights.sum(dim=1, keepdim=True), value=2.0)
    grad.addmm_(weights, points.rows, alpha=-2.0)


def _per_difference(points: Points, between: Tensor, weights: Tensor) -> Tensor:
    """What a difference of points is multiplied by, from the derivatives in their distance; 0 where it is 0."""
    if points.distance == "euclidean":
        return (weights / between).nan_to_num_(0.0, 0.0, 0.0)
    return weights.mul_(2.0)


def keep(ctx, function: str, points: Points, grads: list[Tensor]) -> None:  # type: ignore[no-untyped-def]
    """Saves what :func:`scaled` needs."""
    ctx.save_for_backward(*points.inputs, *([None] * (2 - len(points.inputs))), *grads)
    ctx.function = function


def scaled(ctx, grad):  # type: ignore[no-untyped-def]
    """The saved gradients of embeddings and references, times the incoming one, in the dtypes of these."""
    embeddings, ref_emb, *grads = ctx.saved_tensors
    inputs = [embeddings] if ref_emb is None else [embeddings, ref_emb]
    found: list[Tensor | None] = [None, None]
    for i, needed in enumerate(ctx.needs_input_grad[1:3]):
        if needed:
            with torch.no_grad():
                product = (grads[i] * grad).to(inputs[i].dtype)
            found[i] = first_order_only(ctx.function, product, *inputs, grad)
    return found


def apart_of(x: Tensor, y: Tensor, distance: str) -> Tensor:
    """Distances of pairs of rows, (T,)."""
    if distance == "cosine":
        return -(x * y).sum(dim=1)
    squared = (x - y).square().sum(dim=1)
    return squared.sqrt() if distance == "euclidean" else squared


def pull(x: Tensor, y: Tensor, apart: Tensor, weight: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """The gradients of ``weight * apart`` in both rows of each pair."""
    if distance == "cosine":
        return y * -weight.unsqueeze(1), x * -weight.unsqueeze(1)
    weight = torch.where(apart > 0, weight / apart, 0.0) if distance == "euclidean" else 2.0 * weight
    grad = (x - y).mul_(weight.unsqueeze(1))
    return grad, -grad
