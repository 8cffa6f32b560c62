"""Blocks over ranks, without any: who takes which pairs, and what is on its way while a rank computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sslfast.distributed import Shards
from sslfast.losses import _blocks


def shards_of(world: int, even: bool) -> list[Shards]:
    sizes = tuple(4 if even else 1 + (5 * rank) % 7 for rank in range(world))
    return [Shards(sizes, rank) for rank in range(world)]


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("world", range(2, 10))
def test_every_pair_is_taken_once(world: int, even: bool) -> None:
    ranks = shards_of(world, even)
    total = sum(ranks[0].sizes)
    for symmetric in (False, True):
        taken = torch.zeros(total, total)
        for shards in ranks:
            before = taken.sum()
            own = slice(shards.start, shards.start + shards.sizes[shards.rank])
            for distance in range(_blocks._reach(shards, symmetric) + 1):
                rows, columns = _blocks._part(shards, distance, symmetric)
                start = Shards(shards.sizes, shards.ahead(distance)).start
                block = taken[own][rows, start + columns.start : start + columns.stop]
                block += 0.5 if symmetric and distance == 0 else 1.0  # the own block: half its tiles
            if even:
                assert taken.sum() - before == total * 4 / (1 + symmetric)
        assert torch.equal(taken + taken.T if symmetric else taken, torch.ones(total, total))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("world", [2, 3, 6, 7])
def test_the_ring_posts_the_next_block_before_the_present_one(
    monkeypatch: pytest.MonkeyPatch, world: int, symmetric: bool
) -> None:
    events: list[str] = []

    class Exchange:
        def __init__(self, tensors: list[Tensor], target: int, source: int, size: int) -> None:
            self.kind = "results" if len(tensors) == 1 else "block"
            events.append(f"post {self.kind} to {target} from {source}")
            self.received = [t.new_zeros((size, *t.shape[1:])) for t in tensors]

        def wait(self) -> list[Tensor]:
            events.append(f"wait {self.kind}")
            return self.received

    monkeypatch.setattr(_blocks, "Exchange", Exchange)
    shards = shards_of(world, True)[1]
    reach = world // 2 if symmetric else world - 1
    left, right = (shards.rank - 1) % world, (shards.rank + 1) % world
    block = torch.ones(4, 3)
    exchange = _blocks.RingBlocks(shards, block, lse=False, symmetric=symmetric)
    exchange.post(block, block[:, 0])
    for distance, _, (columns, _) in exchange.blocks():
        events.append(f"compute {distance}")
        if distance or not symmetric:
            exchange.leave(torch.ones_like(columns))
    assert exchange.collect().shape == block.shape
    expected = [f"post block to {left} from {right}", "compute 0"]
    for distance in range(1, reach + 1):
        expected.append("wait block")
        if distance < reach:
            expected.append(f"post block to {left} from {right}")
        expected.append(f"compute {distance}")
        if distance > 1:
            expected.append("wait results")
        home = (shards.rank + reach) % world, (shards.rank - reach) % world
        target, source = (left, right) if distance < reach else home
        expected.append(f"post results to {target} from {source}")
    assert events == [*expected, "wait results"]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("strategy", ["all_gather", "ring"])
def test_nothing_travels_where_none_is_posted(monkeypatch: pytest.MonkeyPatch, strategy: str, symmetric: bool) -> None:
    travelling: list[tuple[int, ...]] = []

    class Exchange:  # all ranks have the same
        def __init__(self, tensors: list[Tensor], *_: int) -> None:
            travelling.extend(t.shape for t in tensors)
            self.wait = lambda: [t.clone() for t in tensors]

    def all_gather_shards(rows: Tensor, shards: Shards) -> Callable[[], Tensor]:
        travelling.append(rows.shape)
        return lambda: torch.cat([rows] * shards.world)

    monkeypatch.setattr(_blocks, "Exchange", Exchange)
    monkeypatch.setattr(_blocks, "all_gather_shards", all_gather_shards)
    shards, columns, ids = shards_of(3, True)[1], torch.randn(4, 5), torch.arange(4)
    for factors in (None, torch.rand(4)):
        posted = [t.shape for t in (columns, factors, ids) if t is not None]
        first = _blocks.blocks_over_ranks(strategy, shards, symmetric=symmetric)
        first.post(columns, factors, ids)
        second = _blocks.blocks_over_ranks(strategy, shards, symmetric=symmetric)
        for exchange in (first, second):
            if exchange is second:
                second.post(columns, factors, ids, held=first.held)
                posted = [ids.shape] if strategy == "all_gather" else posted  # which has held the others
            for _, _, found in exchange.blocks():
                if found:  # but of the own block, which nothing is needed for
                    times = len(found[0]) // 4
                    assert torch.equal(found[0], columns.repeat(times, 1))
                    assert found[1] is None if factors is None else torch.equal(found[1], factors.repeat(times))
                    assert torch.equal(found[2], ids.repeat(times))
            assert travelling == posted * (2 if strategy == "ring" and not symmetric else 1)  # steps
            travelling.clear()
