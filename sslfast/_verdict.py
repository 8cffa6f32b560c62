"""What the ranks of torch.distributed tell each other first: the shape of their rows, or that they are about to raise.

A rank that finds its arguments wrong says so in the exchange that the others begin with, so that none waits for it.
"""

from __future__ import annotations

from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

_RIGHT, _WRONG, _EMPTY = 0, 1, 2
NUMBERS = 10  # that a rank can say beside its verdict; a rank that raises does not know how many the others have


def hear_all(function: str, numbers: list[int], device: torch.device) -> list[list[int]]:
    """The numbers of every rank, in order of rank; a GPU is waited for once.

    Args:
        function: the name that errors begin with.
        numbers: at most ``NUMBERS``; those of every rank come back filled up with zeros.
        device: what the ranks' tensors are on.

    Raises:
        ValueError: on every rank, if one of them has no rows or :class:`JointChecks` has caught an error on it.
    """
    return _exchange(function, _RIGHT, numbers, device)


class JointChecks:
    """A context for the checks of a loss that begins with :func:`hear_all`: an error in it is one on every rank.

    Args:
        function: the name that errors begin with.
        strategy: ``"local"``, where no rank waits for another, or how the ranks share the loss.
        rows: what this rank has been given, a tensor or not.
        takes_none: whether a rank may have no rows: then that is not what the error is about.
    """

    __slots__ = ("function", "rows", "strategy", "takes_none")

    def __init__(self, function: str, strategy: str, rows: object, *, takes_none: bool = False) -> None:
        self.function, self.strategy, self.rows, self.takes_none = function, strategy, rows, takes_none

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.strategy != "local" and isinstance(error, Exception):
            rows = self.rows
            empty = not self.takes_none and isinstance(rows, Tensor) and rows.dim() > 0 and len(rows) == 0
            _exchange(self.function, _EMPTY if empty else _WRONG, [], meeting_place(rows))


def _exchange(function: str, verdict: int, numbers: list[int], device: torch.device) -> list[list[int]]:
    said = [verdict, *numbers, *[0] * (NUMBERS - len(numbers))]
    own = torch.tensor(said, device=device)
    heard = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(heard, own)
    verdicts, *columns = torch.stack(heard).T.tolist()
    if verdict == _WRONG:
        return []  # its own error says more
    if _EMPTY in verdicts:
        at = verdicts.index(_EMPTY)
        raise ValueError(f"{function}: rows must be at least 1 on every rank, got none on rank {at}") from None
    if _WRONG in verdicts:
        at = verdicts.index(_WRONG)
        raise ValueError(f"{function}: arguments must be right on every rank, got an error on rank {at}")
    return [list(each) for each in zip(*columns, strict=True)]


def meeting_place(*given: object, group: dist.ProcessGroup | None = None) -> torch.device:
    """Where the ranks' tensors are, also of a rank that was called with something else."""
    backends = dist.get_backend_config(group).split(",")  # such as cpu:gloo,cuda:nccl
    tensor = next((each for each in given if isinstance(each, Tensor)), None)
    if tensor is not None and backends != ["cuda:nccl"]:
        return tensor.device
    return torch.device("cuda" if "cuda:nccl" in backends and torch.cuda.is_available() else "cpu")
