"""The benchmarks for GPUs, as far as a machine without one can tell: the list of cases, their order, and a run at tiny
sizes, with the Triton kernels interpreted."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from gpu_operators import use_launchers

from benchmarks import __main__ as command
from benchmarks import gpu_grid, machine, report, thresholds
from benchmarks.harness import Case, Plan, Row, measure

# benchmark, op, rows of the largest size, what a matrix of their similarities takes, those that store it
LOSSES = [
    ("cross_softmax", "clip", 2**20, "2,199 GB", {"eager torch", "torch.compile", "open_clip ClipLoss"}),
    ("one_way_softmax", "info_nce", 2**20, "2,199 GB", {"eager torch", "torch.compile"}),
    ("sigmoid_pairs", "siglip", 2**20, "2,199 GB", {"eager torch", "torch.compile", "open_clip SigLipLoss"}),
    # Both views of a pair are rows.
    ("similarity_softmax", "nt_xent", 2**21, "8,796 GB", {"eager torch", "torch.compile", "lightly NTXentLoss"}),
]
SUPCON = {"eager torch", "torch.compile", "pytorch-metric-learning SupConLoss"}
STEMS = [stem for stem, *_ in LOSSES]
KERNELS = {"memeff", "inf-cl", "cut-cross-entropy", "quack-kernels", "siglip-kernel"}  # peers that are for GPUs alone
WAYS = {"sslfast, in registers", "sslfast, in strips"}
NOT_HERE = ("MemoryError: not tried", "ModuleNotFoundError", "RuntimeError: this CPU has no AVX512_BF16")
ON_GPU_ALONE = [*STEMS, "queue_softmax", "supcon_references", "info_nce_options", "siglip_options"]


def gpu_cases(stem: str) -> Iterator[Case]:
    module = importlib.import_module(f"benchmarks.bench_{stem}")
    return (case for case in module.cases() if "cuda" in case.devices)


@pytest.mark.parametrize(("stem", "op", "most_rows", "most_bytes", "storing"), LOSSES, ids=STEMS)
def test_every_size_is_there_once(stem: str, op: str, most_rows: int, most_bytes: str, storing: set[str]) -> None:
    sizes = [f"{pairs}x{width}" for pairs, width in gpu_grid.SIZES]
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
        rows = int(case.size.split("x")[0]) * most_rows // gpu_grid.MOST
        assert case.memory == (width == 512 and rows >= 65536)


def test_sizes_of_supcon() -> None:
    """No call takes seconds; who stores the similarities is always started, and may run out of memory."""
    cases = [case for case in gpu_cases("similarity_softmax") if case.op == "supcon" and case.dtype == "bf16"]
    sizes = ["4096x128", "4096x512", *(f"{pairs}x{width}" for pairs in gpu_grid.PAIRS for width in (128, 512))]
    assert sorted(case.size for case in cases) == sorted(sizes)
    for case in cases:
        compiles = case.size.endswith("x512") or case.size in ("4096x128", "8192x128")
        assert set(case.providers) == {"sslfast", *(SUPCON if compiles else SUPCON - {"torch.compile"})}
        assert not case.once
        assert not any("not_tried" in getattr(make, "__qualname__", "") for make in case.providers.values())


def small(case: Case, most: int) -> Case:
    """The case with no size above ``most``."""
    sizes = {name: min(value, most) for name, value in case.make_inputs.keywords.items() if type(value) is int}
    return replace(case, make_inputs=partial(case.make_inputs, **sizes))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy, of exp in lanes that are masked afterwards
@pytest.mark.parametrize("stem", ON_GPU_ALONE)
def test_runs_at_tiny_sizes(stem: str, triton_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of case, with the providers that compile nothing and are not for GPUs alone."""
    if triton_device.type == "cpu":
        use_launchers(monkeypatch)
    plan = Plan(budget=0.0, least_rounds=1, most_rounds=1, least_sample=0.0)
    kinds: dict[tuple[str, ...], Case] = {}
    for case in gpu_cases(stem):
        chosen = {name: make for name, make in case.providers.items() if name.split()[0] not in KERNELS}
        chosen.pop("torch.compile", None)
        if case.devices == ("cuda",):
            kinds[case.op, str(case.once), *chosen] = replace(case, providers=chosen)
    most = 128 if stem == "supcon_references" else 64  # 64 references share a label
    for case in kinds.values():
        for row in measure(small(case, most), triton_device, plan=plan):
            what = (case.name, row.provider, row.status, row.note)
            if row.provider == "sslfast" or row.provider in WAYS:
                assert row.status == "ok", what
            elif row.provider == "eager torch" and not case.once:
                # Similarities rounded to bf16 make a small loss another, and one over the margin or not.
                rounded = case.op == "clip" or "margin" in case.op
                assert row.status == "ok" or (row.status == "wrong" and rounded), what
            else:
                assert row.status != "failed" or row.note.startswith(NOT_HERE), what


def test_what_is_worth_most_comes_first() -> None:
    assert set(gpu_grid.FIRST) < set(command.STEMS)
    stems = gpu_grid.first_stems(command.STEMS)
    assert stems[: len(gpu_grid.FIRST)] == list(gpu_grid.FIRST)
    assert sorted(stems) == command.STEMS
    judged = thresholds.judged_on_gpu()
    assert ("clip", "65536x512", "bf16", "forward+backward") in judged
    assert ("clip", "256x128", "fp32", "forward+backward") not in judged  # of the CPU
    ordered = gpu_grid.in_order([(stem, case) for stem in reversed(STEMS) for case in gpu_cases(stem)], judged)
    ranks = [(case.once, case.key not in judged, STEMS[::-1].index(stem)) for stem, case in ordered]
    assert ranks == sorted(ranks)
    assert ordered[-1][1].once
    assert ordered[0][1].key in judged


def test_rows_of_a_part_replace_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(machine, "name", lambda device: "gpu")

    def row(op: str, provider: str, ms: float) -> tuple[str, Row]:
        return op, Row(op, "8x8", "bf16", "forward", provider, "cuda", 1, "events", median_ms=ms)

    def saved() -> list[tuple[str, str, float]]:
        return [(line["op"], line["provider"], float(line["median_ms"])) for line in report.load(tmp_path / "gpu.csv")]

    device = torch.device("cuda")
    report.save([row("a", "sslfast", 1), row("a", "eager torch", 2), row("b", "sslfast", 3)], device)
    report.save([row("a", "sslfast", 4)], device, complete=False)
    assert sorted(saved()) == [("a", "eager torch", 2), ("a", "sslfast", 4), ("b", "sslfast", 3)]
    report.save([row("a", "sslfast", 5)], device)
    assert sorted(saved()) == [("a", "sslfast", 5), ("b", "sslfast", 3)]


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
