"""The HTML of a report: its style, its head and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sslfast.pretrain.comparison import (
    FINETUNE,
    KNN,
    LINEAR,
    PRETRAINED,
    RANDOM,
    RAW,
    TFIDF,
    baseline_of,
    best_rows,
    cell,
    entries_of,
    label_count,
    rows_of,
)
from sslfast.pretrain.config import PretrainConfig

METHOD_NAMES = {
    "simclr": "SimCLR",
    "masked-pixels": "masked pixels",
    "mae": "masked autoencoder",
    "mlm": "masked language model",
}

_CHOSEN_IN_VIEW = ("digits", "glosses")

_STYLE = """
:root { --ink:#1f2430; --muted:#667085; --line:#e3e7ee; --blue:#2f6fde; --soft:#f5f7fb; }
* { box-sizing:border-box; }
body { margin:0; color:var(--ink); background:#fff; font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "Helvetica Neue",Arial,sans-serif; }
main { max-width:1040px; margin:0 auto; padding:44px 28px 80px; }
h1 { font-size:30px; line-height:1.2; margin:0 0 6px; letter-spacing:-.01em; }
h2 { font-size:23px; margin:56px 0 12px; padding-top:22px; border-top:2px solid var(--ink); letter-spacing:-.01em; }
h3 { font-size:17px; margin:34px 0 8px; }
p { margin:8px 0 14px; max-width:76ch; }
.lead, figcaption, .note { color:var(--muted); }
code { font:13.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; background:var(--soft); padding:1px 5px;
  border-radius:4px; }
table { border-collapse:collapse; margin:12px 0 18px; font-variant-numeric:tabular-nums; font-size:15px; }
th, td { padding:6px 16px 6px 0; text-align:left; border-bottom:1px solid var(--line); vertical-align:top; }
th { font-weight:600; color:var(--muted); font-size:13.5px; }
td.number, th.number { text-align:right; padding:6px 0 6px 30px; white-space:nowrap; }
tr.group td { border-top:2px solid var(--line); }
tr.ours td { background:#f1f6ff; }
td.best { font-weight:700; }
ul.verdict { list-style:none; padding:14px 18px; margin:14px 0 8px; background:var(--soft); border-radius:8px; }
ul.verdict li { margin:3px 0; display:flex; }
ul.verdict b { flex:0 0 22px; font-weight:600; }
.better b { color:#18794e; } .worse b { color:#c4320a; } .level b { color:var(--muted); }
.badge { font-weight:600; } .badge.ok { color:#18794e; } .badge.partial, .badge.collapsed { color:#c4320a; }
figure { margin:16px 0 22px; } img { max-width:100%; height:auto; display:block; }
figcaption { font-size:14px; margin-top:6px; max-width:86ch; }
details { margin:14px 0; } summary { cursor:pointer; color:var(--blue); font-size:15px; }
.columns { display:flex; gap:56px; flex-wrap:wrap; } .columns table { font-size:14px; }
@media print { main { padding:0; } h2 { break-before:page; } details { display:none; } }
"""


def page(runs: Sequence[dict[str, Any]], summary: str, sections: Sequence[str]) -> str:
    """The whole document."""
    # Runs may differ in their data and machines: each is named once.
    name = " and ".join(dict.fromkeys(Path(run["data"]["name"]).name for run in runs))
    several = len({run["data"]["name"] for run in runs}) > 1
    described = " ".join(dict.fromkeys(_described(run["data"], several) for run in runs))
    machines = "; ".join(dict.fromkeys(_machine(run["environment"]) for run in runs))
    started = min(run["environment"]["started"] for run in runs)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>sslfast: pretraining on {escape(name)}</title>
<style>{_STYLE}</style>
</head>
<body><main>
<h1>Self-supervised pretraining on {escape(name)}</h1>
<p class="lead">{escape(described)} No label was used in pretraining. {escape(machines)}. {escape(started)}.</p>
{summary}
{"".join(sections)}
</main></body>
</html>
"""


def _described(data: dict[str, Any], named: bool) -> str:
    """``digits: 1,197 training and 600 test images, 8x8 pixels, grey.``; the name where there is more than one."""
    if "train_texts" in data:
        counts = f"{data['train_texts']:,} training and {data['test_texts']:,} test texts"
        return f"{Path(data['name']).name}: " * named + f"{counts}, {data['train_words']:,} words to train on."
    shape = "\u00d7".join(map(str, data["image_shape"][1:]))
    channels = "grey" if data["image_shape"][0] == 1 else "colour"
    counts = f"{data['train_images']:,} training and {data['test_images']:,} test images"
    return f"{Path(data['name']).name}: " * named + f"{counts}, {shape} pixels, {channels}."


def _machine(environment: dict[str, Any]) -> str:
    return f"torch {environment['torch']}, sslfast {environment['sslfast']}, {environment['gpu'] or 'CPU'}"


def chosen_in_view(run: dict[str, Any]) -> str:
    """A caution that belongs beside the numbers of a run; empty where there is none to give."""
    name, unit = run["data"]["name"], PretrainConfig(**run["settings"]).unit
    if name not in _CHOSEN_IN_VIEW:
        return ""
    return f" The default settings for the {name} were chosen with these test {unit} in view."


def _row(cells: Sequence[tuple[str, str]], kind: str = "") -> str:
    """A table row of (CSS class, HTML) cells."""
    return f'<tr class="{kind}">' + "".join(f'<td class="{style}">{text}</td>' for style, text in cells) + "</tr>"


def _head(names: Sequence[str], columns: Sequence[str]) -> str:
    left = "".join(f"<th>{escape(name)}</th>" for name in names)
    return "<tr>" + left + "".join(f"<th class=number>{escape(column)}</th>" for column in columns) + "</tr>"


def row_names(protocol: str, features: str) -> tuple[str, str]:
    """What a row of the comparison is called in the report."""
    if protocol == FINETUNE:
        return "Whole network trained", "fine-tuned after pretraining" if features == PRETRAINED else (
            "from scratch, same augmentation"
        )
    names = {
        RAW: "raw pixels",
        TFIDF: "TF-IDF of the words",
        RANDOM: "same encoder, random weights",
        PRETRAINED: "pretrained encoder",
    }
    return {LINEAR: "Linear probe", KNN: "Nearest neighbours"}[protocol], names[features]


def comparison_table(evaluation: dict[str, Any]) -> str:
    """Accuracy of every row; the best of each column in bold."""
    counts = evaluation["labels_per_class"]
    best, before = best_rows(evaluation), None
    lines = [_head(["", ""], [label_count(count) for count in counts])]
    for protocol, features in rows_of(evaluation):
        entries = entries_of(evaluation, (protocol, features))
        group, name = row_names(protocol, features)
        numbers = [
            ("number best" if best[entry["labels"]] == (protocol, features) else "number", cell(entry))
            for entry in entries
        ]
        kind = " ".join(["group"] * (protocol != before) + ["ours"] * (features == PRETRAINED))
        lines.append(_row([("", group if protocol != before else ""), ("", name), *numbers], kind))
        before = protocol
    return f"<table>{''.join(lines)}</table>"


def details_table(evaluation: dict[str, Any]) -> str:
    """Macro precision and recall, folded away."""
    counts = evaluation["labels_per_class"]
    columns = [f"{metric}, {label_count(count)}" for metric in ("precision", "recall") for count in counts]
    lines = [_head(["", ""], columns)]
    for protocol, features in rows_of(evaluation):
        entries = entries_of(evaluation, (protocol, features))
        numbers = [("number", cell(entry, metric)) for metric in ("precision", "recall") for entry in entries]
        group, name = row_names(protocol, features)
        lines.append(_row([("", group), ("", name), *numbers]))
    return (
        "<details><summary>Precision and recall (mean over the classes)</summary>"
        f'<div style="overflow-x:auto"><table>{"".join(lines)}</table></div></details>'
    )


def summary_table(runs: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> str:
    """The linear probe of every run in one table, above the sections; empty where the columns are not comparable."""
    kinds = {(tuple(evaluation["labels_per_class"]), evaluation["seeds"]) for evaluation in evaluations}
    if len(kinds) > 1 or len({run["data"]["fingerprint"] for run in runs}) > 1:
        return ""
    counts = evaluations[0]["labels_per_class"]
    lines = [_head(["Linear probe on", ""], [label_count(count) for count in counts])]

    def line(evaluation: dict[str, Any], features: str, name: str, note: str, kind: str) -> str:
        entries = [entry for entry in entries_of(evaluation, (LINEAR, features)) if entry["labels"] in counts]
        return _row([("", name), ("note", note), *[("number", cell(entry)) for entry in entries]], kind)

    raw = baseline_of(evaluations[0])
    lines.append(line(evaluations[0], raw, raw, "", ""))
    untrained = ""
    for run, evaluation in zip(runs, evaluations, strict=True):
        method = METHOD_NAMES[run["settings"]["method"]]
        row = line(evaluation, RANDOM, "the encoder", "random weights", "group")
        if row != untrained:  # methods that share an encoder share this row
            lines.append(row)
            untrained = row
        lines.append(line(evaluation, PRETRAINED, "the encoder", f"pretrained by {method}", "ours"))
    seeds = evaluations[0]["seeds"]
    return (
        f"<h3>In short</h3><p>Test accuracy in %, mean ± standard deviation of {seeds} seeds."
        f"{chosen_in_view(runs[0])}</p>"
        f"<table>{''.join(lines)}</table>"
    )


def settings_table(run: dict[str, Any]) -> str:
    """Settings, data and environment, folded away."""

    def table(title: str, values: dict[str, Any]) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(key))}</td><td>{escape(_plain(value))}</td></tr>" for key, value in values.items()
        )
        return f"<table><tr><th colspan=2>{title}</th></tr>{rows}</table>"

    tables = [table("Settings", run["settings"]), table("Data", run["data"]), table("Environment", run["environment"])]
    return (
        "<details><summary>Settings, data and environment</summary>"
        f'<div class="columns"><div>{tables[0]}</div><div>{tables[1]}{tables[2]}</div></div></details>'
    )


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
