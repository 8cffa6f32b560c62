"""Batches spread over the ranks of torch.distributed: what travels, and how the ranks share the work.

A loss that every rank computes whole takes :func:`gather_rows`. One of which every rank computes a part ends in
:func:`sum_over_ranks` or :func:`mean_over_ranks`. Between its ranks travel padded shards (:func:`all_gather_shards`,
:func:`reduce_scatter_shards`; :func:`gathered_rows`, :func:`summed_rows` without the padding), or blocks from one rank
to another while both compute (:class:`Exchange`).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check
from sslfast._autograd import traced_once
from sslfast._shards import (
    Exchange,
    Shards,
    all_gather_shards,
    exchange_shards,
    gathered_rows,
    reduce_scatter_shards,
    summed_rows,
)
from sslfast._verdict import Options, world_size

__all__ = [
    "Exchange",
    "Shards",
    "all_gather_shards",
    "count_rows",
    "exchange_shards",
    "gather_rows",
    "gathered_rows",
    "mean_gradient_over_ranks",
    "mean_of_terms",
    "mean_over_ranks",
    "reduce_scatter_shards",
    "strategy_of",
    "sum_over_ranks",
    "summed_rows",
    "takes_other_ranks",
    "those_of_first_rank",
    "world_size",
]


def strategy_of(function: str, gather_distributed: bool | str) -> str:
    """How the ranks share a loss: ``"local"``, ``"all_gather"`` or ``"ring"``; ``"local"`` where there is one rank.

    Raises:
        ValueError: if ``gather_distributed`` is not a bool or one of the three.
    """
    if gather_distributed is False:  # the default, which a small batch is not to wait for
        return "local"
    names = {False: "local", True: "all_gather", "local": "local", "all_gather": "all_gather", "ring": "ring"}
    known = isinstance(gather_distributed, str) or _check.is_boolean(gather_distributed)
    if not known or gather_distributed not in names:
        expected = "False, True, 'local', 'all_gather' or 'ring'"
        raise ValueError(f"{function}: gather_distributed must be {expected}, got {_check.shown(gather_distributed)}")
    return names[gather_distributed] if world_size() > 1 else "local"


def takes_other_ranks(gather_distributed: bool | str) -> bool:
    """Whether samples of other ranks are asked for, also where there is one rank; of a right argument."""
    return gather_distributed not in (False, "local")


def count_rows(rows: Tensor, strategy: str) -> int:
    """How many rows there are on all ranks, for which a GPU is waited for; with ``"local"``, on this one."""
    if strategy == "local":
        return len(rows)
    return int(sum_over_ranks(torch.tensor(len(rows), device=rows.device)))


def those_of_first_rank(values: Tensor) -> Tensor:
    """The values of rank 0, on every rank; of the same shape and dtype on each."""
    same = values.clone()
    dist.broadcast(same, 0)
    return same


# ---- every rank computes the whole


def gather_rows(rows: Tensor, function: str = "gather_rows", options: Options | None = None) -> Tensor:
    """The rows of all ranks, in order of rank, for a loss that every rank computes on the whole batch.

    The gradient of the result is taken to be the same on every rank, because each computes the same loss: a rank
    keeps the rows that are its own, times the world size, and nothing is sent. DistributedDataParallel's averaging
    then gives the gradient that one process would have on the whole batch.

    Args:
        rows: (N_rank, ...), N_rank may differ between ranks; the other dimensions and the dtype may not.
        function: the name that errors begin with.
        options: as :func:`exchange_shards` takes them. Default: None.

    Returns:
        Tensor (sum of N_rank, ...); ``rows`` itself without a process group.

    Raises:
        ValueError: on every rank, as :func:`exchange_shards` does.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, function, options)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, function, options):  # type: ignore[no-untyped-def]
        shards = exchange_shards(function, rows, options)
        ctx.own = slice(shards.start, shards.start + len(rows))
        return gathered_rows(rows, shards)

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad[ctx.own] * world_size(), None, None


# ---- a rank computes its own part


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, the same on each, for a loss that all compute from it in the same way.

    The gradient is that of the sum times the world size, so that DistributedDataParallel's averaging gives what one
    process would have on the whole batch.

    Args:
        values: of the same shape and dtype on every rank.

    Returns:
        Tensor of that shape; ``values`` itself without a process group.
    """
    if world_size() == 1:
        return values
    total: Tensor = _SumOverRanks.apply(values)
    return total


def mean_over_ranks(values: Tensor, weights: Tensor | None = None, *, count: int | None = None) -> Tensor:
    """The mean of the values of all ranks, the same on every rank, for a loss of which a rank computes its own part.

    The gradient is right under DistributedDataParallel's averaging, as that of :func:`sum_over_ranks`.

    Args:
        values: (N_rank,), N_rank may differ between ranks; or a scalar, the mean of ``count`` of them.
        weights: (N_rank,), what each counts. Default: None, 1.
        count: N_rank, for a scalar. Default: None.

    Returns:
        Scalar tensor; the mean of this rank's values without a process group.
    """
    if weights is not None:
        sums = torch.stack([(values * weights).sum(), weights.sum()])
    elif world_size() == 1:
        return values.mean()
    else:
        number = len(values) if count is None else count
        own = values.sum() if count is None else values * count
        # Filled in on the device: a number that is copied there is waited for.
        sums = torch.stack([own, own.new_full((), number)])
    total, items = sum_over_ranks(sums)
    return total / items


def mean_of_terms(totals: Tensor, counts: Tensor, reduction: str = "mean") -> tuple[Tensor, Tensor]:
    """The mean of terms that all ranks have, for a loss whose gradient is made in forward.

    Args:
        totals: the sum of this rank's terms, a number or several, each by itself.
        counts: of the same shape, how many terms are counted.
        reduction: ``"sum"`` for the sum. Default: ``"mean"``.

    Returns:
        The mean, 0 of none, float64; and what the gradient of this rank's total is multiplied by: as that of
        :func:`sum_over_ranks`, with the world size. It is NaN where a total is.
    """
    totals, counts = sum_over_ranks(torch.stack([totals.double(), counts.double()]))
    shares = torch.ones_like(totals) if reduction == "sum" else counts.clamp_min(1.0).reciprocal()
    return totals * shares, (shares * world_size()).masked_fill_(totals.isnan(), torch.nan)


def mean_gradient_over_ranks(value: Tensor) -> Tensor:
    """``value`` itself, which every rank has; its gradient is the mean of those that the ranks find.

    For a number that a rank's own part of a loss depends on: the gradient is then whole on every rank, whether
    DistributedDataParallel averages it or not. All ranks have to call backward.
    """
    if world_size() == 1 or not value.requires_grad:
        return value
    same: Tensor = _MeanGradientOverRanks.apply(value)
    return same


class _MeanGradientOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):  # type: ignore[no-untyped-def]
        return value.view_as(value)

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _MeanOfAll.apply(grad)


class _MeanOfAll(torch.autograd.Function):
    """The mean over the ranks, each of which takes its own use of it: so its gradient is a mean over them, too."""

    @staticmethod
    def forward(ctx, own):  # type: ignore[no-untyped-def]
        mean = own / world_size()
        dist.all_reduce(mean)
        return mean

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return _MeanOfAll.apply(grad)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):  # type: ignore[no-untyped-def]
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * world_size()
