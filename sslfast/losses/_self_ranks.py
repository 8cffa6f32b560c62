"""Rows against themselves over several ranks: what NT-Xent, the decoupled and the supervised loss share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, unit_of, unit_rows_backward, unit_side
from sslfast._verdict import Options
from sslfast.distributed import Shards, exchange_shards
from sslfast.losses._blocks import blocks_over_ranks
from sslfast.losses._labels import LabelGroups


def self_softmax_over_ranks(
    function: str, rows: Tensor, scale: float, positives: Tensor, strategy: str, options: Options
) -> tuple[Tensor, Tensor]:
    """What ``self_softmax`` finds among the rows of all ranks, for this rank's rows.

    A rank makes half of the similarities of its rows with themselves, and the W / 2 blocks of its rows with those of
    the ranks ahead that :mod:`sslfast.losses._blocks` gives it, each of which serves its columns too: an equal share of
    half the matrix. The gradients are those of the sum over all ranks of whatever they make of the results. Forward and
    backward communicate: all ranks have to call both.

    Args:
        function: the name that errors begin with.
        rows: (M_rank, D), checked by the caller.
        scale: factor of the similarities.
        positives: (M_rank,) int64, another row of this rank, or -1.
        strategy: ``"all_gather"`` or ``"ring"``.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it.

    Returns:
        ``(lse, positive_logits)``, both (M_rank,).

    Raises:
        ValueError: if D, the dtype that rows travel in or an option is not the same on every rank.
    """
    lse, positive_logits, _ = _SelfSoftmaxRanks.apply(function, rows, scale, positives, strategy, None, options)
    return lse, positive_logits


def labelled_softmax_over_ranks(
    function: str, rows: Tensor, scale: float, positives: Tensor, strategy: str, classes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`self_softmax_over_ranks` finds, and the mean logit of every row with the others of its class.

    Positives are rows of all ranks, numbered in the order of the ranks, on whichever they lie; of two rows each is the
    positive of the other. The gradient of a mean is taken to be the same for all rows of a class, and 0 where a row has
    a positive: it is subtracted from the softmax's, entry by entry.

    Args:
        function, rows, scale, strategy: as there.
        positives: (M_rank,) int64, a row of all ranks, or -1.
        classes: (M,) int32, of the rows of all ranks, equal where their labels are.

    Returns:
        ``(lse, positive_logits, mean)``, all (M_rank,); a mean of none is 0.
    """
    results: tuple[Tensor, Tensor, Tensor] = _SelfSoftmaxRanks.apply(
        function, rows, scale, positives, strategy, classes, None
    )
    return results


def _mean_positives(
    strategy: str, shards: Shards, side: Tensor, factors: Tensor | None, classes: Tensor, number: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean logit of every row with the others of its class, and the share of each in it."""
    exchange = blocks_over_ranks(strategy, shards)
    exchange.post(side, factors, classes)
    unit = unit_of(side, factors).to(number.dtype)
    others, count = -unit, torch.full_like(classes, -1, dtype=torch.int64)  # a row is not its own positive
    for _, _, (block, block_factors, block_classes) in exchange.blocks():
        groups = LabelGroups(classes, block_classes)
        others += groups.sums(unit_of(block, block_factors).to(number.dtype))
        count += groups.counts
    share = count.clamp_min(1).to(unit.dtype).reciprocal()
    return number * share * (unit * others).sum(dim=1), share


def _in_block(positives: Tensor, numbers: list[Tensor], total: int, size: int) -> Tensor:
    """Where in a block of columns, whose rows have these numbers, the positives lie; -1 for those that do not."""
    if not numbers:
        return torch.full_like(positives, -1)
    place = torch.full((total,), -1, dtype=torch.int64, device=positives.device)
    place[numbers[0]] = torch.arange(size, device=positives.device)
    return torch.where(positives >= 0, place[positives.clamp_min(0)], -1)


class _SelfSoftmaxRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, rows, scale, positives, strategy, classes, options):  # type: ignore[no-untyped-def]
        side, norm, factors = unit_side(rows, rows.dtype)
        shards = exchange_shards(function, side, options)
        number = norm.new_full((1,), scale)
        # A row's positive logit is found where its block is made, like its sum: one number or none, which are added.
        exchange = blocks_over_ranks(strategy, shards, number.expand(len(rows), 2), lse=True, symmetric=True)
        own, numbers, labelled, total = positives, [], [], sum(shards.sizes)
        mean = number.new_empty(0)
        if classes is not None:
            first, stop = shards.start, shards.start + len(rows)
            own = torch.where((positives >= first) & (positives < stop), positives - first, -1)
            numbers.append(torch.arange(first, stop, device=rows.device))
            mean, share = _mean_positives(strategy, shards, side, factors, classes[first:stop], number)
            labelled += [classes, share]
        exchange.post(side, factors, *numbers)
        for distance, some, columns in exchange.blocks():
            if distance == 0:
                lse, positive_logits, _ = ops.similarity_softmax_forward(side, own, scale, 1.0, 0, factors)
                continue
            block, block_factors, *block_numbers = columns
            at = _in_block(positives[some], block_numbers, total, len(block))
            row_lse, col_lse, found, _ = ops.cross_softmax_forward(
                *(side[some], block, at, number, None, None, None, 1.0, True, 0),
                *(None if factors is None else factors[some], block_factors),
            )
            lse[some] = torch.logaddexp(lse[some], row_lse)
            positive_logits[some] = torch.where(at >= 0, found, positive_logits[some])
            col_positive = found.new_full((len(block) + 1,), float("-inf"))  # one more, for the rows without
            col_positive[torch.where(at >= 0, at, len(block))] = found
            exchange.leave(torch.stack([col_lse, col_positive[:-1]], dim=1))
        lse, positive_logits = (t.contiguous() for t in exchange.collect(torch.stack([lse, positive_logits], dim=1)).T)
        ctx.save_for_backward(
            rows, side, norm, factors, positives, own, number, lse, *exchange.held, *numbers, *labelled
        )
        ctx.function, ctx.scale, ctx.strategy, ctx.shards = function, scale, strategy, shards
        return lse, positive_logits, mean

    @staticmethod
    def backward(ctx, grad_lse, grad_positive, grad_mean):  # type: ignore[no-untyped-def]
        rows, side, norm, factors, positives, own, number, lse, *held = ctx.saved_tensors
        held, labelled = tuple(held[:2]), held[2:]
        numbers, total = labelled[:1], sum(ctx.shards.sizes)
        with torch.no_grad():
            grads = (grad_lse.contiguous(), grad_positive.contiguous())
            of_own: list[Tensor] = []
            if labelled:
                _, classes, share = labelled
                weights = -grad_mean * share
                of_own = [classes[numbers[0]], weights]
            exchange = blocks_over_ranks(ctx.strategy, ctx.shards, number.expand(side.shape), symmetric=True)
            exchange.post(side, factors, torch.stack([lse, *grads], dim=1), *numbers, held=held)
            for distance, some, columns in exchange.blocks():
                if distance == 0:
                    grad = ops.similarity_softmax_backward(
                        *(side, own, lse, *grads, lse[:0], ctx.scale, 1.0, factors), *of_own
                    )
                    continue
                block, block_factors, vectors, *block_numbers = columns
                block_lse, block_grad, block_positive = vectors.T.contiguous()
                at = _in_block(positives[some], block_numbers, total, len(block))
                of_block: list[Tensor] = []
                if labelled:  # both rows of an entry have it in their means
                    of_block = [of_own[0][some], classes[block_numbers[0]], 2.0 * weights[some]]
                d_rows, d_columns = ops.cross_softmax_backward(
                    side[some],
                    block,
                    at,
                    lse[some],
                    block_lse,
                    grads[0][some],
                    block_grad,
                    grads[1][some] + block_positive[at.clamp_min(0)],  # the logit is both rows' positive
                    number,
                    None,
                    None,
                    None,
                    number[:0],
                    True,
                    True,
                    None if factors is None else factors[some],
                    block_factors,
                    *of_block,
                )
                grad[some].add_(d_rows, alpha=ctx.scale)
                exchange.leave(d_columns.mul_(ctx.scale))
            grad = exchange.collect(grad)
            grad = unit_rows_backward(grad, unit_of(side, factors), norm).to(rows.dtype)
        grad = first_order_only(ctx.function, grad, rows, grad_lse, grad_positive, grad_mean)
        return None, grad, *[None] * 5
