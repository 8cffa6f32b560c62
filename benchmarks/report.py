"""The table of one run, and the rows of results/<machine>.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import groupby
from pathlib import Path

import torch

from benchmarks import machine, peers
from benchmarks.harness import Case, Row

RESULTS = Path(__file__).with_name("results")
_FACTS = ("date", "commit", "python", "torch", "triton", "provider_version")
COLUMNS = ("stem", *(field.name for field in fields(Row)), *_FACTS)


def case_key(row: Row) -> tuple[str, ...]:
    return (row.op, row.size, row.dtype, row.mode)


def print_table(rows: list[Row], cases: Iterable[Case]) -> None:
    """Prints a block per case: a line per provider, its one-thread figures and those with all threads."""
    floors = {case.key: case for case in cases}
    for key, block in groupby(sorted(rows, key=lambda row: list(floors).index(case_key(row))), key=case_key):
        case, lines, measured = floors[key], {}, list(block)
        for row in measured:
            lines.setdefault(row.provider, []).append(row)
        amount = _amount(case.work, case.unit)
        floor = f"    floor {case.formula}: {amount}" if case.work and case.unit != "image" else ""
        print(f"\n{' '.join(key)}{floor}")
        unit = "us" if measured[0].median_ms < 0.1 else "ms"
        head = " ".join(_pass_head(row, unit) for row in next(iter(lines.values())))
        print(f"  {'provider':24}{head}   extra MiB")
        for provider, passes in lines.items():
            figures = " ".join(_pass_figures(row, unit) for row in passes)
            memory = next((row.extra_mib for row in passes if not math.isnan(row.extra_mib)), math.nan)
            notes = dict.fromkeys(f"{row.status}: {row.note}".removeprefix("ok: ") for row in passes if row.note)
            notes |= {f"{r.launches:.0f} launches, {r.waits:.0f} waits": None for r in passes if r.launches >= 0}
            print(f"  {provider:24}{figures} {_number(memory, 11)}   {'; '.join(notes)}".rstrip())


def _pass_head(row: Row, unit: str) -> str:
    clock = "events" if row.clock == "events" else f"{row.threads} thread{'s' * (row.threads > 1)}, {row.clock}"
    return f"{f'{clock} {unit} (p20..p80)':>34} {row.rate_unit:>8} {'of peak':>8} {'ratio':>7}"


def _pass_figures(row: Row, unit: str) -> str:
    median, low, high = (_number(ms * (1e3 if unit == "us" else 1)) for ms in (row.median_ms, row.p20_ms, row.p80_ms))
    spread = f"{median} ({low}..{high})" if row.rounds else "-"
    share = "-" if not row.share_of_peak > 0 else f"{row.share_of_peak:.0%}"
    ratio = "-" if math.isnan(row.ratio) else f"{_number(row.ratio)}x"
    return f"{spread:>34} {_number(row.rate if row.rate > 0 else math.nan, 8)} {share:>8} {ratio:>7}"


def _number(value: float, width: int = 0) -> str:
    """Three significant digits, never in exponent form; a dash for NaN."""
    if math.isnan(value):
        return "-".rjust(width)
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 5)}f}".rjust(width)


def _amount(work: float, unit: str) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if work >= factor:
            return f"{work / factor:.3g} {prefix}{unit}"
    return f"{work:.3g} {unit}"


def save(rows: list[tuple[str, Row]], device: torch.device, *, complete: bool = True) -> Path:
    """Writes (stem, row) pairs to this machine's file.

    Earlier rows of the same stems are replaced, others stay; where the rows are not ``complete``, which is not all
    cases of their stems or not all providers of their cases, only earlier rows of the same cases and providers are.
    """
    path = RESULTS / f"{machine.name(device)}.csv"
    stems, measured = {stem for stem, _ in rows}, {(stem, *case_key(row), row.provider) for stem, row in rows}

    def replaced(line: dict[str, str]) -> bool:
        names = ("stem", "op", "size", "dtype", "mode", "provider")
        return line["stem"] in stems if complete else tuple(line[name] for name in names) in measured

    kept = [line for line in load(path) if not replaced(line)] if path.exists() else []
    facts = machine.facts()
    for stem, row in rows:
        figures = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in asdict(row).items()}
        kept.append({"stem": stem, **figures, **facts, "provider_version": peers.version(row.provider)})
    RESULTS.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(kept, key=lambda line: line["stem"]))
    return path


def load(path: Path) -> list[dict[str, str]]:
    """The rows of a results file, as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
