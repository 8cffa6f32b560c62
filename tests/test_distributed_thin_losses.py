"""Barlow Twins, VICReg and SwAV over several ranks equal those of one process on the whole batch (gloo, CPU).

So does the mean over equal shards of losses that are each rank's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import found_by_ranks
from torch import Tensor

from sslfast.losses.alignment_uniformity import alignment_loss
from sslfast.losses.barlow_twins import BarlowTwinsLoss
from sslfast.losses.negative_cosine_similarity import NegativeCosineSimilarity
from sslfast.losses.swav import SwAVLoss, sinkhorn_knopp
from sslfast.losses.vicreg import VICRegLoss

SHARDS = {1: [5], 2: [4, 4], 3: [3, 1, 5]}  # uneven ones too, and one that has no variance of its own
QUEUE = {1: [2], 2: [3, 3], 3: [2, 4, 1]}
EQUAL = 3  # rows of every rank, where a rank's loss is its own
DIM, OUT, WIDE = 6, 4, 24  # OUT for D x D products, WIDE for N x N ones

Views = tuple[Tensor, Tensor, Tensor]


def swav(views: Views, queue: Tensor | None, gather: bool, epsilon: float = 0.05) -> Tensor:
    stored = None if queue is None else [queue, -queue]
    return SwAVLoss(sinkhorn_epsilon=epsilon, sinkhorn_gather_distributed=gather)(views[:2], views[2:], stored)


LOSSES: dict[str, tuple[int, Callable[[Views, Tensor, bool], Tensor]]] = {
    "barlow": (OUT, lambda z, queue, gather: BarlowTwinsLoss(0.1, gather)(*z[:2])),
    "barlow, wide": (WIDE, lambda z, queue, gather: BarlowTwinsLoss(0.1, gather)(*z[:2])),
    "vicreg": (OUT, lambda z, queue, gather: VICRegLoss(gather_distributed=gather)(*z[:2])),
    "vicreg, wide": (WIDE, lambda z, queue, gather: VICRegLoss(gather_distributed=gather)(*z[:2])),
    "swav": (OUT, lambda z, queue, gather: swav(z, None, gather)),
    "swav, queue": (OUT, lambda z, queue, gather: swav(z, queue, gather, 0.5)),
}
OWN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": NegativeCosineSimilarity(),
    "alignment": partial(alignment_loss, normalize=True),
}


def data(rows: int, queued: int, out: int) -> tuple[Tensor, Tensor, torch.nn.Linear]:
    """Three views of the batch, the scores in the queue, and a model."""
    generator = torch.Generator().manual_seed(7)
    views = torch.randn(3, rows, DIM, generator=generator, dtype=torch.float64)
    queue = torch.randn(queued, out, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(DIM, out, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(0.2 * torch.randn(out, DIM, generator=generator, dtype=torch.float64))
        model.bias.zero_()
    return views, queue, model


def part(sizes: list[int], rank: int) -> slice:
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


def rank_main(rank: int, world: int) -> Any:
    results = {}
    for name, (out, function) in LOSSES.items():
        views, queue, model = data(sum(SHARDS[world]), sum(QUEUE[world]), out)
        own, own_queue = views[:, part(SHARDS[world], rank)], queue[part(QUEUE[world], rank)]
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        loss = function(tuple(parallel(x) for x in own), own_queue, True)
        loss.backward()
        results[name] = loss.detach(), model.weight.grad
    for name, own_loss in OWN.items():
        views, _, model = data(EQUAL * world, 0, OUT)
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        loss = own_loss(*(parallel(x) for x in views[:2, part([EQUAL] * world, rank)]))
        loss.backward()
        results[name] = loss.detach(), model.weight.grad
    queue = data(1, sum(QUEUE[world]), OUT)[1]
    results["codes"] = sinkhorn_knopp(queue[part(QUEUE[world], rank)], gather_distributed=True)
    results["error"] = one_row_each()
    return results


def one_row_each() -> str:
    """What a rank says where every rank has one row: an error only if there is but one rank."""
    z = torch.randn(1, 3)
    try:
        VICRegLoss(gather_distributed=True)(z, z)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("world", [1, 2, 3])
def test_over_ranks_as_in_one_process(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path)
    for name, (out, function) in LOSSES.items():
        views, queue, model = data(sum(SHARDS[world]), sum(QUEUE[world]), out)
        loss = function(tuple(model(x) for x in views), queue, False)
        loss.backward()
        assert model.weight.grad is not None
        for rank in ranks:
            rank_loss, rank_grad = rank[name]
            torch.testing.assert_close({name: rank_loss}, {name: loss.detach()}, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close({name: rank_grad}, {name: model.weight.grad}, rtol=1e-8, atol=1e-11)
    for name, own_loss in OWN.items():
        views, _, model = data(EQUAL * world, 0, OUT)
        loss = own_loss(*(model(x) for x in views[:2]))
        loss.backward()
        of_ranks = torch.stack([rank[name][0] for rank in ranks])
        assert len(of_ranks.unique()) == world
        torch.testing.assert_close({name: of_ranks.mean()}, {name: loss.detach()}, rtol=1e-10, atol=1e-12)
        for rank in ranks:
            torch.testing.assert_close({name: rank[name][1]}, {name: model.weight.grad}, rtol=1e-10, atol=1e-12)
    queue = data(1, sum(QUEUE[world]), OUT)[1]
    codes = torch.cat([rank["codes"] for rank in ranks])
    torch.testing.assert_close(codes, sinkhorn_knopp(queue), rtol=1e-10, atol=1e-13)
    expected = "vicreg_loss: z_a must have at least 2 rows, got 1" if world == 1 else ""
    assert [rank["error"] for rank in ranks] == [expected] * world
