"""Modules with a generator of their own, which differs between the workers and epochs of a DataLoader."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from sslfast.random import Generator, seed_tensor, step_seed


class DrawingModule(nn.Module):
    """A module that draws from its own generator in calls that are given none.

    An int seeds a torch.Generator, so that successive calls differ and a run repeats. Every worker of a DataLoader, in
    every epoch that starts workers anew, holds a copy of it in the same state: an int is therefore mixed there, once,
    with the seed that the loader gives the worker. Nothing is known of the seed of a torch.Generator that is given, and
    nothing is changed.
    """

    generator: torch.Generator | Tensor | None

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self._seed: int | None = None  # of the generator made here
        self._worker_seed: int | None = None  # what it was last mixed with
        if generator is not None and not isinstance(generator, torch.Generator):
            seed = seed_tensor(generator, function=type(self).__name__)
            if not isinstance(generator, Tensor):
                self._seed = int(seed)
                generator = torch.Generator().manual_seed(self._seed)
        self.generator = generator

    def _chosen(self, generator: Generator) -> Generator:
        """What a call draws from that is given ``generator``."""
        if generator is not None:
            return generator
        if self._seed is not None and isinstance(self.generator, torch.Generator):
            worker = get_worker_info()
            if worker is not None and worker.seed != self._worker_seed:
                self._worker_seed = worker.seed
                self.generator.manual_seed(int(step_seed(self._seed, worker.seed & (2**63 - 1))))
        return self.generator
