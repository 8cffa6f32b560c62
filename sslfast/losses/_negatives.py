"""The kinds of negatives that InfoNCE adds up."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._autograd import normalized
from sslfast.losses._hard import logsumexp, own_similarities
from sslfast.losses._negative_kinds import Kinds
from sslfast.losses._query_sums import QuerySums


class Negatives(QuerySums):
    """Makes groups of the kinds of negatives that every query has; see :class:`QuerySums` for what comes of them."""

    def add(self, kinds: Kinds, symmetric: bool) -> None:
        """All kinds of negatives; ``symmetric`` for the keys' own sums too."""
        if kinds.in_batch:
            self._add_keys(symmetric, kinds.key_to_query_negatives)
        if kinds.query_negatives:
            self._add_queries()
        if kinds.key_negatives:
            self._add_keys_of_keys()
        if kinds.key_to_query_negatives:
            self._add_queries_of_keys()
        if kinds.negative_keys is not None:
            self._add_others(kinds.negative_keys)
        if kinds.queue is not None:
            self._add_queue(kinds.queue)

    def _add_keys(self, symmetric: bool, key_to_query: bool) -> None:
        """The other keys; and the keys over the other queries, where they are asked for or come with the former."""
        self._key_groups += 1
        sides = (*self._query_side, *self._key_side)
        group = self._group(self.query, self.keys, self.positives, self.ids, sides)
        strength = self.hardness.of("in_batch")
        if strength == 0.0 and (symmetric or (key_to_query and self.in_order)):  # both ways have the same logits
            if self.limits is None:
                row_lse, self.of_keys, self._positive = self._sums.both_ways(group)
                self._groups.append(row_lse)
                return
            if self._one_pass:
                col_limits = torch.empty_like(self.limits).index_copy_(0, self.positives, self.limits)
                found = self._sums.limited(group, col_limits)
                self._append(found.row_lse, (found.row_totals, found.row_counts))
                self.of_keys, self._positive = found.col_lse, found.positives
                self.totals_of_keys = found.col_totals, found.col_counts
                return
        self._add(self._harder(group, strength))
        if symmetric:
            queries = torch.empty_like(self.positives).index_copy_(0, self.positives, self.own)
            limits = None if self.limits is None else self.limits.index_select(0, queries)
            ids = None if self.ids is None else (self.ids[1], self.ids[0])
            sides = (*self._key_side, *self._query_side)
            group = self._group(self.keys, self.query, queries, ids, sides)._replace(limits=limits)
            if self.totals is None:
                self.of_keys, _ = self._sums.rows(group)
            else:
                found = self._sums.limited(group)
                self.of_keys, self.totals_of_keys = found.row_lse, (found.row_totals, found.row_counts)

    def _add_queries(self) -> None:
        """The other queries."""
        self._query_groups += 1
        lse = self._itself(self.query, self._query_side)
        if lse is not None:
            self._groups.append(lse)
            return
        ids = None if self.ids is None else (self.ids[0], self.ids[0])
        sides = (*self._query_side, *self._query_side)
        self._add(self._group(self.query, self.query, self.own, ids, sides))

    def _add_keys_of_keys(self) -> None:
        """The other keys, by their similarity with the positive key."""
        self._key_groups += 1
        lse = self._itself(self.keys, self._key_side) if self.in_order else None
        if lse is not None:
            self._groups.append(lse)
            return
        rows, side, row_ids = self._positive_keys()
        ids = None if self.ids is None or row_ids is None else (row_ids, self.ids[1])
        self._add(self._group(rows, self.keys, self.positives, ids, (*side, *self._key_side)))

    def _add_queries_of_keys(self) -> None:
        """The other queries, by their similarity with the positive key."""
        self._query_groups += 1
        if self.of_keys is not None:
            totals = () if self.totals is None else self.totals_of_keys
            lse, *rest = (
                each if self.in_order else each.index_select(0, self.positives) for each in (self.of_keys, *totals)
            )
            self._append(lse, tuple(rest))
            return
        rows, side, row_ids = self._positive_keys()
        ids = None if self.ids is None or row_ids is None else (row_ids, self.ids[0])
        self._add(self._group(rows, self.query, self.own, ids, (*side, *self._query_side)))

    def _add_others(self, keys: Tensor) -> None:
        """Further keys of this rank: (K, D) for all queries or (N, K, D) for one each."""
        self._others += keys.shape[-2]
        strength = self.hardness.of("negative_keys")
        if keys.dim() == 2:
            others = keys.to(self.query.dtype)
            self.others = normalized(self.function, others) if self.normalize else others
            sides = (*self._query_side, *self._side(keys))
            group = self._group(self.query, self.others, torch.full_like(self.own, -1), None, sides)
            self._add(self._harder(group, strength), "local")
            return
        similarities = own_similarities(self.function, self.query, keys, self.normalize)
        logits = self.scale * similarities
        if self.limits is not None:
            self.hard_left_out = logits > self.limits.unsqueeze(1)
            logits = logits.masked_fill(self.hard_left_out, float("-inf"))
        self.hard = logits if strength == 0.0 else logits.add(similarities.detach(), alpha=strength)
        self._groups.append(logsumexp(self.hard, dim=1))

    def _add_queue(self, queue: Tensor) -> None:
        """Constant negatives of all queries, taken as they are: products in the queue's dtype where that is wider."""
        self._others += len(queue)
        dtype = self._joint(queue, self.query.dtype)
        sides = (*(self._query_side if dtype == self.dtype else (None, None)), None, None)
        group = self._harder(self._group(self.query, queue, None, None, sides), self.hardness.of("queue"))
        if self.totals is None:
            self._groups.append(self._sums.queue(group, dtype))
        else:
            self._add_limited(group, dtype)
