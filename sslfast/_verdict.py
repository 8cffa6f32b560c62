"""What the ranks of torch.distributed tell each other first: the shape of their rows, or that they are about to raise.

A rank that finds its arguments wrong says so in the exchange that the others begin with, so that none waits for it.
"""

from __future__ import annotations

from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check

_RIGHT, _WRONG, _EMPTY = 0, 1, 2
_TOLD = "_sslfast_told"  # an attribute of errors: a context around the one that told the ranks does not tell them again
NUMBERS = 11  # that a rank can say beside its verdict; a rank that raises does not know how many the others have


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

    Where none waits for this rank, or all know already, it does nothing; nor in a graph of torch.compile, which has no
    part in exchanges.

    Args:
        function: the name that errors begin with.
        gather_distributed: what the loss was given, right or wrong: whatever does not say that the rank is by itself,
            ``False`` or ``"local"``, is taken to mean that the others wait.
        rows: what this rank has been given, a tensor or not.
        takes_none: whether a rank may have no rows: then that is not what the error is about.
    """

    __slots__ = ("function", "gather_distributed", "rows", "takes_none")

    def __init__(self, function: str, gather_distributed: object, rows: object, *, takes_none: bool = False) -> None:
        self.function, self.gather_distributed, self.rows = function, gather_distributed, rows
        self.takes_none = takes_none

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not getattr(error, _TOLD, False) and self._others_wait():
            rows = self.rows
            empty = not self.takes_none and isinstance(rows, Tensor) and rows.dim() > 0 and len(rows) == 0
            setattr(error, _TOLD, True)
            _exchange(self.function, _EMPTY if empty else _WRONG, [], meeting_place(rows))

    def _others_wait(self) -> bool:
        given = self.gather_distributed
        alone = given == "local" if isinstance(given, str) else _check.is_boolean(given) and not given
        return not alone and world_size() > 1 and not torch.compiler.is_compiling()


def world_size() -> int:
    """Number of ranks of the default process group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


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
        raise told_to_all(f"{function}: rows must be at least 1 on every rank, got none on rank {at}") from None
    if _WRONG in verdicts:
        at = verdicts.index(_WRONG)
        raise told_to_all(f"{function}: arguments must be right on every rank, got an error on rank {at}")
    return [list(each) for each in zip(*columns, strict=True)]


def told_to_all(text: str) -> ValueError:
    """An error that every rank raises or hears of."""
    error = ValueError(text)
    setattr(error, _TOLD, True)
    return error


def meeting_place(*given: object, group: dist.ProcessGroup | None = None) -> torch.device:
    """Where the ranks' tensors are, also of a rank that was called with something else."""
    backends = dist.get_backend_config(group).split(",")  # such as cpu:gloo,cuda:nccl
    tensor = next((each for each in given if isinstance(each, Tensor)), None)
    if tensor is not None and backends != ["cuda:nccl"]:
        return tensor.device
    return torch.device("cuda" if "cuda:nccl" in backends and torch.cuda.is_available() else "cpu")
