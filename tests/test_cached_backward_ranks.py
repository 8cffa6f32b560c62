"""cached_backward over ranks (gloo, CPU) is the step of one process on all samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import found_by_ranks
from torch import Tensor, nn
from towers import DIM, Both, Tower

from sslfast.losses import NTXentLoss, cached_backward, clip_loss

SHARDS = {2: [3, 5], 3: [3, 1, 5]}  # in chunks of 2: ranks differ in their number


class Pair(nn.Module):
    """Two towers that are encoders of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.towers = nn.ModuleList([Tower(), Tower()])


def data(world: int) -> Tensor:
    return torch.randn(2, sum(SHARDS[world]), DIM, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def rank_main(rank: int, world: int) -> Any:
    shards = SHARDS[world]
    own = data(world)[:, sum(shards[:rank]) : sum(shards[: rank + 1])]
    results: dict[str, Any] = {}
    for how in ("all_gather", "ring"):
        # One encoder on two views, twice, so that the second step would notice what the first has left.
        model = Pair().towers[0]
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            model.zero_grad()
            loss = cached_backward(NTXentLoss(0.2, gather_distributed=how), parallel, list(own), chunk_size=2)
        results[f"views, {how}"] = [loss, *(p.grad for p in model.parameters())]
        towers = Pair().towers
        both = [nn.parallel.DistributedDataParallel(tower) for tower in towers]
        scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

        def loss_fn(a: Tensor, b: Tensor, how: str = how, scale: Tensor = scale) -> Tensor:
            return clip_loss(a, b, scale, normalize=True, gather_distributed=how)

        loss = cached_backward(loss_fn, both, list(own), chunk_size=2)
        results[f"towers, {how}"] = [loss, *(p.grad for p in towers.parameters()), scale.grad]
    model = Both()
    torch.manual_seed(2)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    parallel = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):
        model.zero_grad()
        loss = cached_backward(
            lambda a, b, s: clip_loss(a, b, s, gather_distributed="ring"), parallel, [tuple(own)], chunk_size=2
        )
    results["both"] = [loss, *(p.grad for p in model.parameters())]
    return results


@pytest.mark.parametrize("world", SHARDS)
def test_over_ranks_it_is_the_step_of_one_process(world: int, tmp_path: Path) -> None:
    ranks = found_by_ranks(rank_main, world, tmp_path)
    a, b = data(world)
    tower = Pair().towers[0]
    loss = NTXentLoss(0.2)(tower(a), tower(b))
    loss.backward()
    expected = {"views": [loss.detach(), *(p.grad for p in tower.parameters())]}
    towers = Pair().towers
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = clip_loss(towers[0](a), towers[1](b), scale, normalize=True)
    loss.backward()
    expected["towers"] = [loss.detach(), *(p.grad for p in towers.parameters()), scale.grad]
    model = Both()
    torch.manual_seed(2)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    loss = clip_loss(*model(a, b))
    loss.backward()
    expected["both"] = [loss.detach(), *(p.grad for p in model.parameters())]
    for found in ranks:
        assert len(found) == 5
        for name, values in found.items():
            truth = {name: expected[name.split(",")[0]]}
            torch.testing.assert_close({name: values}, truth, rtol=1e-10, atol=1e-13)
