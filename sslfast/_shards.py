"""What travels between the ranks of torch.distributed: padded shards, or blocks from one rank to another.

Ranks begin with :func:`exchange_shards`, in which they also find out that they do not go together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast._verdict import NUMBERS, Options, hear_all, told_to_all

# Ranks tell each other the dtype of their rows by its number here.
_DTYPES = (
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
)


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


def exchange_shards(function: str, rows: Tensor, options: Options | None = None) -> Shards:
    """The number of rows of every rank; a GPU is waited for once.

    Args:
        function: the name that the error begins with.
        rows: (N_rank, ...), in the dtype that they travel in, of at most 8 dimensions.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it. Default: None.

    Raises:
        ValueError: on every rank, if the rows are not of the same dtype, or of the same shape but for their number, if
            an option differs, or if :class:`~sslfast._verdict.JointChecks` has found something wrong on one.
    """
    shape = [len(rows), _DTYPES.index(rows.dtype), rows.dim() - 1, *rows.shape[1:]]
    if len(shape) > NUMBERS:
        raise ValueError(f"{function}: rows must have at most {NUMBERS - 2} dimensions, got {rows.dim()}")
    heard = hear_all(function, shape, rows.device, options)
    found = [(n, dtype, tuple(width[:dims])) for n, dtype, dims, *width in heard]
    counts, dtypes, widths = zip(*found, strict=True)
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


def gathered_rows(rows: Tensor, shards: Shards) -> Tensor:
    """The rows of all ranks, in order of rank; without a gradient.

    Args:
        rows: (N_rank, ...), of the same dtype and shape on every rank but for N_rank.
    """
    gathered = all_gather_shards(rows, shards)()
    places = [shards.place(rank) for rank in range(shards.world)]
    return torch.cat([gathered[p : p + size] for p, size in zip(places, shards.sizes, strict=True)])


def summed_rows(rows: Tensor, shards: Shards) -> Tensor:
    """This rank's rows of the sum over all ranks.

    Args:
        rows: (sum of N_rank, ...), as :func:`gathered_rows` gives them.

    Returns:
        Tensor (N_rank, ...).
    """
    if len(set(shards.sizes)) == 1:
        return reduce_scatter_shards(rows, shards)
    padded = rows.new_empty((shards.world, max(shards.sizes), *rows.shape[1:]))
    for part, own in zip(padded, rows.split(shards.sizes), strict=True):
        part[: len(own)] = own
    return reduce_scatter_shards(padded.flatten(0, 1), shards)


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
