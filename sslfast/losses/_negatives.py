"""The kinds of negatives that InfoNCE adds up."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import exact_side, normalized, normalized_side
from sslfast._verdict import Options
from sslfast.distributed import count_rows, mean_gradient_over_ranks
from sslfast.losses._hard import logsumexp, own_similarities
from sslfast.losses._inputs import widened
from sslfast.losses._limits import most_similar
from sslfast.losses._negative_groups import Group, GroupSums, Ids, Side
from sslfast.losses._negative_kinds import Hardness, Kinds
from sslfast.losses._one_way import in_one_pass


class Negatives:
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
        others: the further keys that :meth:`add` will add, so that no product is made in a narrower dtype than theirs.
        exact: whether the CPU widens half types, so that the weights of products are not rounded.
        memory_budget: bytes of logits that may be kept for the gradient, of all groups; or None.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it; or None.

    Attributes:
        hard: (N, K) logits with keys of one query each, once they are added; -inf where one is left out.
        hard_left_out: which of these are left out; None without a margin.
        others: (K, D), further keys of all queries as they are compared, once they are added.
        of_keys: (M,) log-sum-exps of the keys over the queries that are not their own, where they have been made.
    """

    hard: Tensor
    hard_left_out: Tensor | None = None
    others: Tensor

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
        exact: bool = False,
        memory_budget: int | None = None,
        options: Options | None = None,
    ) -> None:
        self.function, self.strategy, self.summed = function, strategy, summed
        self.dtype = torch.promote_types(query.dtype, keys.dtype)
        wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        if others is not None:
            self.dtype = self._joint(others, wide)
        if exact and query.is_cpu:
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
        alike = self.limits is None and strength == 0.0  # both ways count the same logits
        if alike and (symmetric or (key_to_query and self.in_order)):
            row_lse, self.of_keys, self._positive = self._sums.both_ways(group)
            self._groups.append(row_lse)
            return
        self._add(self._harder(group, strength))
        if symmetric:
            queries = torch.empty_like(self.positives).index_copy_(0, self.positives, self.own)
            limits = None if self.limits is None else self.limits.index_select(0, queries)
            ids = None if self.ids is None else (self.ids[1], self.ids[0])
            sides = (*self._key_side, *self._query_side)
            group = self._group(self.keys, self.query, queries, ids, sides)._replace(limits=limits)
            self.of_keys, _ = self._sums.rows(group)

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
            self._groups.append(self.of_keys if self.in_order else self.of_keys.index_select(0, self.positives))
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
        self._groups.append(self._sums.queue(group, dtype))

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

    def _add(self, group: Group, strategy: str | None = None) -> None:
        """Adds a group; the first that can be the last waits for the others."""
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
