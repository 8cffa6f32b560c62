"""Queries and keys, and the log-sum-exps that are collected over groups of negatives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import exact_side, normalized_side
from sslfast._verdict import Options
from sslfast.distributed import count_rows, mean_gradient_over_ranks
from sslfast.losses._hard import logsumexp
from sslfast.losses._inputs import widened
from sslfast.losses._limited import takes_one_pass
from sslfast.losses._limits import most_similar
from sslfast.losses._negative_groups import Group, GroupSums, Ids, Side
from sslfast.losses._negative_kinds import Hardness
from sslfast.losses._one_way import in_one_pass


class QuerySums:
    """Collects log-sum-exps over groups of negatives of every query.

    Query and keys are normalised once, in the dtype of accumulation, and whatever is made of them is made of that:
    gradients in half types are rounded once, when all are added up.

    Args:
        function: the name that errors begin with.
        query: (N, D), checked by the caller, as all that follows.
        keys: (M, D).
        positives: (N,) int64, a key for every query, or None for the one of the same number.
        scale: factor of the similarities, a number or a tensor of one, which is not waited for.
        margin: how far above the positive's similarity a negative counts as false, or None.
        hardness: what is added to the logits of some kinds.
        ids: of queries (N,) and of keys (M,), int64, or None.
        normalize: whether queries, keys and further keys are divided by their norms.
        strategy: ``"local"``, or how the batches of all ranks come together.
        summed: whether :meth:`total` is all that is wanted; with the strategy ``"local"``.
        others: the further keys that will be added, so that no product is made in a narrower dtype than theirs.
        smooths: whether :func:`~sslfast.losses._smoothing.smoothed_part` will ask for what counts.
        exact: whether the CPU widens half types, so that the weights of products are not rounded before those of
            smoothing are taken off; with ``totals`` these are off already.
        memory_budget: bytes of logits that may be kept for the gradient, of all groups; or None.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it; or None.

    Attributes:
        hard: (N, K) logits with keys of one query each, -inf where one is left out; or None.
        hard_left_out: which of these are left out; None without a margin.
        others: (K, D), further keys of all queries as they are compared, once they are added.
        totals: with a margin where one pass of a group makes all, the sums of the logits of every query that count, and
            how many these are, group by group but for ``hard``; else None.
        totals_of_keys: with ``totals``, those of the keys over the queries, where ``of_keys`` has been made.
        of_keys: (M,) log-sum-exps of the keys over the queries that are not their own, where they have been made.
    """

    hard: Tensor | None = None
    hard_left_out: Tensor | None = None
    others: Tensor
    totals_of_keys: tuple[Tensor, Tensor]

    def __init__(
        self,
        function: str,
        query: Tensor,
        keys: Tensor,
        positives: Tensor | None,
        scale: float | Tensor,
        margin: float | None,
        hardness: Hardness,
        ids: Ids | None,
        normalize: bool,
        strategy: str,
        summed: bool = False,
        others: Tensor | None = None,
        smooths: bool = False,
        exact: bool = False,
        memory_budget: int | None = None,
        options: Options | None = None,
    ) -> None:
        self.function, self.strategy, self.summed = function, strategy, summed
        self.dtype = torch.promote_types(query.dtype, keys.dtype)
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        if others is not None:
            self.dtype = self._joint(others, wide)
        self._one_pass = margin is not None and strategy == "local" and takes_one_pass(query)
        self.totals: list[tuple[Tensor, Tensor]] | None = [] if self._one_pass and smooths else None
        if exact and query.is_cpu and self.totals is None:
            self.dtype = wide
        self._query_side: Side
        self._key_side: Side
        if normalize:
            self.query, self._query_side = normalized_side(function, query, wide, self.dtype)
            self.keys, self._key_side = normalized_side(function, keys, wide, self.dtype)
        else:
            self.query, self.keys = widened(query, keys)
            self._query_side = self._key_side = (None, None)
        self.number = None if isinstance(scale, Tensor) else scale
        if not isinstance(scale, Tensor):
            scale = query.new_full((1,), scale, dtype=torch.float64)
        self.scale = scale.to(self.query.dtype).reshape(1)
        if strategy != "local":
            self.scale = mean_gradient_over_ranks(self.scale)
        self.hardness, self.ids, self.normalize = hardness, ids, normalize
        bound = 1.0 if normalize else math.inf
        self._sums = GroupSums(function, self.scale, strategy, self.dtype, bound, memory_budget, options)
        self.own = torch.arange(len(query), device=query.device)
        self.in_order = positives is None
        self.positives = self.own if positives is None else positives
        self._most = None if margin is None else most_similar(self.query, self._own_keys(), margin)
        self.limits = self._limits(self.scale)
        self.of_keys: Tensor | None = None
        self._groups: list[Tensor] = []
        self._last: Group | None = None  # a group that waits for the others
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
        known_lse = self.lse if self._groups else None
        return self._sums.total(
            self._last, weights, known_lse, None if self._has_positives(self._last) else self.positive
        )

    def _joint(self, others: Tensor, wide: torch.dtype) -> torch.dtype:
        """What products with others are made in, so that these are not rounded; float64 if queries or keys are."""
        joint = torch.promote_types(self.dtype, others.dtype)
        return wide if joint == torch.float64 else joint

    def _side(self, z: Tensor) -> Side:
        return exact_side(z, self.dtype) if self.normalize else (None, None)

    def _positive_keys(self) -> tuple[Tensor, Side, Tensor | None]:
        """The key of every query, the side that it is multiplied as, and its id."""
        key_ids = None if self.ids is None else self.ids[1]
        if self.in_order:
            return self.keys, self._key_side, key_ids
        *side, chosen_ids = (
            None if part is None else part.index_select(0, self.positives) for part in (*self._key_side, key_ids)
        )
        return self.keys.index_select(0, self.positives), tuple(side), chosen_ids

    def _own_keys(self) -> Tensor:
        return self.keys if self.in_order else self.keys.index_select(0, self.positives)

    def _similarities(self) -> Tensor:
        return (self.query * self._own_keys()).sum(dim=1)

    def _limits(self, scale: Tensor) -> Tensor | None:
        return None if self._most is None else scale.detach() * self._most

    def _group(self, rows: Tensor, columns: Tensor, positives: Tensor | None, ids: Ids | None, sides: Side) -> Group:
        return Group(rows, columns, positives, ids, self.limits, sides)

    def _harder(self, group: Group, strength: float) -> Group:
        if strength == 0.0:
            return group
        return group._replace(strength=strength, limits=self._limits(self.scale + strength))

    def _itself(self, rows: Tensor, side: Side) -> Tensor | None:
        """Log-sum-exps of rows over the other rows, from half of their similarities; None where that is not enough:
        where ids or limits leave out some, and over ranks.
        """
        if self.number is None or self.strategy != "local" or self.ids is not None or self.limits is not None:
            return None
        return self._sums.among_themselves(rows, self.number, side)

    def _append(self, lse: Tensor, totals: tuple[Tensor, Tensor]) -> None:
        self._groups.append(lse)
        if self.totals is not None:
            self.totals.append(totals)

    def _add_limited(self, group: Group, dtype: torch.dtype | None = None) -> None:
        """Adds a group with what smoothing asks of it."""
        found = self._sums.limited(group, dtype=dtype)
        self._append(found.row_lse, (found.row_totals, found.row_counts))
        if self._has_positives(group):
            self._positive = found.positives

    def _add(self, group: Group, strategy: str | None = None) -> None:
        """Adds a group; the first that can be the last waits for the others."""
        if self.totals is not None:
            self._add_limited(group)
            return
        if (
            self.summed
            and self._last is None
            and group.columns.requires_grad
            and torch.is_grad_enabled()
            and in_one_pass(group.rows, group.columns, self.dtype)
        ):
            self._last = group
            return
        lse, positive = self._sums.rows(group, strategy)
        self._groups.append(lse)
        if positive is not None and self._has_positives(group):
            self._positive = positive

    def _has_positives(self, group: Group) -> bool:
        """Whether its positives are the queries' keys: query and keys may be one tensor, and so any group's sides."""
        return group.rows is self.query and group.columns is self.keys and group.positives is self.positives


def softplus_losses(lse: Tensor, positive: Tensor) -> Tensor:
    """(N,), of log-sum-exps over the negatives and the logits of the positives.

    An infinite feature may make nothing infinite but its own pair's logit, which would then count as a perfect pair.
    """
    return torch.add(F.softplus(lse - positive, threshold=50.0), positive.detach(), alpha=0.0)
