"""``python -m benchmarks [stem ...]``: measures, prints the table, writes results/<machine>.csv, holds the thresholds.

Every case is first measured with one thread, in CPU time of the process, which other work on the machine disturbs
little. Where the machine is quiet a second pass follows with all cores, in wall time. On a GPU, which may be lent for
minutes, there is one pass in the order of ``gpu_grid``, and every case is saved as soon as it is measured.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from benchmarks import gpu_grid, harness, machine, memory, report, thresholds

STEMS = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
ATTEMPTS = 3  # a case under its threshold is measured again: noise only ever adds time, a slower kernel stays slow
ON_GPU = harness.Plan(budget=1.0)  # events of a GPU spread little
QUICK = harness.Plan(budget=0.5, least_rounds=3, most_rounds=10, least_sample=0.002)


@dataclass(frozen=True)
class Pass:
    threads: int
    clock: str


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0].replace("`", ""))
    parser.add_argument(
        "stems", nargs="*", metavar="stem", help=f"benchmarks to run: {', '.join(STEMS)} (default: all)"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="small sizes, no torch.compile, nothing saved; under 60 s")
    parser.add_argument("--threads", type=int, help="one pass with this many threads (default: one, then all)")
    parser.add_argument("--clock", choices=["cpu", "wall"], help="default: cpu with one thread, wall with more")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes long")
    parser.add_argument("--no-save", action="store_true", help="leave results/ as it is")
    options = parser.parse_args()
    unknown = sorted(set(options.stems) - set(STEMS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(STEMS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this torch finds no CUDA device")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads must be at least 1, got {options.threads}")
    return options


def passes(options: argparse.Namespace) -> list[Pass]:
    if options.threads:
        return [Pass(options.threads, options.clock or ("cpu" if options.threads == 1 else "wall"))]
    cores = torch.multiprocessing.cpu_count()
    both = options.device == "cpu" and not options.quick and cores > 1
    return [Pass(1, options.clock or "cpu"), *([Pass(cores, "wall")] if both else [])]


def main() -> int:
    options = arguments()
    device = torch.device(options.device)
    on_gpu, save = device.type == "cuda", not (options.quick or options.no_save)
    stems = options.stems or (gpu_grid.first_stems(STEMS) if on_gpu else STEMS)
    modules: dict[str, ModuleType] = {stem: importlib.import_module(f"benchmarks.bench_{stem}") for stem in stems}
    cases = [
        (stem, case)
        for stem, module in modules.items()
        for case in module.cases()
        if options.device in case.devices and (case.quick or not options.quick)
    ]
    if on_gpu:
        cases = gpu_grid.in_order(cases, thresholds.judged_on_gpu())
    elif not options.quick:
        machine.touch_memory()
    takes_part = _takes_part(options)
    extra = {} if options.quick or on_gpu else _memory(cases, device, takes_part)
    rows: list[tuple[str, harness.Row]] = []
    for each in passes(options):
        if each.threads > 1 and not options.threads and not machine.quiet():
            print(f"The machine is not quiet: no pass with {each.threads} threads.", file=sys.stderr)
            continue
        for stem, case in cases:
            if each.threads > 1 and case.one_thread_only:
                continue
            if on_gpu and not options.quick:
                extra |= _memory([(stem, case)], device, takes_part)
            figures = extra.get(case.name, {})
            for attempt in range(1 if options.quick or on_gpu or case.once else ATTEMPTS):
                print(f"{case.name}, threads: {each.threads}{', again' * (attempt > 0)}", file=sys.stderr)
                if attempt > 0:
                    machine.touch_memory()  # the host may have taken back what large results are written to
                measured = harness.measure(
                    case,
                    device,
                    threads=each.threads,
                    clock=each.clock,
                    plan=QUICK if options.quick else ON_GPU if on_gpu else None,
                    skip={provider: text for provider, text in figures.items() if isinstance(text, str)},
                    providers=takes_part,
                )
                for row in measured:
                    figure = figures.get(row.provider)
                    row.extra_mib = figure if isinstance(figure, float) else row.extra_mib
                if not any(
                    verdict.failed
                    for verdict in thresholds.judge(measured, complete=False, machine=machine.name(device))
                ):
                    break
            rows += [(stem, row) for row in measured]
            if on_gpu and save:
                report.save(rows, device, complete=False)
    measured = [row for _, row in rows]
    report.print_table(measured, [case for _, case in cases])
    if options.quick:
        return _quick_verdict(measured)
    if save:
        print(f"\nwrote {report.save(rows, device, complete=not options.no_compile)}")
    complete = not (options.stems or options.no_compile)
    verdicts = thresholds.judge(measured, complete=complete, machine=machine.name(device))
    print("\nthresholds")
    for verdict in verdicts:
        print(f"  {verdict.state:10}{verdict.text}")
    return int(any(verdict.failed for verdict in verdicts))


def _takes_part(options: argparse.Namespace) -> Callable[[str], bool]:
    """Which providers are measured."""
    return lambda name: "compile" not in name or not (options.quick or options.no_compile)


def _memory(
    cases: list[tuple[str, harness.Case]], device: torch.device, takes_part: Callable[[str], bool]
) -> dict[str, dict[str, float | str]]:
    """Peak extra memory by case and provider, in MiB; the reason as text where a provider failed."""
    cores = torch.multiprocessing.cpu_count()
    figures: dict[str, dict[str, float | str]] = {}
    for stem, case in cases:
        for provider in filter(takes_part, case.providers if case.memory else ()):
            print(f"{case.name}, memory of {provider}", file=sys.stderr)
            try:
                figure = memory.extra_mib(stem, case, provider, device, cores)
            except (MemoryError, RuntimeError) as error:
                figure = str(error)
            figures.setdefault(case.name, {})[provider] = figure
    return figures


def _quick_verdict(rows: list[harness.Row]) -> int:
    """The smoke test: sslfast ran everywhere and nobody's result differs from its."""
    bad = [row for row in rows if row.status == "wrong" or (row.status == "failed" and row.provider == harness.OURS)]
    for row in bad:
        print(f"{row.status}: {' '.join(report.case_key(row))} {row.provider}: {row.note}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
