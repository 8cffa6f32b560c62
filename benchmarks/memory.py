"""Peak extra memory of one call, measured in a process of its own.

On a CPU: every measurement is forked from a clean server process, in which nothing ran before. There the call runs
once, so that code, thread stacks and workspaces are in place; free memory goes back to the system, the kernel's
high-water mark of resident memory is reset, and the figure is the mark after a second call minus the memory before it.
Results and gradients count, inputs do not. On a GPU it is torch's own count of allocated memory, in this process, and
of the first call where a call takes many seconds.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import re
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks import harness, machine

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_AVAILABLE = Path("/proc/meminfo")


def extra_mib(stem: str, case: harness.Case, provider: str, device: torch.device, threads: int) -> float:
    """Peak extra memory of one call in MiB.

    Args:
        stem: the benchmark that holds the case, ``benchmarks.bench_<stem>``.
        case: the case.
        provider: who does it.
        device: where.
        threads: CPU threads.

    Returns:
        MiB, or NaN where the system has no resettable high-water mark.

    Raises:
        MemoryError: the system ended the process.
        RuntimeError: the provider failed, with its reason.
    """
    if device.type == "cuda":
        try:
            return _on_gpu(case, provider, device)
        except Exception as error:
            raise RuntimeError(harness.one_line(error)) from error
    if not _CLEAR.exists():
        return float("nan")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "benchmarks.harness", "benchmarks.peers"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(stem, case.name, provider, threads, sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    process.join()
    if answer is None:
        raise MemoryError(f"the process ended with exit code {process.exitcode}")
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def require_memory(size: int, what: str) -> None:
    """Keeps a peer from what the system would end it for, and perhaps others with it.

    Raises:
        MemoryError: if less than ``size`` bytes are available on a system that tells.
    """
    if not _AVAILABLE.exists():
        return
    available = int(re.search(r"MemAvailable:\s+(\d+) kB", _AVAILABLE.read_text()).group(1)) * 1024
    if size > available:
        raise MemoryError(f"{what} need {size / 2**30:.3g} GiB, {available / 2**30:.3g} GiB are available")


def _in_child(stem: str, name: str, provider: str, threads: int, sender: Connection) -> None:
    cases = importlib.import_module(f"benchmarks.bench_{stem}").cases()
    case = next(case for case in cases if case.name == name)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    try:
        call = case.providers[provider](case.make_inputs(torch.device("cpu")))
        call()
        gc.collect()
        machine.return_freed_memory()
        _CLEAR.write_text("5")  # resets the high-water mark, see proc(5)
        before = _status("VmRSS")
        result = call()
        after = _status("VmHWM")
        del result
        sender.send((after - before) / 1024)
    except Exception as error:
        sender.send(harness.one_line(error))


def _status(field: str) -> int:
    """A figure of this process in kB."""
    return int(re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text()).group(1))


def _on_gpu(case: harness.Case, provider: str, device: torch.device) -> float:
    torch.manual_seed(0)
    call = case.providers[provider](case.make_inputs(device))
    if not case.once:
        call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return peak / 2**20
