"""Batches spread over the ranks of torch.distributed: what travels, and how the ranks share the work.

A loss that every rank computes whole takes :func:`gather_rows`. One of which every rank computes a part ends in
:func:`sum_over_ranks` or :func:`mean_over_ranks`. Between its ranks travel padded shards (:func:`all_gather_shards`,
:func:`reduce_scatter_shards`), or blocks from one rank to another while both compute (:class:`Exchange`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check
from sslfast._autograd import traced_once
from sslfast._verdict import NUMBERS, hear_all, told_to_all, world_size

__all__ = [
    "Exchange",
    "Shards",
    "all_gather_shards",
    "count_rows",
    "exchange_shards",
    "gather_rows",
    "mean_gradient_over_ranks",
    "mean_over_ranks",
    "reduce_scatter_shards",
    "strategy_of",
    "sum_over_ranks",
    "world_size",
]

# Ranks tell each other the dtype of their rows by its number here.
_DTYPES = (
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)


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


def count_rows(rows: Tensor, strategy: str) -> int:
    """How many rows there are on all ranks, for which a GPU is waited for; with ``"local"``, on this one."""
    if strategy == "local":
        return len(rows)
    return int(sum_over_ranks(torch.tensor(len(rows), device=rows.device)))


# ---- every rank computes the whole


def gather_rows(rows: Tensor, function: str = "gather_rows", given: Mapping[str, bool] | None = None) -> Tensor:
    """The rows of all ranks, in order of rank, for a loss that every rank computes on the whole batch.

    The gradient of the result is taken to be the same on every rank, because each computes the same loss: a rank
    keeps the rows that are its own, times the world size, and nothing is sent. DistributedDataParallel's averaging
    then gives the gradient that one process would have on the whole batch.

    Args:
        rows: (N_rank, ...), N_rank may differ between ranks; the other dimensions and the dtype may not.
        function: the name that errors begin with.
        given: as :func:`exchange_shards` takes it. Default: None.

    Returns:
        Tensor (sum of N_rank, ...); ``rows`` itself without a process group.

    Raises:
        ValueError: on every rank, as :func:`exchange_shards` does.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows, function, given)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, function, given):  # type: ignore[no-untyped-def]
        shards = exchange_shards(function, rows, given)
        ctx.own = slice(shards.start, shards.start + len(rows))
        gathered = all_gather_shards(rows, shards)()
        places = [shards.place(rank) for rank in range(shards.world)]
        return torch.cat([gathered[p : p + size] for p, size in zip(places, shards.sizes, strict=True)])

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


@dataclass(frozen=True)
class Shards:
    """Which rows of the whole batch lie on which rank."""

    sizes: tuple[int, ...]
    rank: int

    @property
    def world(self) -> int:
        return len(self.sizes)

    @property
    def start(self) -> int:
        """How many rows lie on the ranks before this one."""
        return sum(self.sizes[: self.rank])

    def place(self, rank: int) -> int:
        """Where the rows of a rank begin if every shard is padded to the size of the largest."""
        return rank * max(self.sizes)

    def ahead(self, distance: int) -> int:
        """The rank that many steps ahead in the ring."""
        return (self.rank + distance) % self.world


def exchange_shards(function: str, rows: Tensor, given: Mapping[str, bool] | None = None) -> Shards:
    """The number of rows of every rank; a GPU is waited for once.

    Args:
        function: the name that the error begins with.
        rows: (N_rank, ...), in the dtype that they travel in, of at most 8 dimensions.
        given: what decides how many exchanges follow: arguments that all ranks have to give, or none. Default: None.

    Raises:
        ValueError: on every rank, if the rows are not of the same dtype, or of the same shape but for their number, if
            something is ``given`` on some ranks only, or if :class:`~sslfast._verdict.JointChecks` has found something
            wrong on one.
    """
    options = {} if given is None else given
    bits = sum(is_given << at for at, is_given in enumerate(options.values()))
    shape = [len(rows), bits, _DTYPES.index(rows.dtype), rows.dim() - 1, *rows.shape[1:]]
    if len(shape) > NUMBERS:
        raise ValueError(f"{function}: rows must have at most {NUMBERS - 3} dimensions, got {rows.dim()}")
    heard = hear_all(function, shape, rows.device)
    found = [(n, bits, dtype, tuple(width[:dims])) for n, bits, dtype, dims, *width in heard]
    counts, flags, dtypes, widths = zip(*found, strict=True)
    for at, name in enumerate(options):
        there = [bool(bits >> at & 1) for bits in flags]
        if len(set(there)) > 1:
            raise told_to_all(f"{function}: {name} must be given on every rank or on none, got {there}")
    if len(set(widths)) > 1:
        raise told_to_all(f"{function}: rows must have the same shape on every rank, got {[*widths]}")
    if len(set(dtypes)) > 1:
        got = [_DTYPES[d] for d in dtypes]
        raise told_to_all(f"{function}: rows must have the same dtype on every rank, got {got}")
    return Shards(counts, dist.get_rank())


def all_gather_shards(rows: Tensor, shards: Shards) -> Callable[[], Tensor]:
    """Starts to gather the rows of all ranks; short shards travel padded, because the collective wants equal shapes.

    Args:
        rows: (N_rank, ...), of the same dtype and shape on every rank but for N_rank.

    Returns:
        What waits for them: Tensor (W * max N_rank, ...), in which the rows of rank r begin at ``shards.place(r)``.
    """
    own = _padded(rows, shards)
    gathered = own.new_empty((shards.world * len(own), *own.shape[1:]))
    # The old name warns where the new one exists.
    name = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"
    work = getattr(dist, name)(gathered, own, async_op=True)

    def wait() -> Tensor:
        work.wait()
        return gathered

    return wait


def reduce_scatter_shards(parts: Tensor, shards: Shards) -> Tensor:
    """This rank's rows of the sum over all ranks.

    Args:
        parts: (W * max N_rank, ...), as :func:`all_gather_shards` gives it; what lies between the shards is ignored.

    Returns:
        Tensor (N_rank, ...).
    """
    own = parts.new_empty((max(shards.sizes), *parts.shape[1:]))
    name = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"
    getattr(dist, name)(own, parts)
    return own[: shards.sizes[shards.rank]]


def _padded(rows: Tensor, shards: Shards) -> Tensor:
    most = max(shards.sizes)
    if len(rows) == most:
        return rows.contiguous()
    padded = rows.new_zeros((most, *rows.shape[1:]))
    padded[: len(rows)] = rows
    return padded


class Exchange:
    """Tensors on their way to another rank, and others of their kind on the way here, while this rank computes.

    Args:
        tensors: (n, ...) each, contiguous; not to be changed before :meth:`wait`.
        target: the rank that gets them.
        source: the rank that sends here.
        size: how many rows its tensors have.
    """

    def __init__(self, tensors: Sequence[Tensor], target: int, source: int, size: int) -> None:
        self._sent = tensors
        self._received = [t.new_empty((size, *t.shape[1:])) for t in tensors]
        sends = [dist.P2POp(dist.isend, t, target) for t in tensors]
        receives = [dist.P2POp(dist.irecv, t, source) for t in self._received]
        self._works = dist.batch_isend_irecv(sends + receives)

    def wait(self) -> list[Tensor]:
        """What the source has sent; on a GPU its stream waits, not the host."""
        for work in self._works:
            work.wait()
        self._sent = []
        return self._received
