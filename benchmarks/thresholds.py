"""Holds measured ratios, and on a GPU absolute figures, against thresholds.toml."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import OURS, Row

FILE = Path(__file__).with_name("thresholds.toml")
# What a limit may bound: the row's figure, and in which words.
LIMITS = {"ms": "median_ms", "mib": "extra_mib", "launches": "launches", "waits": "waits"}


@dataclass(frozen=True)
class Verdict:
    """What became of one threshold: ``held``, ``failed``, or ``unchecked`` where the peer gave no figure."""

    state: str
    text: str

    @property
    def failed(self) -> bool:
        return self.state == "failed"


def judged_on_gpu() -> set[tuple[str, ...]]:
    """(op, size, dtype, mode) of the cases that a threshold or a limit is for on a GPU."""
    tables = tomllib.loads(FILE.read_text())
    entries = [entry for entry in tables["threshold"] if entry.get("device") == "cuda"] + tables["limit"]
    return {(entry["op"], entry["size"], entry["dtype"], entry["mode"]) for entry in entries}


def judge(rows: Sequence[Row], *, complete: bool, machine: str = "") -> list[Verdict]:
    """Applies every threshold to its case, for those cases that were measured with one thread; and every limit.

    After a complete run a threshold without a case has failed: a case renamed would otherwise lose its guard.

    Args:
        rows: what was measured.
        complete: whether that were all cases.
        machine: the name of the results' file: limits of time are for one GPU each, some thresholds for some CPUs.
    """
    tables = tomllib.loads(FILE.read_text())
    devices = {row.device for row in rows}
    found = {(row.device, row.op, row.size, row.dtype, row.mode, row.provider): row for row in rows if row.threads == 1}
    verdicts = []
    for entry in tables["threshold"]:
        if "cpus" in entry and not any(tables["cpus"][cpu] in machine for cpu in entry["cpus"]):
            continue
        case = (entry.get("device", "cpu"), entry["op"], entry["size"], entry["dtype"], entry["mode"])
        ours, theirs = found.get((*case, OURS)), found.get((*case, entry["provider"]))
        subject = " ".join((*case[1:], "against", entry["provider"]))
        if ours is None or theirs is None:
            if complete and case[0] in devices:
                verdicts.append(Verdict("failed", f"{subject}: no such case"))
            continue
        verdicts.append(_speed(subject, entry["ratio"], ours, theirs))
        if "memory" in entry:
            verdicts.append(_memory(subject, entry["memory"], ours, theirs))
    for entry in tables.get("limit", []):
        case = ("cuda", entry["op"], entry["size"], entry["dtype"], entry["mode"])
        if "cuda" not in devices or entry.get("gpu", "") not in machine:
            continue
        ours = found.get((*case, OURS))
        if ours is not None:
            verdicts += [_within(" ".join(case[1:]), name, entry[name], ours) for name in LIMITS if name in entry]
        elif complete:
            verdicts.append(Verdict("failed", f"{' '.join(case[1:])}: no such case"))
    return verdicts


def _within(subject: str, name: str, most: float, ours: Row) -> Verdict:
    if ours.status == "failed":
        return Verdict("failed", f"{subject}: sslfast {ours.note}")
    figure = getattr(ours, LIMITS[name])
    if math.isnan(figure):
        return Verdict("unchecked", f"{subject}: no figure for {name}")
    return Verdict("held" if figure <= most else "failed", f"{subject}: {figure:.4g} {name}, at most {most:g}")


def _speed(subject: str, least: float, ours: Row, theirs: Row) -> Verdict:
    if ours.status == "failed":
        return Verdict("failed", f"{subject}: sslfast {ours.note}")
    if theirs.status == "failed":
        return Verdict("unchecked", f"{subject}: {theirs.note}")
    if theirs.status == "wrong":
        return Verdict("failed", f"{subject}: the results differ, {theirs.note}")
    state = "held" if theirs.ratio >= least else "failed"
    return Verdict(state, f"{subject}: {theirs.ratio:.2f}x, at least {least:g}x")


def _memory(subject: str, most: float, ours: Row, theirs: Row) -> Verdict:
    share = ours.extra_mib / theirs.extra_mib if theirs.extra_mib > 0 else math.nan
    if math.isnan(share):
        return Verdict("unchecked", f"{subject}: no figure for the peak extra memory")
    state = "held" if share <= most else "failed"
    return Verdict(state, f"{subject}: {share:.0%} of its peak extra memory, at most {most:.0%}")
