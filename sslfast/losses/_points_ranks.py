"""Points of which a rank has its own rows, and the rows of all ranks as columns."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._autograd import unit_rows_backward
from sslfast.distributed import Shards, sum_over_ranks, summed_rows
from sslfast.losses._points import Points


class SharedPoints(Points):
    """A rank's rows against those of all ranks; what all find for the columns goes home to their owners.

    Args:
        embeddings: (N_rank, D).
        gathered: (M, D), those of all ranks, as :func:`~sslfast.distributed.gathered_rows` gives them.
        distance, normalize: as of :class:`Points`.
        shards: of the rows.
    """

    def __init__(self, embeddings: Tensor, gathered: Tensor, distance: str, normalize: bool, shards: Shards) -> None:
        super().__init__(embeddings, gathered, distance, normalize)
        self.inputs = [embeddings]
        self._shards = shards

    def over_ranks(self, *sums: Tensor) -> tuple[Tensor, ...]:
        """The sums over all ranks, in the dtypes of these."""
        totals = sum_over_ranks(torch.stack([each.double() for each in sums]))
        return tuple(total.to(each.dtype) for total, each in zip(totals, sums, strict=True))

    def gradients(self, grads: list[Tensor]) -> list[Tensor]:
        """From the gradients of rows and columns to that of the rank's embeddings, in place; none of none.

        It is, as that of :func:`~sslfast.distributed.sum_over_ranks`, times the world size; NaN where the loss is.
        """
        if not grads:
            return []
        grad = grads[0].add_(summed_rows(grads[1], self._shards)).mul_(self._shards.world + self.poison)
        return [unit_rows_backward(grad, self.units[0], self.factors[0]) if self.normalize else grad]


def points_of(
    embeddings: Tensor, ref_emb: Tensor | None, distance: str, normalize: bool, shards: Shards | None
) -> Points:
    """Points of one process; or, with ``shards``, a rank's rows against ``ref_emb``, which are those of all ranks."""
    if shards is None:
        return Points(embeddings, ref_emb, distance, normalize)
    assert ref_emb is not None
    return SharedPoints(embeddings, ref_emb, distance, normalize, shards)
