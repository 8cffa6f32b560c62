"""The contrastive loss over several ranks: every pair of blocks of rows is taken once, loss and gradients together."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._verdict import Options
from sslfast.distributed import exchange_shards, sum_over_ranks
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import kernel_integers
from sslfast.losses._pairs import both_sides
from sslfast.losses._points import Points, keep, scaled, units_of


def pairs_over_ranks(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
    terms: tuple[float, float, bool],
    distance: str,
    normalize: bool,
    reduction: str,
    strategy: str,
    options: Options,
) -> Tensor:
    """The loss of the rows of all ranks, whose backward pass communicates nothing.

    Args:
        function: the name that errors begin with.
        embeddings: (N_rank, D), checked by the caller; all ranks have to agree on whether a gradient is needed.
        labels: (N_rank,) integers.
        terms: the margins of positive and of negative pairs, and whether terms are squared.
        distance, normalize, reduction: as of :func:`contrastive_loss`.
        strategy: ``"all_gather"`` or ``"ring"``.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it.

    Raises:
        ValueError: if D, the dtype of the rows or an option is not the same on every rank.
    """
    needed = embeddings.requires_grad and torch.is_grad_enabled()
    loss: Tensor = _PairsRanks.apply(
        function, embeddings, labels, terms, distance, normalize, reduction, strategy, options, needed
    )
    return loss


class _PairsRanks(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, labels, terms, distance, normalize, reduction, strategy, options, needed
    ):
        shards = exchange_shards(function, embeddings, options)
        own, ids = Points(embeddings, None, distance, normalize), kernel_integers(labels)
        unit = own.units[0]
        # Of positives and of negatives: what each is divided by is known when all blocks are through.
        sums = torch.zeros(2, 2, dtype=torch.float64, device=unit.device)
        grad = unit.new_zeros((len(unit), 2, unit.shape[1])) if needed else None
        exchange = blocks_over_ranks(strategy, shards, grad, symmetric=True)
        exchange.post(embeddings, None, ids)
        for ahead, some, columns in exchange.blocks():
            if ahead == 0:
                sides = both_sides(own, ids, None, None, terms, reduction, needed)
            else:
                block, _, block_ids = columns
                points = Points(unit[some], units_of(block, normalize), distance, normalize=False)
                # The reverse of a pair is taken nowhere else.
                sides = both_sides(points, ids[some], block_ids, None, terms, reduction, needed, times=2.0)
            for at, side in enumerate(sides):
                sums[at] += torch.stack([side.total, side.number]) * side.times
                if grad is not None:
                    grad[some, at].add_(side.grads[0], alpha=side.times)
            if grad is not None and ahead > 0:
                exchange.leave(torch.stack([side.grads[-1].mul_(side.times) for side in sides], dim=1))
        sums[0, 0] += own.poison
        totals, numbers = sum_over_ranks(sums).T
        shares = torch.ones_like(totals) if reduction == "sum" else numbers.clamp_min(1.0).reciprocal()
        grads: list[Tensor] = []
        if grad is not None:
            # As sum_over_ranks has it: times the world size, for DistributedDataParallel's averaging.
            near, far = (shares * shards.world).to(unit.dtype)
            found = exchange.collect(grad)
            grads = own.gradients([(found[:, 0] * near).addcmul_(found[:, 1], far)])
        keep(ctx, function, own, grads)
        return (totals * shares).sum().to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 8)
