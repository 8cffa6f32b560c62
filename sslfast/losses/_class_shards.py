"""Which of the classes of a vocabulary lie on which rank, and what the ranks tell each other of their rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check
from sslfast._verdict import described, difference, meeting_place, named, spelled


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def said_place(
    function: str, held: int, first_class: int | None, num_classes: int | None, group: dist.ProcessGroup | None
) -> tuple[int, int] | None:
    """First class of this rank, which holds so many, and the number of all, as the arguments say; None: they do not.

    Raises:
        TypeError: if an argument is no integer.
        ValueError: if the classes held here cannot be those.
    """
    if num_classes is None:
        if first_class is not None:
            raise ValueError(f"{function}: first_class goes with num_classes, got first_class={first_class} alone")
        return None
    every = _check.integer(function, "num_classes", num_classes, 1)
    rank, world = (dist.get_rank(group), dist.get_world_size(group)) if is_distributed() else (0, 1)
    if first_class is None:
        share = -(every // -world)
        first = min(rank * share, every)
        if held != min(share, every - first):
            expected = f"{min(share, every - first)} rows, rank {rank}'s share of num_classes={every}"
            raise ValueError(f"{function}: linear_weight must have {expected} without first_class, got {held}")
        return first, every
    first = _check.integer(function, "first_class", first_class, 0)
    if first + held > every:
        raise ValueError(f"{function}: first_class must be in [0, {every - held}] with {held} classes, got {first}")
    return first, every


def agreed_place(
    function: str,
    input: Tensor,
    weight: Tensor,
    said: tuple[int, int] | None,
    options: Mapping[str, object],
    wrong: Exception | None,
    group: dist.ProcessGroup | None,
) -> tuple[int, int]:
    """Number of this rank's first class, and how many there are on all ranks.

    The ranks are asked, but on a GPU or in a compiled graph, where the answer would be waited for: not if it is said.

    Args:
        options: what has to be the same on every rank, under the name in errors; anything where something is wrong.

    Raises:
        TypeError, ValueError: ``wrong``, what is wrong with the arguments here.
        ValueError: if a rank has no class, its classes are others than said, something is wrong on another one, or
            what has to be the same is not.
    """
    waits = torch.compiler.is_compiling() or (isinstance(input, Tensor) and not input.is_cpu)
    if not is_distributed() or (said is not None and waits):
        if wrong is not None:
            raise wrong
        if said is not None and not is_distributed() and said != (0, len(weight)):
            raise ValueError(f"{function}: num_classes must be {len(weight)} without a process group, got {said[1]}")
        return said or (0, len(weight))
    rank = dist.get_rank(group)
    description, stand_in = described(named(function, spelled(**options)))
    empty = isinstance(weight, Tensor) and weight.dim() == 2 and not len(weight)
    numbers = [0 if empty else len(weight) if wrong is None else -1, *(said or (-1, -1)), stand_in]
    place = meeting_place(input, weight, group=group)
    told = torch.zeros((dist.get_world_size(group), len(numbers)), dtype=torch.int64, device=place)
    told[rank] = torch.tensor(numbers, device=place)
    dist.all_reduce(told, group=group)
    every, firsts, totals, stand_ins = (numbers.tolist() for numbers in told.unbind(1))
    if 0 in every:
        at = every.index(0)
        raise ValueError(f"{function}: linear_weight must have a class on every rank, got none on rank {at}")
    if wrong is not None:
        raise wrong
    if -1 in every:
        at = every.index(-1)
        raise ValueError(f"{function}: arguments must be right on every rank, got an error on rank {at}")
    if len(set(stand_ins)) > 1:
        raise ValueError(difference(description, place, group))
    for at, (first, total) in enumerate(zip(firsts, totals, strict=True)):
        right = sum(every[:at]), sum(every)
        if total != -1 and (first, total) != right:
            expected = f"first_class={right[0]}, num_classes={right[1]}"
            got = f"first_class={first}, num_classes={total}"
            raise ValueError(f"{function}: rank {at} must have {expected}, as the ranks hold {every}, got {got}")
    return sum(every[:rank]), sum(every)


def check_group(function: str, group: object) -> None:
    """A process group, or None.

    Raises:
        TypeError: if it is neither.
    """
    if group is None or torch.compiler.is_compiling():
        return
    if not (dist.is_available() and isinstance(group, dist.ProcessGroup)):
        raise TypeError(f"{function}: group must be a process group or None, got {type(group).__name__}")


def rank_in(group: dist.ProcessGroup | None) -> int:
    return dist.get_rank(group) if is_distributed() else 0


def told_by_all(numbers: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """(W, ...), the numbers of all ranks."""
    if not is_distributed():
        return numbers.unsqueeze(0)
    if not numbers.numel():  # nothing to tell
        return numbers.expand(dist.get_world_size(group), *numbers.shape)
    told = [torch.empty_like(numbers) for _ in range(dist.get_world_size(group))]
    dist.all_gather(told, numbers, group=group)
    return torch.stack(told)


def added_up(part: Tensor, group: dist.ProcessGroup | None) -> None:
    """Puts the sum over the ranks in the place of this rank's part."""
    if is_distributed() and part.numel():
        dist.all_reduce(part, group=group)
