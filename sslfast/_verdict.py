"""What the ranks of torch.distributed tell each other first: the shape of their rows, or that they are about to raise.

A rank that finds its arguments wrong says so in the exchange that the others begin with, so that none waits for it.
With the shape travels a number that stands for the options: where these differ the ranks would make other exchanges, or
other losses, and so all raise.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check

_RIGHT, _WRONG, _EMPTY = 0, 1, 2
_TOLD = "_sslfast_told"  # an attribute of errors: a context around the one that told the ranks does not tell them again
NUMBERS = 10  # that a rank can say beside its verdict; a rank that raises does not know how many the others have
_LOSS = "the loss"  # the option that is the function's name

Options = Mapping[str, str]


class _Around(threading.local):
    """The options of what calls a loss, of each thread; not a ContextVar, which breaks graphs."""

    def __init__(self) -> None:
        self.options: Options = {}


_around = _Around()


def spelled(**options: object) -> dict[str, str]:
    """Options as the ranks compare them: numbers and names as they are written, of a tensor only what it is.

    Whether a tensor takes a gradient is part of that: it decides what travels in the backward pass.
    """
    return {name: _text(value) for name, value in options.items()}


def spelled_scales(**scales: float | Tensor) -> dict[str, str]:
    """Numbers that may be learned, as :func:`spelled` gives options: the shape of such a tensor makes no difference."""
    return {
        name: f"a tensor{_graded(value)}" if isinstance(value, Tensor) else _text(value)
        for name, value in scales.items()
    }


def _text(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dim()}-d tensor{_graded(value)}"
    return repr(_unsigned_zeros(value))


def _graded(value: Tensor) -> str:
    return " that takes a gradient" if value.requires_grad and torch.is_grad_enabled() else ""


def _unsigned_zeros(value: object) -> object:
    """The same number or numbers, with 0.0 in the place of -0.0, which equals it."""
    if isinstance(value, float):
        return value + 0.0
    return tuple(map(_unsigned_zeros, value)) if isinstance(value, tuple) else value


class OptionsAround:
    """A context in which what is exchanged has options beside its own: those of a module that calls a loss.

    In another with options of the same names, both count.
    """

    __slots__ = ("before", "options")

    def __init__(self, **options: object) -> None:
        self.options = spelled(**options)
        self.before: Options = {}

    def __enter__(self) -> None:
        self.before = _around.options
        around = dict(self.before)
        for name, text in self.options.items():
            around[name] = f"{around[name]} around {text}" if name in around else text
        _around.options = around

    def __exit__(self, *_: object) -> None:
        _around.options = self.before


def hear_all(
    function: str, numbers: list[int], device: torch.device, options: Options | None = None
) -> list[list[int]]:
    """The numbers of every rank, in order of rank; a GPU is waited for once.

    Args:
        function: the name that errors begin with.
        numbers: at most ``NUMBERS``; those of every rank come back filled up with zeros.
        device: what the ranks' tensors are on.
        options: what has to be the same on every rank, as :func:`spelled` gives it; they cost no exchange of their own.
            Default: None, the function alone.

    Raises:
        ValueError: on every rank, if one of them has no rows or :class:`JointChecks` has caught an error on it, or if
            the function or an option differs.
    """
    exchange = _exchange
    if torch.compiler.is_compiling():  # which would exchange in another way than a rank that does not compile
        torch._dynamo.graph_break(msg="the ranks hear from each other")
        exchange = torch.compiler.disable(exchange)
    heard: list[list[int]] = exchange(function, _RIGHT, numbers, device, named(function, options or {}))
    return heard


def named(function: str, options: Options) -> dict[str, str]:
    """The options with the function's name, and those around it."""
    return {**_around.options, _LOSS: function, **options}


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
            _exchange(self.function, _EMPTY if empty else _WRONG, [], meeting_place(rows), {})

    def _others_wait(self) -> bool:
        given = self.gather_distributed
        alone = given == "local" if isinstance(given, str) else _check.is_boolean(given) and not given
        return not alone and world_size() > 1 and not torch.compiler.is_compiling()


def world_size() -> int:
    """Number of ranks of the default process group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _exchange(
    function: str, verdict: int, numbers: list[int], device: torch.device, options: Options
) -> list[list[int]]:
    description, stand_in = described(options)
    said = [verdict, stand_in, *numbers, *[0] * (NUMBERS - len(numbers))]
    verdicts, stand_ins, *columns = zip(*_told(torch.tensor(said, device=device)).tolist(), strict=True)
    if verdict == _WRONG:
        return []  # its own error says more
    if _EMPTY in verdicts:
        at = verdicts.index(_EMPTY)
        raise told_to_all(f"{function}: rows must be at least 1 on every rank, got none on rank {at}") from None
    if _WRONG in verdicts:
        at = verdicts.index(_WRONG)
        raise told_to_all(f"{function}: arguments must be right on every rank, got an error on rank {at}")
    if len(set(stand_ins)) > 1:
        raise told_to_all(difference(description, device))
    return [list(each) for each in zip(*columns, strict=True)]


def described(options: Options) -> tuple[bytes, int]:
    """Options in a row of bytes, and an int64 that is another one where they differ."""
    description = "\n".join(f"{name}\t{value}" for name, value in options.items()).encode()
    # Python's own hash is salted: it differs between processes.
    return description, int.from_bytes(hashlib.blake2b(description, digest_size=8).digest(), "little", signed=True)


def _told(own: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """(W, n), the numbers (n,) of every rank."""
    heard = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(heard, own, group=group)
    return torch.stack(heard)


def difference(description: bytes, device: torch.device, group: dist.ProcessGroup | None = None) -> str:
    """One line, the same on every rank, about the first option that differs; all have to call it."""
    own = torch.tensor(list(description), dtype=torch.uint8, device=device)
    sizes = _told(torch.tensor([len(own)], device=device), group).flatten().tolist()
    padded = own.new_zeros(max(sizes))
    padded[: len(own)] = own
    texts = [bytes(row[:size]).decode() for row, size in zip(_told(padded, group).tolist(), sizes, strict=True)]
    heard = [dict(line.split("\t") for line in text.split("\n")) for text in texts]
    around = [name for options in heard for name in list(options)[: list(options).index(_LOSS)]]
    name, at = next(
        (name, at)
        for name in dict.fromkeys([*around, *(name for options in heard for name in options)])
        for at, options in enumerate(heard)
        if options.get(name) != heard[0].get(name)
    )
    got = f"got {heard[0].get(name, 'nothing')} on rank 0 and {heard[at].get(name, 'nothing')} on rank {at}"
    return f"{heard[0][_LOSS]}: {name} must be alike on every rank, {got}"


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
