"""``python -m benchmarks.table`` writes README.md's table from results/*.csv; ``--check`` fails where it is stale.

One row per case, with sslfast's time and the times as long that the others take: in CPU time of one thread and, in
brackets, in wall time with all cores.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from benchmarks import machine, report
from benchmarks.harness import OURS

README = machine.ROOT / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
# bench_dispatch guards sslfast's own overhead; it compares with nobody.
_INTERNAL = ("dispatch",)
_HEAD = ("operator", "size", "sslfast", "eager torch", "torch.compile", "peers", "peak extra memory, MiB")
Line = dict[str, str]


def render() -> str:
    """The table of every results file, under the machine and the versions it was measured with."""
    files = sorted(report.RESULTS.glob("*.csv"))
    if not files:
        raise SystemExit(f"benchmarks.table: no results in {report.RESULTS}: run `python -m benchmarks`")
    return "\n\n".join(_one_machine(path) for path in files)


def _one_machine(path: Path) -> str:
    lines = [line for line in report.load(path) if line["stem"] not in _INTERNAL]
    versions = {f"{_peer(line['provider'])} {line['provider_version']}" for line in lines if _is_peer(line)}
    commits = sorted({line["commit"] for line in lines})
    first = lines[0]
    intro = (
        f"{path.stem}, torch {first['torch']}, {', '.join(sorted(versions, key=str.lower))};"
        f" measured {max(line['date'] for line in lines)} at {', '.join(commits)}."
    )
    rows = [f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}"]
    cases: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        cases.setdefault(tuple(line[name] for name in ("op", "size", "dtype", "mode")), []).append(line)
    rows += [f"| {' | '.join(_row(case))} |" for case in cases.values()]
    return "\n".join([intro, "", *rows])


def _row(lines: list[Line]) -> list[str]:
    first = lines[0]
    by_provider: dict[str, list[Line]] = {}
    for line in lines:
        if line["status"] != "disturbed":
            by_provider.setdefault(line["provider"], []).append(line)
    cells = {"eager torch": [], "torch.compile": [], "peers": []}
    for provider, passes in by_provider.items():
        if provider == OURS:
            continue
        column = next((name for name in ("eager torch", "torch.compile") if provider.startswith(name)), "peers")
        cells[column].append(_ratio(passes) if column != "peers" else f"{provider} {_ratio(passes)}")
    memory = [f"{passes[0]['provider']} {_mib(passes[0])}" for passes in by_provider.values() if _mib(passes[0])]
    mode = "" if first["mode"] == "forward" else f", {first['mode']}"
    return [
        first["op"],
        f"{first['size']} {first['dtype']}{mode}",
        _time(by_provider.get(OURS, [])),
        *(", ".join(cell) or "-" for cell in cells.values()),
        ", ".join(memory) or "-",
    ]


def _ratio(passes: list[Line]) -> str:
    """``7.6x (6.1x)``: with one thread and with all; the reason where there is no figure."""
    texts = []
    for line in sorted(passes, key=lambda line: int(line["threads"])):
        value = float(line["ratio"])
        if line["status"] == "failed" or math.isnan(value):
            return f"failed ({line['note']})" if line["note"] else "-"
        texts.append(f"{value:.1f}x" if value < 9.95 else f"{value:.0f}x")
    ratio = texts[0] if len(texts) == 1 else f"{texts[0]} ({texts[-1]})"
    return f"{ratio}, wrong result" if any(line["status"] == "wrong" for line in passes) else ratio


def _time(passes: list[Line]) -> str:
    """sslfast's own time with one thread, or how many images that is a second."""
    if not passes or passes[0]["status"] == "failed":
        return f"failed ({passes[0]['note']})" if passes else "-"
    first = min(passes, key=lambda line: int(line["threads"]))
    if first["rate_unit"] == "images/s":
        return f"{float(first['rate']):.3g} images/s"
    milliseconds = float(first["median_ms"])
    return f"{milliseconds * 1e3:.3g} us" if milliseconds < 0.1 else f"{milliseconds:.3g} ms"


def _mib(line: Line) -> str:
    value = float(line["extra_mib"])
    return "" if math.isnan(value) else f"{value:.0f}"


def _peer(provider: str) -> str:
    return provider.split()[0]


def _is_peer(line: Line) -> bool:
    return bool(line["provider_version"]) and not line["provider"].startswith(
        (OURS, "eager", "published", "torch ", "torch.")
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="Writes README's benchmark table.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where README.md is stale")
    check = parser.parse_args().check
    if not README.exists():
        print("benchmarks.table: README.md does not exist", file=sys.stderr)
        return 1
    text = README.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        print(f"benchmarks.table: README.md needs one line {BEGIN} and, below it, one line {END}", file=sys.stderr)
        return 1
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    fresh = f"{before}{BEGIN}\n{render()}\n{END}{after}"
    if check and fresh != text:
        print("benchmarks.table: README.md is stale: run `python -m benchmarks.table`", file=sys.stderr)
        return 1
    if not check:
        README.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
