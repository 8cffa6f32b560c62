"""Losses over several ranks equal those of one process on the concatenated batch (gloo, CPU)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sslfast.distributed import gather_rows, world_size
from sslfast.losses import NTXentLoss

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


def criterion(bank: bool, gather_distributed: bool) -> NTXentLoss:
    torch.manual_seed(3)  # the same bank on every rank
    return NTXentLoss(0.3, (20, OUT) if bank else 0, gather_distributed).double()


def rank_main(rank: int, world: int, folder: str, bank: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    shards = SHARDS[world]
    x0, x1, model = batch(sum(shards))
    own = slice(sum(shards[:rank]), sum(shards[: rank + 1]))
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    function = criterion(bank, gather_distributed=True)
    loss = function(parallel(x0[own]), parallel(x1[own]))
    loss.backward()
    torch.save((loss.detach(), model.weight.grad, function.state_dict()), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may still run when the interpreter is torn down, which then aborts now and then


@pytest.mark.parametrize("bank", [False, True], ids=["in batch", "memory bank"])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_nt_xent_over_ranks_is_that_of_one_process(world: int, bank: bool, tmp_path: Path) -> None:
    mp.spawn(rank_main, args=(world, str(tmp_path), bank), nprocs=world)
    x0, x1, model = batch(sum(SHARDS[world]))
    function = criterion(bank, gather_distributed=False)
    loss = function(model(x0), model(x1))
    loss.backward()
    for rank in range(world):
        rank_loss, rank_grad, state = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(rank_loss, loss.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(rank_grad, model.weight.grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(state, dict(function.state_dict()))


def test_without_a_process_group_nothing_happens() -> None:
    rows = torch.randn(3, 2)
    assert world_size() == 1
    assert gather_rows(rows) is rows
