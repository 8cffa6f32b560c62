"""Banks that ranks fill together, for test_distributed.py: every rank has what one process has that gets all rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sslfast import losses

SIZE, DIM = 7, 3

Filled = list[dict[str, Tensor]]


def batches(shards: list[int]) -> list[tuple[Tensor, ...]]:
    """The ranks' rows of several batches: of these sizes, one each, more than fit, and of every second rank none."""
    generator = torch.Generator().manual_seed(11)
    sizes = [shards, [1] * len(shards), [2 * size for size in shards], [rank % 2 for rank in range(len(shards))]]
    return [torch.randn(DIM, sum(each), generator=generator).T.split(each) for each in sizes]


def filled(parts: Iterable[Tensor], gather: bool) -> Filled:
    """After each batch the state of two banks, and the neighbours that the second had for the batch."""
    torch.manual_seed(5)  # banks begin alike
    bank, nearest = losses.MemoryBank((SIZE, DIM), gather), losses.NNMemoryBank((SIZE, DIM), gather)
    found = []
    for rows in parts:
        bank.enqueue(rows)
        neighbours = nearest(rows, update=True)
        states = {f"{type(m).__name__}.{k}": v.clone() for m in (bank, nearest) for k, v in m.state_dict().items()}
        found.append({"neighbours": neighbours, **states})
    return found


def of_rank(rank: int, shards: list[int]) -> Filled:
    return filled((parts[rank] for parts in batches(shards)), gather=True)


def assert_as_in_one_process(ranks: list[Filled], shards: list[int]) -> None:
    for expected, *found in zip(filled(map(torch.cat, batches(shards)), gather=False), *ranks, strict=True):
        neighbours = torch.cat([states.pop("neighbours") for states in found])
        assert torch.equal(neighbours, expected.pop("neighbours"))
        assert len(expected) == 4  # two banks and their pointers
        for states in found:
            torch.testing.assert_close(states, expected, rtol=0, atol=0)
