"""Multi-positive NT-Xent over several ranks: three passes over blocks of rows, all in forward.

First come the log-sum-exps over negatives, then the positive pairs, then the gradient of the log-sum-exps. The first
and the last take every pair of blocks once. In the second a rank takes its own rows against all, with the others'
log-sum-exps: that is the whole gradient of its rows, and none has to be sent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, unit_of, unit_rows_backward, unit_side
from sslfast._verdict import Options
from sslfast.distributed import Shards, exchange_shards, mean_of_terms
from sslfast.losses._blocks import Held, blocks_over_ranks
from sslfast.losses._inputs import kernel_integers
from sslfast.losses._positive_pairs import PositivePairs


def nt_xent_over_ranks(
    function: str, embeddings: Tensor, labels: Tensor, scale: float, strategy: str, options: Options
) -> Tensor:
    """The loss of the rows of all ranks, whose backward pass communicates nothing.

    Args:
        function: the name that errors begin with.
        embeddings: (N_rank, D), checked by the caller; all ranks have to agree on whether a gradient is needed.
        labels: (N_rank,) integers.
        scale: factor of the similarities.
        strategy: ``"all_gather"`` or ``"ring"``.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it.

    Raises:
        ValueError: if D, the dtype that rows travel in or an option is not the same on every rank.
    """
    needed = embeddings.requires_grad and torch.is_grad_enabled()
    loss: Tensor = _NTXentRanks.apply(function, embeddings, labels, scale, strategy, options, needed)
    return loss


class _NTXentRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, embeddings, labels, scale, strategy, options, needed):  # type: ignore[no-untyped-def]
        side, norm, factors = unit_side(embeddings, embeddings.dtype)
        shards = exchange_shards(function, side, options)
        ids, number = kernel_integers(labels), norm.new_full((1,), scale)
        blocks = _Blocks(strategy, shards, side, factors, ids, number)
        negatives = blocks.negatives()
        unit = unit_of(side, factors).to(norm.dtype)
        pairs = PositivePairs(unit, ids, negatives, scale, needed)
        exchange = blocks_over_ranks(strategy, shards)
        exchange.post(side, factors, ids, negatives, held=blocks.held)
        own = torch.arange(len(side), device=side.device)
        for distance, _, (block, block_factors, block_ids, block_negatives) in exchange.blocks():
            columns = unit_of(block, block_factors).to(norm.dtype)
            pairs.add(columns, block_ids, None if distance else own, col_negatives=block_negatives)
        # A NaN reaches the loss from rows without a pair, too.
        mean, factor = mean_of_terms(pairs.total + 0.0 * unit.sum(), pairs.count)
        grad = None
        if needed:
            grad = pairs.grad_rows.add_(blocks.gradient(negatives, pairs.grad_negatives), alpha=scale)
            grad = unit_rows_backward(grad.mul_(factor), unit, norm)
        ctx.save_for_backward(embeddings, grad)
        ctx.function = function
        return mean.to(norm.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, product = ctx.saved_tensors
        with torch.no_grad():
            found = (product * grad).to(embeddings.dtype)
        return None, first_order_only(ctx.function, found, embeddings, grad), *[None] * 5


class _Blocks:
    """The rows of all ranks against themselves, but for those of one label.

    Attributes:
        held: the columns and factors of all ranks that :meth:`negatives` has gathered, for later passes.
    """

    def __init__(
        self, strategy: str, shards: Shards, side: Tensor, factors: Tensor | None, ids: Tensor, number: Tensor
    ) -> None:
        self._strategy, self._shards, self._number = strategy, shards, number
        self._side, self._factors, self._ids = side, factors, ids
        self._nobody = torch.full_like(ids, -1)
        self.held: Held = (None, None)

    def _of(self, some: slice) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        factors = None if self._factors is None else self._factors[some]
        return self._side[some], factors, self._ids[some], self._nobody[some]

    def negatives(self) -> Tensor:
        """The log-sum-exp of every row over the rows of other labels, (N_rank,); -inf of none."""
        results = self._number.expand(len(self._side))
        exchange = blocks_over_ranks(self._strategy, self._shards, results, lse=True, symmetric=True, hold_all=True)
        exchange.post(self._side, self._factors, self._ids)
        for distance, some, columns in exchange.blocks():
            rows, factors, ids, nobody = self._of(some)
            block, block_factors, block_ids = columns if distance else (rows, factors, ids)
            excluded = (ids, block_ids, None)
            found, block_lse, _, _ = ops.cross_softmax_forward(
                rows, block, nobody, self._number, *excluded, 1.0, distance > 0, 0, factors, block_factors
            )
            if distance == 0:
                lse = found
            else:
                lse[some] = torch.logaddexp(lse[some], found)
                exchange.leave(block_lse)
        self.held = exchange.held
        return exchange.collect(lse)

    def gradient(self, lse: Tensor, weights: Tensor) -> Tensor:
        """The gradient of all ranks' weighted log-sum-exps in this rank's rows, without the scale.

        Args:
            lse: what :meth:`negatives` gives.
            weights: (N_rank,), of this rank's.
        """
        number, results = self._number, self._number.expand(self._side.shape)
        exchange = blocks_over_ranks(self._strategy, self._shards, results, symmetric=True)
        exchange.post(self._side, self._factors, self._ids, torch.stack([lse, weights], dim=1), held=self.held)
        for distance, some, columns in exchange.blocks():
            rows, factors, ids, nobody = self._of(some)
            own = (lse[some], weights[some])
            block, block_factors, block_ids, of_block = columns if distance else (rows, factors, ids, None)
            block_lse, block_weights = own if of_block is None else of_block.T.contiguous()
            d_rows, d_columns = ops.cross_softmax_backward(
                *(rows, block, nobody, own[0], block_lse, own[1], block_weights, torch.zeros_like(own[0]), number),
                *(ids, block_ids, None, number[:0], True, distance > 0, factors, block_factors),
            )
            if distance == 0:
                grad = d_rows
            else:
                grad[some].add_(d_rows)
                exchange.leave(d_columns)
        return exchange.collect(grad)
