"""Rows by their label: whose labels are whose, without an N x M mask."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.losses._inputs import kernel_integers


class LabelGroups:
    """For every row, the columns that have its label; the column that is the row itself is no positive of it.

    Args:
        labels: (N,) integers, of the rows.
        ref_labels: (M,) integers, of the columns; None where they are the rows.
        copies: (N,) int64, the column that is a copy of a row, or -1; None of none, and where columns are the rows.

    Attributes:
        counts: (N,) int64, how many columns have a row's label; with its own, where it has one.
        own: (N,) int64, the column that is the row itself, or -1; None of none.
    """

    def __init__(self, labels: Tensor, ref_labels: Tensor | None, copies: Tensor | None = None) -> None:
        self.own = torch.arange(len(labels), device=labels.device) if ref_labels is None else copies
        self._itself = ref_labels is None
        labels = kernel_integers(labels)
        columns = labels if ref_labels is None else kernel_integers(ref_labels)
        self._ordered, self._order = torch.sort(columns, stable=True)
        self._first = torch.searchsorted(self._ordered, labels)
        self._end = torch.searchsorted(self._ordered, labels, right=True)
        self.counts = self._end - self._first

    def _groups(self) -> Tensor:
        """The number of each column's group, from 0, in the order of the labels."""
        changes = torch.ones_like(self._ordered)
        changes[1:] = self._ordered[1:] != self._ordered[:-1]
        return changes.cumsum(0) - 1

    def classes(self) -> tuple[Tensor, Tensor]:
        """Numbers that are equal where labels are, of rows, -1 without a column of their label, and of columns; int32.

        What kernels compare: labels may be any numbers, these are small.
        """
        group = self._groups()
        of_columns = torch.empty_like(group).scatter_(0, self._order, group)
        of_rows = torch.where(self.counts > 0, group[self._first.clamp_max(len(group) - 1)], -1)
        return of_rows.int(), of_columns.int()

    def sums(self, values: Tensor) -> Tensor:
        """For every row, the sum of (M, D) values over the columns of its label, in a fixed order; (N, D)."""
        group = self._groups()
        if values.is_cpu:  # one pass, in order; a GPU would add in any order
            number = int(group[-1]) + 1 if self.readable() else len(group)
            of_columns = torch.empty_like(group).scatter_(0, self._order, group)
            sums = values.new_zeros((number, values.shape[1])).index_add_(0, of_columns, values)
        else:
            sums = self._segments(group, values)
        found = sums[group[self._first.clamp_max(len(group) - 1)]]
        return found if self._itself else found.masked_fill_((self.counts == 0).unsqueeze(1), 0.0)

    def _segments(self, group: Tensor, values: Tensor) -> Tensor:
        sizes = torch.zeros_like(group).scatter_add_(0, group, torch.ones_like(group))  # 0 after the last group
        return torch.segment_reduce(values[self._order], "sum", lengths=sizes, axis=0, unsafe=True)

    def partners(self) -> Tensor:
        """For every row its only positive, -1 if there is none or there are several; int64. Knows of no copies."""
        last = len(self._order) - 1
        first = self._order[self._first.clamp_max(last)]
        if not self._itself:
            return torch.where(self.counts == 1, first, -1)
        both = first + self._order[(self._first + 1).clamp_max(last)]
        return torch.where(self.counts == 2, both - torch.arange(len(both), device=both.device), -1)

    def largest(self) -> int:
        """The size of the largest group; a GPU is waited for, but in a CUDA graph's capture, which gets M."""
        if self.counts.is_cuda and torch.cuda.is_current_stream_capturing():
            return len(self._order)
        return max(1, int(self.counts.max()))

    def positives(self, start: int, stop: int, width: int | None = None) -> tuple[Tensor, Tensor]:
        """The columns of the positives of some rows, (rows, W) int64, and which of these count.

        W is the size of their largest group; where that cannot be read the ``width`` given, or else M.
        """
        columns = len(self._order)
        if self.readable() and start < stop:
            width = max(1, int(self.counts[start:stop].max()))
        width = width or columns
        place = self._first[start:stop, None] + torch.arange(width, device=self._order.device)
        index = self._order[place.clamp_max(columns - 1)]
        valid = place < self._end[start:stop, None]
        if self.own is not None:
            valid &= index != self.own[start:stop, None]
        return index, valid

    def drawn(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For every row K positives and K negatives, drawn uniformly and with replacement, and which rows have both.

        Args:
            words: (2, N, K) int64, random numbers below 2^32.

        Returns:
            ``(positives, negatives, valid)``, (N, K) int64 columns, of which only those of valid rows, (N,), count.
        """
        first, last = self._first.unsqueeze(1), len(self._order) - 1
        inside = outside = own = torch.zeros_like(first)  # is the row's own column one of its label, or another?
        if self.own is not None:
            place = torch.argsort(self._order)
            own = place[self.own.clamp_min(0)].unsqueeze(1)
            there = self.own.unsqueeze(1) >= 0
            inside = there & (own >= first) & (own < self._end.unsqueeze(1))
            outside = there & ~inside
            inside, outside = inside.long(), outside.long()
        counts = self.counts.unsqueeze(1)
        positives, negatives = counts - inside, last + 1 - counts - outside
        near = first + ((words[0] * positives) >> 32)
        near = near + inside * (near >= own)
        far = (words[1] * negatives) >> 32
        far = far + outside * (far >= torch.where(own < first, own, own - counts))
        far = far + torch.where(far >= first, counts, 0)
        valid = ((positives > 0) & (negatives > 0)).squeeze(1)
        return self._order[near.clamp(0, last)], self._order[far.clamp(0, last)], valid

    def number(self) -> int | None:
        """How many pairs have one label, with those of a row and its own column; None where that cannot be read."""
        return int(self.counts.sum()) if self.readable() else None

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Some of these pairs, less those of a row with its own column: int64 rows and columns."""
        ends = self.counts.cumsum(0)
        at = torch.arange(start, stop, device=ends.device)
        rows = torch.searchsorted(ends, at, right=True)
        columns = self._order.index_select(0, (self._end - ends).index_select(0, rows) + at)
        if self.own is None:
            return rows, columns
        others = self.own.index_select(0, rows) != columns
        return rows[others], columns[others]

    def readable(self) -> bool:
        """Whether a number may be read."""
        return readable(self.counts)


def readable(labels: Tensor) -> bool:
    """Whether a number may be read: a GPU would have to be waited for, and a graph and "meta" have none."""
    return labels.is_cpu and not torch.compiler.is_compiling()


def without_own(same: Tensor, own: Tensor | None, start: int) -> Tensor:
    """Clears, in a strip (rows, M) of who has whose label, bool or 1 and 0, the places of the rows' own columns.

    Args:
        same: the strip, of the rows from ``start`` on.
        own: (N,) int64, the column that is the row itself, or -1; None of none.
        start: the first row.
    """
    if own is not None:
        own = own[start : start + len(same), None]
        place = own.clamp_min(0)
        same.scatter_(1, place, same.gather(1, place) * (own < 0).to(same.dtype))
    return same
