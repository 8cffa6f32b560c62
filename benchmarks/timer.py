"""How long a call takes, by the clocks that benchmarks are measured with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import machine


class Timer:
    """Seconds per call by a clock: ``cpu``, the process's CPU time; ``wall``; or CUDA's ``events``, with L2 cold.

    With ``workers`` the CPU time of child processes counts too.
    """

    def __init__(self, device: torch.device, clock: str, workers: bool = False) -> None:
        cpu = machine.cpu_seconds_with_children if workers else time.process_time
        self._now = cpu if clock == "cpu" else time.perf_counter
        self.on_cpu = clock != "events"
        self._flush = None
        if clock == "events":
            cache = torch.cuda.get_device_properties(device).L2_cache_size
            self._flush = torch.empty(2 * cache, dtype=torch.int8, device=device)

    def __call__(self, call: Callable[[], Any], calls: int) -> float:
        if self._flush is not None:
            return self._events(call, calls)
        start = self._now()
        for _ in range(calls):
            call()
        return (self._now() - start) / calls

    def _events(self, call: Callable[[], Any], calls: int) -> float:
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
        for start, end in pairs:
            self._flush.zero_()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return statistics.fmean(start.elapsed_time(end) for start, end in pairs) / 1e3
