"""Processes that stand for the ranks of a distributed run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

# What ranks spend most time on, imported once by a server that the ranks of all tests are forked from. It computes
# nothing, so that no thread but OpenBLAS's, which minds forks, is there to be lost.
PRELOADED = ["pytest", "sslfast.losses", "torch._dynamo", "torch.nn.parallel.distributed", "triton.language"]


def start(main: Callable[..., None], world: int, *arguments: Any) -> None:
    """Runs ``main(rank, world, *arguments)`` in ``world`` processes; raises what one of them raises."""
    mp.get_context("forkserver").set_forkserver_preload(PRELOADED)
    mp.start_processes(main, args=(world, *arguments), nprocs=world, start_method="forkserver")
