"""Measures the providers of one operator side by side: the engine of every benchmark here.

pytest-benchmark times one callable after the other, and a machine whose speed drifts between two of them makes their
ratio drift too. What these benchmarks guard is the ratio, so the providers are interleaved here: every round times
each of them once, in rotating order, and a ratio is the median of the ratios within a round. pytest-benchmark runs on
top (conftest.py): it collects the cases and keeps sslfast's own times, with the ratios as ``extra_info``.
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks import gpu_calls, machine
from benchmarks.timer import Timer

OURS = "sslfast"
RECLAIM = 1.0  # s: where a round takes longer, what one provider freed may be the host's when its turn comes again,
FRESH = 512 << 20  # so that many bytes are used once before every sample, as much as the largest results of a call take
SPREAD = 2.0  # of our wall times, 80th percentile over 20th: beyond that the machine was measured, not the code
Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One operator at one size and type, and who can do it.

    Attributes:
        op: what is measured; with ``size``, ``dtype`` and ``mode`` it names the case.
        size: the shape, in words of the operator.
        dtype: type of the inputs.
        make_inputs: builds the inputs on a device; called after ``torch.manual_seed(0)``.
        providers: name to a function that takes the inputs and returns the call to time. ``sslfast`` comes first. It
            imports its peer itself: what it raises becomes a failure row.
        check: ``check(inputs, theirs, ours)`` raises AssertionError where a peer's result is not ours.
        work: least bytes or FLOPs of one call, the floor that ``formula`` states.
        unit: ``"B"`` or ``"FLOP"``; or ``"image"`` where ``work`` is how many are made, and no floor.
        formula: how ``work`` is counted.
        mode: ``"forward"`` or ``"forward+backward"``.
        memory: measure the peak extra memory too.
        quick: part of ``--quick``.
        one_thread_only: left out of the pass with all threads.
        once: timed in one round and never again, because a call takes many seconds.
        workers: processes work for the call; their CPU time counts as the process's own.
        devices: where the case exists.
    """

    op: str
    size: str
    dtype: str
    make_inputs: Callable[[torch.device], Any]
    providers: Mapping[str, Callable[[Any], Call]]
    check: Callable[[Any, Any, Any], None]
    work: float
    unit: str
    formula: str
    mode: str = "forward"
    memory: bool = False
    quick: bool = False
    one_thread_only: bool = False
    once: bool = False
    workers: bool = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def key(self) -> tuple[str, ...]:
        return (self.op, self.size, self.dtype, self.mode)

    @property
    def name(self) -> str:
        return "/".join(self.key).replace(" ", "-")


@dataclass
class Row:
    """One provider of one case, measured with one number of threads. Times in milliseconds per call.

    ``status`` is ``ok``; ``failed``, with the reason; ``wrong`` where the result is not ours; or ``disturbed`` where
    others used the machine during a measurement of wall time, or our own times differ by more than SPREAD. ``launches``
    and ``waits`` of the host for the device are counted on a GPU, but for cases that are timed once.
    """

    op: str
    size: str
    dtype: str
    mode: str
    provider: str
    device: str
    threads: int
    clock: str
    status: str = "ok"
    rounds: int = 0
    median_ms: float = math.nan
    p20_ms: float = math.nan
    p80_ms: float = math.nan
    rate: float = math.nan
    rate_unit: str = ""
    share_of_peak: float = math.nan
    extra_mib: float = math.nan
    launches: float = math.nan
    waits: float = math.nan
    ratio: float = math.nan
    note: str = ""


@dataclass
class Plan:
    """How long to measure: a budget in seconds per case, and the bounds on the number of rounds."""

    budget: float = 2.0
    least_rounds: int = 3
    most_rounds: int = 30
    least_sample: float = 0.01


@dataclass
class _Run:
    row: Row
    call: Call
    calls: int = 1
    samples: list[float] = field(default_factory=list)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile`` for fixed shapes and the present number of threads, which its C++ code has built in."""
    import torch._inductor.config

    torch._inductor.config.cpp.threads = torch.get_num_threads()
    return torch.compile(function, dynamic=False)


def one_line(error: BaseException) -> str:
    """The type and the first line of an exception."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


def measure(
    case: Case,
    device: torch.device,
    *,
    threads: int = 1,
    clock: str = "cpu",
    plan: Plan | None = None,
    skip: Mapping[str, str] | None = None,
    providers: Callable[[str], bool] = lambda name: True,
) -> list[Row]:
    """Times every provider of a case in interleaved rounds and compares their results with ours.

    Args:
        case: what to measure.
        device: where.
        threads: CPU threads that torch and the peers may use.
        clock: ``"cpu"``, the process's CPU time, or ``"wall"``. A GPU is always timed with its own events.
        plan: how long to measure.
        skip: providers that are known to fail, with the reason.
        providers: which providers take part; sslfast always does.

    Returns:
        One row per provider, in the case's order; those that failed say why.
    """
    plan = plan or Plan()
    if case.once:
        plan = replace(plan, least_rounds=1, most_rounds=1)
    clock = clock if device.type == "cpu" else "events"
    torch.set_num_threads(threads)
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    machine.return_freed_memory()
    torch.manual_seed(0)
    inputs = case.make_inputs(device)
    timer = Timer(device, clock, case.workers)
    rows, runs = [], []
    expected = result = None
    for name, make in case.providers.items():
        if name != OURS and not providers(name):
            continue
        row = Row(case.op, case.size, case.dtype, case.mode, name, device.type, threads, clock)
        row.rate_unit = {"B": "GB/s", "FLOP": "GFLOP/s", "image": "images/s"}[case.unit]
        rows.append(row)
        if skip and name in skip:
            row.status, row.note = "failed", skip[name]
            continue
        try:
            call = make(inputs)
            result = call()
            if device.type == "cuda" and not case.once:
                row.launches, row.waits = gpu_calls.counts(call)
        except Exception as error:
            row.status, row.note = "failed", one_line(error)
        if row.status == "failed":
            gc.collect()  # what a provider held when memory ran out must not be missing to the next
            continue
        if name == OURS:
            expected = result
        elif expected is not None:
            try:
                case.check(inputs, result, expected)
            except AssertionError as error:
                row.status, row.note = "wrong", str(error)
        runs.append(_Run(row, call))
    del expected, result
    gc.collect()
    load = machine.ForeignLoad()
    gc.disable()
    try:
        _sample(runs, timer, plan)
    finally:
        gc.enable()
    _evaluate(case, device, runs)
    reason = _disturbance(rows[0], load.cores()) if clock == "wall" else ""
    if reason:
        for run in runs:
            if run.row.status == "ok":
                run.row.status, run.row.note = "disturbed", reason
    return rows


def _disturbance(ours: Row, busy_cores: float) -> str:
    """What makes a case's wall times worthless, or nothing."""
    if busy_cores > machine.QUIET_CORES:
        return f"others used {busy_cores:.1f} cores"
    if ours.p80_ms > SPREAD * ours.p20_ms:
        return f"sslfast took {ours.p20_ms:.3g} to {ours.p80_ms:.3g} ms"
    return ""


def _sample(runs: list[_Run], timer: Timer, plan: Plan) -> None:
    """Fills every run's samples, interleaved. The first round finds how many calls make a sample long enough."""
    spent = 0.0
    for run in runs:
        seconds = timer(run.call, 1)
        while seconds * run.calls < plan.least_sample:
            run.calls = min(2 * run.calls + 1, math.ceil(1.2 * plan.least_sample / max(seconds, 1e-7)))
            seconds = timer(run.call, run.calls)
        run.samples.append(seconds)
        spent += seconds * run.calls
    rounds = min(max(round(plan.budget / max(spent, 1e-9)), plan.least_rounds), plan.most_rounds)
    pages = FRESH if timer.on_cpu and spent > RECLAIM else 0
    order = deque(runs)
    for _ in range(rounds - 1):
        for run in order:
            machine.touch_memory(pages)
            run.samples.append(timer(run.call, run.calls))
        order.rotate(-1)


def _evaluate(case: Case, device: torch.device, runs: list[_Run]) -> None:
    """Turns samples into the figures of the rows."""
    ours = next((run.samples for run in runs if run.row.provider == OURS), None)
    for run in runs:
        row = run.row
        ordered = sorted(run.samples)
        row.rounds = len(ordered)
        row.median_ms = statistics.median(ordered) * 1e3
        row.p20_ms, row.p80_ms = (_quantile(ordered, q) * 1e3 for q in (0.2, 0.8))
        row.rate = case.work / row.median_ms * (1e3 if case.unit == "image" else 1e-6)
        if case.unit != "image":
            row.share_of_peak = row.rate / machine.peak_rate(case.unit, case.dtype, device.type, row.threads)
        if ours is not None:
            row.ratio = statistics.median(theirs / mine for theirs, mine in zip(run.samples, ours, strict=True))


def _quantile(ordered: list[float], q: float) -> float:
    """The q-quantile of sorted values, with linear interpolation."""
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
