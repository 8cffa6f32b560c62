"""Losses over several ranks equal those of one process on the concatenated batch (gloo, CPU)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sslfast.distributed import gather_rows, world_size
from sslfast.losses import (
    CrossBatchMemory,
    DCLLoss,
    DCLWLoss,
    MultiPositiveNTXentLoss,
    NTXentLoss,
    SupConLoss,
    TripletLoss,
)

SHARDS = {1: [5], 2: [4, 4], 3: [3, 1, 5]}  # uneven ones too
DIM, OUT = 6, 4


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.nn.Linear]:
    generator = torch.Generator().manual_seed(7)
    x0, x1 = torch.randn(2, rows, DIM, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(DIM, OUT, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(OUT, DIM, generator=generator, dtype=torch.float64))
        model.bias.zero_()
    return x0, x1, model


class OfViews(torch.nn.Module):
    """A loss with labels, of two views a sample; samples i and i + 3 share a label."""

    def __init__(self, loss: torch.nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, z0: torch.Tensor, z1: torch.Tensor, first: int = 0) -> torch.Tensor:
        labels = torch.arange(first, first + len(z0)) % 3
        return self.loss(torch.stack([z0, z1], dim=1).flatten(0, 1), labels.repeat_interleave(2))


CRITERIA = {
    "nt_xent": lambda gather: NTXentLoss(0.3, gather_distributed=gather),
    "memory bank": lambda gather: NTXentLoss(0.3, (20, OUT), gather),
    "dcl": lambda gather: DCLLoss(0.3, gather_distributed=gather),
    "dclw": lambda gather: DCLWLoss(0.3, gather_distributed=gather),
    "supcon": lambda gather: OfViews(SupConLoss(0.3, gather)),
    "multi-positive": lambda gather: OfViews(MultiPositiveNTXentLoss(0.3, gather)),
    "triplet": lambda gather: OfViews(TripletLoss(0.3, gather_distributed=gather)),
    "hardest triplet": lambda gather: OfViews(TripletLoss(0.3, mining="batch_hard", gather_distributed=gather)),
    "memory": lambda gather: OfViews(CrossBatchMemory(SupConLoss(0.3), OUT, 7, gather_distributed=gather)),
}


def criterion(kind: str, gather_distributed: bool) -> torch.nn.Module:
    torch.manual_seed(3)  # the same bank on every rank
    return CRITERIA[kind](gather_distributed).double()


def rank_main(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    shards = SHARDS[world]
    own = slice(sum(shards[:rank]), sum(shards[: rank + 1]))
    for kind in CRITERIA:
        x0, x1, model = batch(sum(shards))
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        function = criterion(kind, gather_distributed=True)
        views = parallel(x0[own]), parallel(x1[own])
        loss = function(*views, own.start) if isinstance(function, OfViews) else function(*views)
        loss.backward()
        torch.save((loss.detach(), model.weight.grad, function.state_dict()), f"{folder}/{kind} {rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may still run when the interpreter is torn down, which then aborts now and then


@pytest.mark.parametrize("world", [1, 2, 3])
def test_losses_over_ranks_are_those_of_one_process(world: int, tmp_path: Path) -> None:
    mp.spawn(rank_main, args=(world, str(tmp_path)), nprocs=world)
    for kind in CRITERIA:
        x0, x1, model = batch(sum(SHARDS[world]))
        function = criterion(kind, gather_distributed=False)
        loss = function(model(x0), model(x1))
        loss.backward()
        for rank in range(world):
            rank_loss, rank_grad, state = torch.load(tmp_path / f"{kind} {rank}.pt")
            torch.testing.assert_close(rank_loss, loss.detach(), rtol=1e-12, atol=0, msg=kind)
            torch.testing.assert_close(rank_grad, model.weight.grad, rtol=1e-10, atol=1e-14, msg=kind)
            torch.testing.assert_close(state, dict(function.state_dict()), msg=kind)


def test_without_a_process_group_nothing_happens() -> None:
    rows = torch.randn(3, 2)
    assert world_size() == 1
    assert gather_rows(rows) is rows
