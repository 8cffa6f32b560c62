"""Batches spread over the ranks of torch.distributed."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_rows", "mean_over_ranks", "world_size"]


def world_size() -> int:
    """Number of ranks of the default process group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks, in order of rank, for a loss that every rank computes on the whole batch.

    The gradient of the result is taken to be the same on every rank, because each computes the same loss: a rank
    keeps the rows that are its own, times the world size, and nothing is sent. DistributedDataParallel's averaging
    then gives the gradient that one process would have on the whole batch.

    Args:
        rows: (N_rank, ...), N_rank may differ between ranks; the other dimensions and the dtype may not.

    Returns:
        Tensor (sum of N_rank, ...); ``rows`` itself without a process group.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of the values of all ranks, the same on every rank, for a loss of which a rank computes its own part.

    The gradient of a rank's values is that of the mean times the world size, so that DistributedDataParallel's
    averaging gives what one process would have on the whole batch.

    Args:
        values: (N_rank,), N_rank may differ between ranks.

    Returns:
        Scalar tensor; ``values.mean()`` without a process group.
    """
    if world_size() == 1:
        return values.mean()
    mean: Tensor = _MeanOverRanks.apply(values)
    return mean


class _MeanOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):  # type: ignore[no-untyped-def]
        total = torch.stack([values.sum(), values.new_tensor(len(values))])
        dist.all_reduce(total)
        ctx.share = world_size() / total[1]
        ctx.size = len(values)
        return total[0] / total[1]

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return (grad * ctx.share).expand(ctx.size)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows):  # type: ignore[no-untyped-def]
        world = world_size()
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(world)]
        dist.all_gather(counts, count)
        sizes = [int(c) for c in counts]
        # all_gather wants equal shapes: short shards travel padded.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        shards = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(shards, padded)
        ctx.own = slice(sum(sizes[: dist.get_rank()]), sum(sizes[: dist.get_rank() + 1]))
        return torch.cat([shard[:size] for shard, size in zip(shards, sizes, strict=True)])

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad[ctx.own] * world_size()
