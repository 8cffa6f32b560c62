"""Processes that stand for the ranks of a distributed run."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# What ranks spend most time on, imported once by a server that the ranks of all tests are forked from. It computes
# nothing, so that no thread but OpenBLAS's, which minds forks, is there to be lost.
PRELOADED = ["pytest", "sslfast.losses", "torch._dynamo", "torch.nn.parallel.distributed", "triton.language"]


def start(main: Callable[..., None], world: int, *arguments: Any) -> None:
    """Runs ``main(rank, world, *arguments)`` in ``world`` processes; raises what one of them raises."""
    mp.get_context("forkserver").set_forkserver_preload(PRELOADED)
    mp.start_processes(main, args=(world, *arguments), nprocs=world, start_method="forkserver")


def found_by_ranks(main: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """What ``main(rank, world, *arguments)`` returns on every rank of a group of gloo."""
    start(_in_group, world, main, str(folder), *arguments)
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def _in_group(rank: int, world: int, main: Callable[..., Any], folder: str, *arguments: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=120),  # where one waits for ever
    )
    torch.save(main(rank, world, *arguments), f"{folder}/{rank}.pt")
    dist.barrier()
    os._exit(0)  # gloo's threads may still run when the interpreter is torn down, which then aborts now and then
