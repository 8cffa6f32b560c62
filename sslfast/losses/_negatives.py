"""The kinds of negatives that InfoNCE adds up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.losses._cross import cross_softmax
from sslfast.losses._inputs import widened
from sslfast.losses._queue import queue_softmax

_Ids = tuple[Tensor, Tensor]


class Negatives:
    """Collects log-sum-exps over groups of negatives of every query.

    Whatever is made of query and keys is made of one copy in the dtype of accumulation: gradients in half types are
    rounded once, when all are added up.

    Args:
        function: the name that errors begin with.
        query: (N, D), checked by the caller, as all that follows.
        keys: (M, D).
        positives: (N,) int64, a key for every query.
        scale: factor of the similarities, a tensor of one number.
        margin: how far above the positive's similarity a negative counts as false, or None.
        ids: of queries (N,) and of keys (M,), int64, or None.
        normalize: whether queries, keys and further keys are divided by their norms.

    Attributes:
        count: how many negatives a query has, before ids and margin.
        of_keys: (M,) log-sum-exps of the keys over the queries that are not their own, once they are added two-way.
    """

    of_keys: Tensor

    def __init__(
        self,
        function: str,
        query: Tensor,
        keys: Tensor,
        positives: Tensor,
        scale: Tensor,
        margin: float | None,
        ids: _Ids | None,
        normalize: bool,
    ) -> None:
        self.function = function
        self.dtype = torch.promote_types(query.dtype, keys.dtype)
        self.query, self.keys = widened(query, keys)
        self.scale = scale.to(self.query.dtype)
        self.positives, self.ids, self.normalize = positives, ids, normalize
        self.own = torch.arange(len(query), device=query.device)
        self.limits = None if margin is None else self._limits(margin)
        self.count = 0
        self._groups: list[Tensor] = []
        self._positive: Tensor | None = None

    @property
    def lse(self) -> Tensor:
        """(N,), over all that was added."""
        return self._groups[0] if len(self._groups) == 1 else torch.logsumexp(torch.stack(self._groups), dim=0)

    @property
    def positive(self) -> Tensor:
        """(N,) logits of the positives."""
        return self.scale * self._similarities() if self._positive is None else self._positive

    def add_keys(self, two_way: bool) -> None:
        """The other keys; ``two_way`` for the keys' own sums too."""
        if not two_way:
            self._add(self._against(self.query, self.keys, self.positives, self.ids, self.limits), len(self.keys) - 1)
        elif self.limits is None:
            row_lse, self.of_keys, self._positive = self._cross(
                self.query, self.keys, self.positives, self.ids, None, two_way=True
            )
            self._add(row_lse, len(self.keys) - 1)
        else:  # what is left out differs between the two ways
            self.add_keys(two_way=False)
            queries = torch.empty_like(self.positives).index_copy_(0, self.positives, self.own)
            limits = self.limits.index_select(0, queries)
            ids = None if self.ids is None else (self.ids[1], self.ids[0])
            self.of_keys = self._against(self.keys, self.query, queries, ids, limits)

    def add_queries(self) -> None:
        """The other queries."""
        ids = None if self.ids is None else (self.ids[0], self.ids[0])
        self._add(self._against(self.query, self.query, self.own, ids, self.limits), len(self.query) - 1)

    def add_keys_of_keys(self) -> None:
        """The other keys, by their similarity with the positive key."""
        ids = None if self.ids is None else (self.ids[1].index_select(0, self.positives), self.ids[1])
        chosen = self.keys.index_select(0, self.positives)
        self._add(self._against(chosen, self.keys, self.positives, ids, self.limits), len(self.keys) - 1)

    def add_others(self, keys: Tensor) -> None:
        """Further keys: (K, D) for all queries or (N, K, D) for one each."""
        if keys.dim() == 2:
            nobody = torch.full_like(self.own, -1)
            self._add(self._against(self.query, keys, nobody, None, self.limits), len(keys))
            return
        # Thin and bound by memory: no matrix product, and the norms are divided out of the logits.
        query, others = self._unit(self.query), keys.to(self.query.dtype)
        logits = self.scale * (others * query.unsqueeze(1)).sum(dim=2)
        if self.normalize:
            logits = logits / torch.linalg.vector_norm(others, dim=2).clamp_min(1e-12)
        if self.limits is not None:
            logits = logits.masked_fill(logits > self.limits.unsqueeze(1), float("-inf"))
        self._add(torch.logsumexp(logits, dim=1), keys.shape[1])

    def add_queue(self, queue: Tensor) -> None:
        """Constant negatives of all queries, taken as they are."""
        self._add(self._queue(self.query, queue, None, None, self.limits, normalize_queue=False), len(queue))

    def _add(self, lse: Tensor, count: int) -> None:
        self._groups.append(lse)
        self.count += count

    def _unit(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=1) if self.normalize else z

    def _similarities(self) -> Tensor:
        return (self._unit(self.query) * self._unit(self.keys).index_select(0, self.positives)).sum(dim=1)

    @torch.no_grad()
    def _limits(self, margin: float) -> Tensor:
        return self.scale * (self._similarities() + margin)

    def _against(
        self, rows: Tensor, columns: Tensor, positives: Tensor, ids: _Ids | None, limits: Tensor | None
    ) -> Tensor:
        """Log-sum-exps of rows over columns: in one reading where the columns take no gradient."""
        if not (columns.requires_grad and torch.is_grad_enabled()):
            return self._queue(rows, columns, positives, ids, limits, normalize_queue=self.normalize)
        lse, _, positive = self._cross(rows, columns, positives, ids, limits, two_way=False)
        if rows is self.query and columns is self.keys:
            self._positive = positive
        return lse

    def _cross(
        self,
        rows: Tensor,
        columns: Tensor,
        positives: Tensor,
        ids: _Ids | None,
        limits: Tensor | None,
        *,
        two_way: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        row_ids, col_ids = ids or (None, None)
        return cross_softmax(
            self.function,
            rows,
            columns,
            self.scale,
            positives,
            two_way=two_way,
            normalize=self.normalize,
            row_ids=row_ids,
            col_ids=col_ids,
            row_limits=limits,
            dtype=self.dtype,
        )

    def _queue(
        self,
        rows: Tensor,
        queue: Tensor,
        positives: Tensor | None,
        ids: _Ids | None,
        limits: Tensor | None,
        *,
        normalize_queue: bool,
    ) -> Tensor:
        row_ids, col_ids = ids or (None, None)
        return queue_softmax(
            self.function,
            rows,
            queue,
            self.scale,
            normalize=(self.normalize, normalize_queue),
            positives=positives,
            row_ids=row_ids,
            col_ids=col_ids,
            row_limits=limits,
            dtype=self.dtype,
        )
