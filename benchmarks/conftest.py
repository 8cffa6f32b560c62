"""Lets pytest collect the benchmarks: ``pytest benchmarks --benchmark-only``, one test per case.

The interleaved harness makes the ratios and the test fails where one is below its threshold; pytest-benchmark keeps
sslfast's own time, with the ratios as ``extra_info``, for ``--benchmark-save`` and ``--benchmark-compare``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import harness, thresholds

CPU = torch.device("cpu")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collects bench_<stem>.py, except where it was named on the command line: pytest does that itself."""
    if file_path.match("bench_*.py") and not parent.session.isinitpath(file_path):
        return pytest.Module.from_parent(parent, path=file_path)
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = [case for case in metafunc.module.cases() if "cpu" in case.devices]
        metafunc.parametrize("case", cases, ids=lambda case: case.name)


@pytest.fixture
def guard(benchmark: Any) -> Callable[[harness.Case], None]:
    """Measures a case on the CPU with one thread, in CPU time, and holds it against its thresholds."""

    def run(case: harness.Case) -> None:
        rows = harness.measure(case, CPU)
        for row in rows:
            benchmark.extra_info[row.provider] = {"ratio": row.ratio, "ms": row.median_ms, "note": row.note}
        assert rows[0].status == "ok", rows[0].note
        torch.manual_seed(0)
        benchmark(case.providers[harness.OURS](case.make_inputs(CPU)))
        verdicts = thresholds.judge(rows, complete=False)
        assert not [v.text for v in verdicts if v.failed]

    return run
