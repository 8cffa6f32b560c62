"""Where a collator's draws come from: torch's global generator, or (seed, epoch, sample)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from sslfast import _check
from sslfast.random import step_seed


class CollatorDraws:
    """The seed of each call of a collator and the numbers of its rows.

    Without a seed, every call draws one from torch's global generator, which a DataLoader seeds in each worker. With a
    seed and a ``sample_id_key``, a sample's draws depend on (seed, epoch, its id) alone: not on the batch it is in, the
    number of workers or of ranks. With a seed alone they depend on (seed, epoch, worker, call of this worker).

    The epoch is in shared memory, so that ``set_epoch`` reaches workers that are running.
    """

    def __init__(self, function: str, seed: int | None, sample_id_key: str | None) -> None:
        if seed is not None:
            seed = _check.integer(function, "seed", seed, -(2**63), 2**63 - 1)
        if sample_id_key is not None and not isinstance(sample_id_key, str):
            raise TypeError(f"{function}: sample_id_key must be a str, got {type(sample_id_key).__name__}")
        if seed is None and sample_id_key is not None:
            raise ValueError(f"{function}: sample_id_key needs a seed, got None")
        self._function, self._seed, self._sample_id_key = function, seed, sample_id_key
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._calls = self._calls_of = 0  # calls so far, and of which epoch

    def set_epoch(self, epoch: int) -> None:
        """Makes later calls draw anew. The epoch is at least 0.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        self._epoch.fill_(_check.integer(self._function, "epoch", epoch, 0))
        self._calls = 0

    def next_call(self, examples: Sequence[Any]) -> tuple[int | None, Tensor | None]:
        """``generator`` and ``sample_ids`` for one batch.

        Raises:
            KeyError: if an example has no ``sample_id_key``.
            TypeError: if an example with one should be found and is no mapping, or its id is not an integer.
        """
        if self._seed is None:
            return None, None
        epoch = int(self._epoch)
        if epoch != self._calls_of:  # set while this worker ran: a run that begins with this epoch has the same calls
            self._calls, self._calls_of = 0, epoch
        seed = int(step_seed(self._seed, epoch))
        if self._sample_id_key is not None:
            return seed, torch.tensor([self._sample_id(example) for example in examples], dtype=torch.int64)
        worker = get_worker_info()
        call = self._calls << 16 | (0 if worker is None else worker.id + 1)
        self._calls += 1
        return int(step_seed(seed, call)), None

    def _sample_id(self, example: Any) -> int:
        key = self._sample_id_key
        if not isinstance(example, Mapping):
            expected = f"a mapping with the sample's id under {key!r}"
            raise TypeError(f"{self._function}: an example must be {expected}, got {type(example).__name__}")
        if key not in example:
            raise KeyError(f"{self._function}: an example has no {key!r}, which sample_id_key names")
        return _check.integer(self._function, f"example[{key!r}]", example[key], -(2**63))
