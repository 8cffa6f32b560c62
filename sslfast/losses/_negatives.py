"""The kinds of negatives that InfoNCE adds up."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import exact_side, normalized, normalized_side
from sslfast._verdict import Options
from sslfast.distributed import count_rows, mean_gradient_over_ranks
from sslfast.losses._cross import cross_softmax
from sslfast.losses._cross_ranks import cross_softmax_over_ranks
from sslfast.losses._hard import logsumexp, own_similarities
from sslfast.losses._inputs import widened
from sslfast.losses._kept import Budget, half_of_logits
from sslfast.losses._one_way import in_one_pass, one_way_softmax
from sslfast.losses._queue import queue_softmax
from sslfast.losses._self import self_softmax

_Ids = tuple[Tensor, Tensor]
_Side = tuple[Tensor | None, ...]  # an exact side of the products and its factors; or those of rows and of columns


class _Group(NamedTuple):
    """Rows against columns, and what of these is left out: each row's own, those with its id or above its limit."""

    rows: Tensor
    columns: Tensor
    positives: Tensor | None
    ids: _Ids | None
    limits: Tensor | None
    sides: _Side

    def options(self) -> dict[str, Any]:
        """What the functions of log-sum-exps take by name."""
        row_ids, col_ids = self.ids or (None, None)
        return {"row_ids": row_ids, "col_ids": col_ids, "row_limits": self.limits, "sides": self.sides}


class Negatives:
    """Collects log-sum-exps over groups of negatives of every query.

    Query and keys are normalised once, in the dtype of accumulation, and whatever is made of them is made of that:
    gradients in half types are rounded once, when all are added up.

    Args:
        function: the name that errors begin with.
        query: (N, D), checked by the caller, as all that follows.
        keys: (M, D).
        positives: (N,) int64, a key for every query, or None for the one of the same number.
        scale: factor of the similarities, a tensor of one number.
        number: the same as a number, or None where it is not known without waiting for it, or requires a gradient.
        margin: how far above the positive's similarity a negative counts as false, or None.
        ids: of queries (N,) and of keys (M,), int64, or None.
        normalize: whether queries, keys and further keys are divided by their norms.
        strategy: ``"local"``, or how the batches of all ranks come together.
        summed: whether :meth:`total` is all that is wanted; with the strategy ``"local"``.
        others: what :meth:`add_others` will add, so that no product is made in a narrower dtype than theirs.
        memory_budget: bytes of logits that may be kept for the gradient, of all groups; or None.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it; or None.

    Attributes:
        hard: (N, K) logits with keys of one query each, once they are added; -inf where one is left out.
        of_keys: (M,) log-sum-exps of the keys over the queries that are not their own, once they are added two-way.
    """

    of_keys: Tensor
    hard: Tensor

    def __init__(
        self,
        function: str,
        query: Tensor,
        keys: Tensor,
        positives: Tensor | None,
        scale: Tensor,
        number: float | None,
        margin: float | None,
        ids: _Ids | None,
        normalize: bool,
        strategy: str,
        summed: bool = False,
        others: Tensor | None = None,
        memory_budget: int | None = None,
        options: Options | None = None,
    ) -> None:
        self._options = options or {}
        self.function, self.strategy, self.summed = function, strategy, summed
        self._budget = Budget(memory_budget)
        self.dtype = torch.promote_types(query.dtype, keys.dtype)
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        if others is not None:
            self.dtype = self._joint(others, wide)
        self._query_side: _Side
        self._key_side: _Side
        if normalize:
            self.query, self._query_side = normalized_side(function, query, wide, self.dtype)
            self.keys, self._key_side = normalized_side(function, keys, wide, self.dtype)
        else:
            self.query, self.keys = widened(query, keys)
            self._query_side = self._key_side = (None, None)
        self.scale = scale.to(self.query.dtype)
        if strategy != "local":
            self.scale = mean_gradient_over_ranks(self.scale)
        self.number, self.ids, self.normalize = number, ids, normalize
        self.own = torch.arange(len(query), device=query.device)
        self.in_order = positives is None
        self.positives = self.own if positives is None else positives
        self.limits = None if margin is None else self._limits(margin)
        self._groups: list[Tensor] = []
        self._last: _Group | None = None  # a group that waits for the others
        self._key_groups, self._query_groups, self._others = 0, 0, 0
        self._positive: Tensor | None = None

    @property
    def lse(self) -> Tensor:
        """(N,), over all that was added."""
        return self._groups[0] if len(self._groups) == 1 else logsumexp(torch.stack(self._groups), dim=0)

    def counts(self) -> tuple[int, int]:
        """How many negatives a query and a key have, before ids and margin; over ranks a GPU is waited for."""
        queries = count_rows(self.query, self.strategy)
        keys = queries if self.in_order else count_rows(self.keys, self.strategy)
        of_query = self._key_groups * (keys - 1) + self._query_groups * (queries - 1) + self._others
        return of_query, queries - 1

    @property
    def positive(self) -> Tensor:
        """(N,) logits of the positives."""
        return self.scale * self._similarities() if self._positive is None else self._positive

    def total(self, weights: Tensor | None) -> Tensor:
        """The sum of the losses of the queries, each times its weight if there are weights.

        The last group comes in one pass with its gradients, which takes that all other negatives are known.
        """
        if self._last is None:
            losses = softplus_losses(self.lse, self.positive)
            return (losses if weights is None else losses * weights).sum()
        group = self._last
        assert group.positives is not None
        return one_way_softmax(
            self.function,
            group.rows,
            group.columns,
            self.scale,
            group.positives,
            weights=weights,
            known_lse=self.lse if self._groups else None,
            known_positive=None if self._has_positives(group) else self.positive,
            dtype=self.dtype,
            **group.options(),
        )

    def add_keys(self, two_way: bool) -> None:
        """The other keys; ``two_way`` for the keys' own sums too."""
        self._key_groups += 1
        sides = (*self._query_side, *self._key_side)
        group = _Group(self.query, self.keys, self.positives, self.ids, self.limits, sides)
        if not two_way:
            self._add(group)
        elif self.limits is None:
            row_lse, self.of_keys, self._positive = self._cross(group, self.strategy, two_way=True)
            self._groups.append(row_lse)
        else:  # what is left out differs between the two ways
            self._groups.append(self._against(group))
            queries = torch.empty_like(self.positives).index_copy_(0, self.positives, self.own)
            limits = self.limits.index_select(0, queries)
            ids = None if self.ids is None else (self.ids[1], self.ids[0])
            sides = (*self._key_side, *self._query_side)
            self.of_keys = self._against(_Group(self.keys, self.query, queries, ids, limits, sides))

    def add_queries(self) -> None:
        """The other queries."""
        self._query_groups += 1
        lse = self._itself(self.query, self._query_side)
        if lse is not None:
            self._groups.append(lse)
            return
        ids = None if self.ids is None else (self.ids[0], self.ids[0])
        sides = (*self._query_side, *self._query_side)
        self._add(_Group(self.query, self.query, self.own, ids, self.limits, sides))

    def add_keys_of_keys(self) -> None:
        """The other keys, by their similarity with the positive key."""
        self._key_groups += 1
        lse = self._itself(self.keys, self._key_side) if self.in_order else None
        if lse is not None:
            self._groups.append(lse)
            return
        ids = None if self.ids is None else (self.ids[1].index_select(0, self.positives), self.ids[1])
        side = self._key_side
        if not self.in_order:
            side = tuple(None if part is None else part.index_select(0, self.positives) for part in side)
        sides = (*side, *self._key_side)
        self._add(_Group(self._chosen(), self.keys, self.positives, ids, self.limits, sides))

    def add_others(self, keys: Tensor) -> None:
        """Further keys of this rank: (K, D) for all queries or (N, K, D) for one each."""
        self._others += keys.shape[-2]
        if keys.dim() == 2:
            others = keys.to(self.query.dtype)
            others = normalized(self.function, others) if self.normalize else others
            sides = (*self._query_side, *self._side(keys))
            self._add(_Group(self.query, others, torch.full_like(self.own, -1), None, self.limits, sides), "local")
            return
        logits = self.scale * own_similarities(self.function, self.query, keys, self.normalize)
        if self.limits is not None:
            logits = logits.masked_fill(logits > self.limits.unsqueeze(1), float("-inf"))
        self.hard = logits
        self._groups.append(logsumexp(logits, dim=1))

    def add_queue(self, queue: Tensor) -> None:
        """Constant negatives of all queries, taken as they are: products in the queue's dtype where that is wider."""
        self._others += len(queue)
        dtype = self._joint(queue, self.query.dtype)
        sides = (*(self._query_side if dtype == self.dtype else (None, None)), None, None)
        self._groups.append(self._queue(_Group(self.query, queue, None, None, self.limits, sides), dtype))

    def _joint(self, others: Tensor, wide: torch.dtype) -> torch.dtype:
        """What products with others are made in, so that these are not rounded; float64 if queries or keys are."""
        joint = torch.promote_types(self.dtype, others.dtype)
        return wide if joint == torch.float64 else joint

    def _side(self, z: Tensor) -> _Side:
        return exact_side(z, self.dtype) if self.normalize else (None, None)

    def _chosen(self) -> Tensor:
        return self.keys if self.in_order else self.keys.index_select(0, self.positives)

    def _similarities(self) -> Tensor:
        return (self.query * self._chosen()).sum(dim=1)

    def _limits(self, margin: float) -> Tensor:
        # The logits come from a product in another order: what equals the limit must not fall on either side by chance.
        slack = 16 * torch.finfo(self.query.dtype).eps
        with torch.no_grad():
            return self.scale * (self._similarities() + margin + slack)

    def _itself(self, rows: Tensor, side: _Side) -> Tensor | None:
        """Log-sum-exps of rows over the other rows, from half of their similarities; None where that is not enough:
        where ids or limits leave out some, and over ranks.
        """
        if self.number is None or self.strategy != "local" or self.ids is not None or self.limits is not None:
            return None
        lse, _ = self_softmax(
            self.function,
            rows,
            self.number,
            torch.full_like(self.own, -1),
            normalize=False,
            max_similarity=1.0 if self.normalize else math.inf,
            dtype=self.dtype,
            memory_budget=self._budget.share(half_of_logits(len(rows)), self.dtype, rows),
            side=side,
        )
        return lse

    def _add(self, group: _Group, strategy: str | None = None) -> None:
        """Adds a group; the first that can be the last waits for the others."""
        if (
            self.summed
            and self._last is None
            and group.columns.requires_grad
            and torch.is_grad_enabled()
            and in_one_pass(group.rows, group.columns, self.dtype)
        ):
            self._last = group
        else:
            self._groups.append(self._against(group, strategy))

    def _has_positives(self, group: _Group) -> bool:
        return group.rows is self.query and group.columns is self.keys

    def _against(self, group: _Group, strategy: str | None = None) -> Tensor:
        """Log-sum-exps of rows over columns: in one reading where the columns take no gradient."""
        strategy = strategy or self.strategy
        if strategy == "local" and not (group.columns.requires_grad and torch.is_grad_enabled()):
            return self._queue(group, self.dtype)
        lse, _, positive = self._cross(group, strategy, two_way=False)
        if self._has_positives(group):
            self._positive = positive
        return lse

    def _cross(self, group: _Group, strategy: str, *, two_way: bool) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = group.rows, group.columns
        assert group.positives is not None
        if strategy != "local":
            function = functools.partial(cross_softmax_over_ranks, strategy=strategy, options=self._options)
        else:
            budget = self._budget.share(len(rows) * len(columns), self.dtype, rows, columns)
            function = functools.partial(cross_softmax, memory_budget=budget)
        return function(
            self.function,
            rows,
            columns,
            self.scale,
            group.positives,
            two_way=two_way,
            normalize=False,
            max_similarity=1.0 if self.normalize else math.inf,
            dtype=self.dtype,
            **group.options(),
        )

    def _queue(self, group: _Group, dtype: torch.dtype) -> Tensor:
        return queue_softmax(
            self.function,
            group.rows,
            group.columns,
            self.scale,
            positives=group.positives,
            dtype=dtype,
            **group.options(),
        )


def softplus_losses(lse: Tensor, positive: Tensor) -> Tensor:
    """(N,), of log-sum-exps over the negatives and the logits of the positives.

    An infinite feature may make nothing infinite but its own pair's logit, which would then count as a perfect pair.
    """
    return torch.add(F.softplus(lse - positive, threshold=50.0), positive.detach(), alpha=0.0)
