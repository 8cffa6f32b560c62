"""Losses over several ranks in one graph of torch.compile (gloo, CPU)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ranks import start
from torch import Tensor

from sslfast.losses import dino_loss, ibot_patch_loss, msn_loss, nt_xent_loss, swav_loss

MASK = torch.ones(1, 3, dtype=torch.bool)
WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "swav": lambda z: swav_loss([z, z * 2], [z * 3], sinkhorn_gather_distributed=True),
    "msn": lambda z: msn_loss(z, z.detach() * 2, z * 3, gather_distributed=True),
    "dino, balanced": lambda z: dino_loss([z, z], [z, z * 2], centering="sinkhorn_knopp"),
    "dino, gathered": lambda z: dino_loss([z, z], [z, z * 2], gather_distributed=True),
    "ibot": lambda z: ibot_patch_loss(
        z, z * 2, MASK, masks_weight=torch.ones(3), centering="sinkhorn_knopp", gather_distributed=True
    ),
}


def broken(loss: Callable[[Tensor], Tensor], rows: Tensor) -> bool:
    try:
        torch.compile(loss, fullgraph=True, backend="eager")(rows)
    except torch._dynamo.exc.TorchDynamoException:
        return True
    return False


def rank_main(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(rank)).requires_grad_()
    results: dict[str, Any] = {}
    for name, loss in WHOLE.items():
        torch._dynamo.reset()
        found = []
        for each in (loss, torch.compile(loss, fullgraph=True, backend="eager")):
            value = each(rows)
            found.append([value.detach(), *torch.autograd.grad(value, rows)])
        results[name] = found
    torch._dynamo.reset()
    results["nt_xent"] = broken(lambda z: nt_xent_loss(z, z * 2, gather_distributed=True), rows)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may still run when the interpreter is torn down, which then aborts now and then


def test_over_ranks_in_one_graph(tmp_path: Path) -> None:
    start(rank_main, 2, str(tmp_path))
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        for name in WHOLE:
            torch.testing.assert_close(results[name][1], results[name][0])
            assert results[name][0][1].any(), name
        assert results["nt_xent"]
