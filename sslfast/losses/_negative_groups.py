"""Groups of negatives, rows against columns, and the log-sum-exps that InfoNCE takes of them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast._verdict import Options
from sslfast.losses._cross import cross_softmax
from sslfast.losses._cross_ranks import cross_softmax_over_ranks
from sslfast.losses._kept import Budget, half_of_logits
from sslfast.losses._limited import Limited, limited_softmax
from sslfast.losses._one_way import one_way_softmax
from sslfast.losses._queue import queue_softmax
from sslfast.losses._self import self_softmax

Ids = tuple[Tensor, Tensor]
Side = tuple[Tensor | None, ...]  # an exact side of the products and its factors; or those of rows and of columns


class Group(NamedTuple):
    """Rows against columns, and what of these is left out: each row's own, those with its id or above its limit.

    ``strength`` times the similarity, a constant for the gradient, is added to the logits of what counts.
    """

    rows: Tensor
    columns: Tensor
    positives: Tensor | None
    ids: Ids | None
    limits: Tensor | None
    sides: Side
    strength: float = 0.0

    def options(self) -> dict[str, Any]:
        """What the functions of log-sum-exps take by name."""
        row_ids, col_ids = self.ids or (None, None)
        excluded = {"row_ids": row_ids, "col_ids": col_ids, "row_limits": self.limits}
        return {**excluded, "sides": self.sides, "strength": self.strength}


def _with_own_columns(group: Group) -> Group:
    """With a copy of columns, a queue say, which may change before backward reads them again."""
    if group.sides[2] is None:
        return group._replace(columns=group.columns.clone())
    return group._replace(sides=(*group.sides[:2], group.sides[2].clone(), group.sides[3]))


class GroupSums:
    """Log-sum-exps of groups, in the ways that what needs a gradient and the ranks leave.

    Args:
        function: the name that errors begin with.
        scale: factor of the similarities, a tensor of one number.
        strategy: ``"local"``, or how the batches of all ranks come together.
        dtype: what products are made in where the device has them in half types.
        max_similarity: what no similarity of normalised rows and columns exceeds, or infinity.
        memory_budget: bytes of logits that may be kept for the gradient, of all groups; or None.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it; or None.
    """

    def __init__(
        self,
        function: str,
        scale: Tensor,
        strategy: str,
        dtype: torch.dtype,
        max_similarity: float,
        memory_budget: int | None,
        options: Options | None,
    ) -> None:
        self._function, self._scale, self._strategy, self._dtype = function, scale, strategy, dtype
        self._max_similarity, self._budget, self._options = max_similarity, Budget(memory_budget), options or {}

    def rows(self, group: Group, strategy: str | None = None) -> tuple[Tensor, Tensor | None]:
        """Log-sum-exps of rows over columns, in one reading where the columns take no gradient.

        Returns:
            (N,), and the logits of the positives (N,) or, after one reading, None.
        """
        strategy = strategy or self._strategy
        if strategy == "local" and not (group.columns.requires_grad and torch.is_grad_enabled()):
            return self.queue(group, self._dtype), None
        lse, _, positive = self._cross(group, strategy, two_way=False)
        return lse, positive

    def both_ways(self, group: Group) -> tuple[Tensor, Tensor, Tensor]:
        """Log-sum-exps of rows over columns and of columns over rows, and the logits of the positives."""
        return self._cross(group, self._strategy, two_way=True)

    def limited(self, group: Group, col_limits: Tensor | None = None, dtype: torch.dtype | None = None) -> Limited:
        """What counts for rows, and with limits for columns, too; of this rank, from products in ``dtype``.

        Of constants for rows alone, a long queue say, no logits are kept.
        """
        rows, columns, positives, limits = group.rows, group.columns, group.positives, group.limits
        assert limits is not None
        dtype = dtype or self._dtype
        budget: int | None = 0
        if columns.requires_grad or col_limits is not None:
            budget = self._budget.share(len(rows) * len(columns), dtype, rows, columns, packs=False)
        elif torch.is_grad_enabled() and (rows.requires_grad or self._scale.requires_grad):
            group = _with_own_columns(group)
        row_ids, col_ids = group.ids or (None, None)
        return limited_softmax(
            self._function,
            rows,
            group.columns,
            self._scale,
            rows.new_full((len(rows),), -1, dtype=torch.int64) if positives is None else positives,
            limits,
            col_limits,
            row_ids=row_ids,
            col_ids=col_ids,
            dtype=dtype,
            memory_budget=budget,
            sides=group.sides,
            strength=group.strength,
        )

    def queue(self, group: Group, dtype: torch.dtype) -> Tensor:
        """Log-sum-exps of rows over columns that take no gradient, from products in ``dtype``."""
        return queue_softmax(
            self._function,
            group.rows,
            group.columns,
            self._scale,
            positives=group.positives,
            dtype=dtype,
            **group.options(),
        )

    def among_themselves(self, rows: Tensor, number: float, side: Side) -> Tensor:
        """Log-sum-exps of rows over the other rows of this rank, from half of their similarities."""
        lse, _ = self_softmax(
            self._function,
            rows,
            number,
            torch.full((len(rows),), -1, device=rows.device),
            normalize=False,
            max_similarity=self._max_similarity,
            dtype=self._dtype,
            memory_budget=self._budget.share(half_of_logits(len(rows)), self._dtype, rows),
            side=side,
        )
        return lse

    def total(
        self, group: Group, weights: Tensor | None, known_lse: Tensor | None, known_positive: Tensor | None
    ) -> Tensor:
        """The weighted sum of the losses, of which these are the last negatives: in one pass with its gradients."""
        assert group.positives is not None
        return one_way_softmax(
            self._function,
            group.rows,
            group.columns,
            self._scale,
            group.positives,
            weights=weights,
            known_lse=known_lse,
            known_positive=known_positive,
            dtype=self._dtype,
            **group.options(),
        )

    def _cross(self, group: Group, strategy: str, *, two_way: bool) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = group.rows, group.columns
        assert group.positives is not None
        if strategy != "local":
            function = functools.partial(cross_softmax_over_ranks, strategy=strategy, options=self._options)
        else:
            budget = self._budget.share(len(rows) * len(columns), self._dtype, rows, columns)
            function = functools.partial(cross_softmax, memory_budget=budget)
        return function(
            self._function,
            rows,
            columns,
            self._scale,
            group.positives,
            two_way=two_way,
            normalize=False,
            max_similarity=self._max_similarity,
            dtype=self._dtype,
            **group.options(),
        )
