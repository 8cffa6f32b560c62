"""The machine under the benchmarks: its name, its versions, its own peak rates, and whether it is quiet."""

from __future__ import annotations

import ctypes
import datetime
import functools
import importlib.metadata
import mmap
import multiprocessing
import platform
import re
import subprocess
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
# A wall time is called disturbed where other processes used more than this many cores.
QUIET_CORES = 0.15


def name(device: torch.device) -> str:
    """File name of this machine's results: the CPU's model and core count, or the GPU's name.

    Virtual machines call CPUs of several generations "AMD EPYC", though one multiplies twice as much a cycle as
    another. So a name without a number gets the family and the model.
    """
    if device.type == "cuda":
        return _slug(torch.cuda.get_device_name(device))
    path = Path("/proc/cpuinfo")
    cores = torch.multiprocessing.cpu_count()
    return f"{cpu_name(path.read_text() if path.exists() else '')}-{cores}-core{'s' if cores > 1 else ''}"


def cpu_name(cpuinfo: str) -> str:
    """What the text of /proc/cpuinfo calls the first CPU, in lower case with hyphens; the architecture if nothing."""

    def field(title: str) -> str:
        found = re.search(rf"^{title}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
        return found.group(1) if found else ""

    slug = _slug(field("model name") or platform.machine())
    if field("cpu family") and not re.search(r"\d", slug):
        slug += f"-family-{field('cpu family')}-model-{field('model')}"
    return slug


def _slug(text: str) -> str:
    text = re.sub(r"\((r|tm)\)|\bprocessor\b|\bcpu\b|@.*?ghz", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def facts() -> dict[str, str]:
    """What every row of the results carries: date, commit, and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": version("triton"),
    }


def version(distribution: str) -> str:
    """The installed version of a distribution, or an empty string."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The short commit, with ``+`` where tracked files other than results differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!README.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


@functools.cache
def peak_rate(unit: str, dtype: str, device: str, threads: int) -> float:
    """What the machine itself reaches with ``threads`` threads: GB/s of a large copy, or GFLOP/s of a large product."""
    torch.set_num_threads(threads)
    if unit == "B":
        source = torch.ones(64 << 20, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device) * 1e-9
    size = 8192 if device == "cuda" else 1536
    left = torch.ones(size, size, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32, device=device)
    return 2 * size**3 / _fastest(lambda: left @ left, device) * 1e-9


def _fastest(call: object, device: str, times: int = 5) -> float:
    """Least wall seconds of one call out of a few; others on the machine only ever make it longer."""
    best = float("inf")
    for _ in range(times + 1):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def cpu_seconds_with_children() -> float:
    """CPU time of this process and of its children that live, those of ``multiprocessing``: a loader's workers."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        for task in Path(f"/proc/{child.pid}/task").glob("*/schedstat"):  # nanoseconds on a core, then waiting for one
            seconds += int(task.read_text().split()[0]) * 1e-9
    return seconds


def touch_memory(most: int | None = None) -> None:
    """Uses free memory once, ``most`` bytes of it or until half of the machine's is left, and gives it back.

    A virtual machine gets its memory from the host when it first touches it: 2 s a GiB where that was measured, against
    0.3 s from then on. Large results live in fresh pages, so that would be most of their time, and all of its noise.
    Free memory may be the host's again after some seconds: 2 there.
    """
    meminfo, step, blocks = Path("/proc/meminfo"), 256 << 20, []

    def kilobytes(field: str) -> int:
        return int(re.search(rf"{field}:\s+(\d+) kB", meminfo.read_text()).group(1))

    while (
        (most is None or len(blocks) * step < most)
        and meminfo.exists()
        and 2 * kilobytes("MemAvailable") > kilobytes("MemTotal")
    ):
        pages = mmap.mmap(-1, step, flags=mmap.MAP_PRIVATE)
        pages.madvise(mmap.MADV_HUGEPAGE)
        blocks.append(torch.frombuffer(pages, dtype=torch.uint8).zero_())


def return_freed_memory() -> None:
    """Hands the C library's free memory back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class ForeignLoad:
    """Counts the cores that other processes keep busy, from the moment it is made."""

    def __init__(self) -> None:
        self._start = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """(wall seconds, busy core-seconds of the machine, CPU seconds of this process)."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return time.perf_counter(), 0.0, 0.0
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        busy = (sum(ticks) - ticks[3] - ticks[4]) / 100
        return time.perf_counter(), busy, time.process_time()

    def cores(self) -> float:
        """Average number of cores that others used since the start; 0 where the system does not tell."""
        wall, busy, own = (now - then for now, then in zip(self._read(), self._start, strict=True))
        return max(0.0, (busy - own) / max(wall, 1e-9))


def quiet(wait: float = 20.0) -> bool:
    """Waits up to ``wait`` seconds for a second in which others leave the machine alone."""
    deadline = time.perf_counter() + wait
    while True:
        load = ForeignLoad()
        time.sleep(1.0)
        if load.cores() <= QUIET_CORES:
            return True
        if time.perf_counter() > deadline:
            return False
