"""The benchmarks for GPUs, as far as a machine without one can tell: the list of cases, and a run at tiny sizes."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu_grid, thresholds
from benchmarks.harness import Case, Plan, Row, measure

# benchmark, op, rows of the largest size, what a matrix of their similarities takes, those that store it
LOSSES = [
    ("cross_softmax", "clip", 2**20, "2,199 GB", {"eager torch", "torch.compile", "open_clip ClipLoss"}),
    ("one_way_softmax", "info_nce", 2**20, "2,199 GB", {"eager torch", "torch.compile"}),
    ("sigmoid_pairs", "siglip", 2**20, "2,199 GB", {"eager torch", "torch.compile", "open_clip SigLipLoss"}),
    # Both views of a pair are rows.
    ("similarity_softmax", "nt_xent", 2**21, "8,796 GB", {"eager torch", "torch.compile", "lightly NTXentLoss"}),
]
STEMS = [stem for stem, *_ in LOSSES]


def gpu_cases(stem: str) -> Iterator[Case]:
    module = importlib.import_module(f"benchmarks.bench_{stem}")
    return (case for case in module.cases() if "cuda" in case.devices)


@pytest.mark.parametrize(("stem", "op", "most_rows", "most_bytes", "storing"), LOSSES, ids=STEMS)
def test_every_size_is_there_once(stem: str, op: str, most_rows: int, most_bytes: str, storing: set[str]) -> None:
    sizes = [f"{pairs}x{width}" for pairs in gpu_grid.PAIRS for width in gpu_grid.WIDTHS]
    cases = [case for case in gpu_cases(stem) if case.op == op and case.dtype == "bf16" and case.size in sizes]
    assert sorted(case.size for case in cases) == sorted(sizes)
    for case in cases:
        assert next(iter(case.providers)) == "sslfast"
        width = int(case.size.split("x")[1])
        compiles = width == 512 or case.size.startswith("8192x")
        expected = storing if compiles else storing - {"torch.compile"}
        assert storing & set(case.providers) == expected
        assert case.once == case.size.startswith("1048576x")
        failed = {name for name, make in case.providers.items() if "not_tried" in getattr(make, "__qualname__", "")}
        assert failed == (expected if case.once else set())
        for name in failed:
            text = f"^not tried: {most_rows} x {most_rows} similarities in bf16 are {most_bytes}"
            with pytest.raises(MemoryError, match=text):
                case.providers[name](None)
        if case.once and width > 512:
            assert set(case.providers) == {"sslfast", *expected}


@pytest.mark.parametrize("stem", STEMS)
def test_runs_at_tiny_sizes(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_grid, "PAIRS", (16, 64))
    monkeypatch.setattr(gpu_grid, "WIDTHS", (8,))
    plan = Plan(budget=0.0, least_rounds=1, most_rounds=1, least_sample=0.0)
    cases = [case for case in gpu_cases(stem) if case.devices == ("cuda",)]
    tiny = [case for case in cases if case.size.endswith("x8")]
    assert len(tiny) == 2
    for case in tiny:
        rows = measure(case, torch.device("cpu"), plan=plan, providers=lambda name: name != "torch.compile")
        found = {row.provider: row.status for row in rows}
        assert found["sslfast"] == "ok"
        assert found["eager torch"] in ("ok", "wrong")  # rounds its similarities to bf16


def test_thresholds_have_their_cases() -> None:
    found = {(case.op, case.size, case.dtype) for stem in STEMS for case in gpu_cases(stem)}
    ops = {op for _, op, *_ in LOSSES}
    for entry in tomllib.loads(thresholds.FILE.read_text())["threshold"]:
        if entry.get("device") == "cuda" and entry["op"] in ops:
            assert (entry["op"], entry["size"], entry["dtype"]) in found


def test_limits_have_their_cases() -> None:
    modules = (importlib.import_module(f"benchmarks.bench_{stem}") for stem in command.STEMS)
    cases = {(c.op, c.size, c.dtype, c.mode) for module in modules for c in module.cases() if "cuda" in c.devices}
    for entry in tomllib.loads(thresholds.FILE.read_text())["limit"]:
        assert (entry["op"], entry["size"], entry["dtype"], entry["mode"]) in cases
        assert entry.keys() & thresholds.LIMITS.keys()


def test_limits_are_judged_on_their_gpu() -> None:
    def judged(machine: str, **figures: float) -> list[str]:
        key = {"op": "nt_xent", "size": "4096x128", "dtype": "bf16", "mode": "forward+backward"}
        row = Row(**key, provider="sslfast", device="cuda", threads=1, clock="events", **figures)
        return [verdict.state for verdict in thresholds.judge([row], complete=False, machine=machine)]

    assert judged("nvidia-h200", median_ms=0.1, launches=5) == ["held", "held"]
    assert judged("nvidia-h200", median_ms=0.2, launches=5) == ["failed", "held"]
    assert judged("nvidia-h200", median_ms=0.1) == ["held", "unchecked"]
    assert judged("nvidia-a100", median_ms=0.2, launches=9) == []


def test_thresholds_of_a_processor_are_judged_on_it() -> None:
    tables = tomllib.loads(thresholds.FILE.read_text())
    files = {name: f"{part}-2-cores" for name, part in tables["cpus"].items()} | {
        "": "amd-epyc-family-25-model-1-2-cores"
    }
    entries = [entry for entry in tables["threshold"] if "cpus" in entry]
    assert entries
    for entry in entries:
        key = {name: entry[name] for name in ("op", "size", "dtype", "mode")} | {"device": "cpu", "threads": 1}
        rows = [
            Row(**key, provider=name, clock="cpu", ratio=entry["ratio"] - 0.01)
            for name in ("sslfast", entry["provider"])
        ]
        failed = {
            name
            for name, file in files.items()
            if any(verdict.failed for verdict in thresholds.judge(rows, complete=False, machine=file))
        }
        assert failed == set(entry["cpus"])
