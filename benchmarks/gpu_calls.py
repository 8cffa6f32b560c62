"""What a call asks of a GPU's driver: kernel launches, and waits of the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel")  # and their variants for clusters and cooperative kernels
WAIT = "called a synchronizing CUDA operation"  # how torch's debug mode says it


def counts(call: Callable[[], Any]) -> tuple[int, int]:
    """(launches, waits) of one call that has run before: compilation counts as neither."""
    return _launches(call), _waits(call)


def _launches(call: Callable[[], Any]) -> int:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
    return launches_among((event.key, event.count) for event in profile.key_averages())


def launches_among(events: Iterable[tuple[str, int]]) -> int:
    """The launches among (name of a driver call, how often)."""
    return sum(count for name, count in events if name.startswith(LAUNCHES))


def _waits(call: Callable[[], Any]) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return waits_among(caught)


def waits_among(caught: Iterable[warnings.WarningMessage]) -> int:
    """The waits among the warnings of torch's debug mode."""
    return sum(WAIT in str(warning.message) for warning in caught)
