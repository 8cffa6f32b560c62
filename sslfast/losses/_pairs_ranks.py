"""The contrastive loss over several ranks: every pair of blocks of rows is taken once, loss and gradients together."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._verdict import Options
from sslfast.distributed import exchange_shards, gathered_rows, mean_of_terms
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._inputs import kernel_integers
from sslfast.losses._pairs import both_sides, few_positives
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
        # A block alone does not tell: the one of a rank's own rows has most of the positives.
        few = ids.is_cpu and few_positives(gathered_rows(ids, shards))
        # Of positives and of negatives: what each is divided by is known when all blocks are through. A sum is divided
        # by nothing, and one gradient of both is sent.
        sums = torch.zeros(2, 2, dtype=torch.float64, device=unit.device)
        planes = 1 if reduction == "sum" else 2
        grad = unit.new_zeros((len(unit), planes, unit.shape[1])) if needed else None
        exchange = blocks_over_ranks(strategy, shards, grad, symmetric=True)
        exchange.post(embeddings, None, ids)
        for ahead, some, columns in exchange.blocks():
            if ahead == 0:
                sides = both_sides(own, ids, None, None, terms, reduction, needed, few=few)
            else:
                block, _, block_ids = columns
                points = Points(unit[some], units_of(block, normalize), distance, normalize=False)
                # The reverse of a pair is taken nowhere else.
                sides = both_sides(points, ids[some], block_ids, None, terms, reduction, needed, times=2.0, few=few)
            for at, side in enumerate(sides):
                sums[:, at] += torch.stack([side.total, side.number]) * side.times
                if grad is not None:
                    grad[some, at % planes].add_(side.grads[0], alpha=side.times)
            if grad is not None and ahead > 0:
                found = torch.stack([side.grads[-1].mul_(side.times) for side in sides], dim=1)
                exchange.leave(found if planes == 2 else found.sum(dim=1, keepdim=True))
        means, factors = mean_of_terms(sums[0] + own.poison, sums[1], reduction)
        grads: list[Tensor] = []
        if grad is not None:
            found = exchange.collect(grad).mul_(factors[:planes, None].to(unit.dtype))
            grads = own.gradients([found.sum(dim=1)])
        keep(ctx, function, own, grads)
        return means.sum().to(unit.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (None, scaled(ctx, grad)[0], *[None] * 8)
