"""The verdict on a run in plain sentences, as far as the numbers carry it."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from sslfast.pretrain.evaluate import FINETUNE, LINEAR, PRETRAINED, RANDOM, RAW, cell, label_count


def compare(ours: dict[str, Any], other: dict[str, Any]) -> str:
    """``better``, ``worse`` or ``level``: whether two means differ by more than twice the error of their difference.

    The error is that of two independent means; the seeds share their labelled images, so it errs on the careful side.
    """
    gain = ours["accuracy"] - other["accuracy"]
    error = math.hypot(ours["accuracy_std"], other["accuracy_std"]) / math.sqrt(max(1, ours.get("seeds", 1)))
    if abs(gain) <= 2 * error or gain == 0:
        return "level"
    return "better" if gain > 0 else "worse"


def find(evaluation: dict[str, Any], protocol: str, features: str, labels: int) -> dict[str, Any]:
    """One entry of the summary, with the number of seeds."""
    for entry in evaluation["summary"]:
        if (entry["protocol"], entry["features"], entry["labels"]) == (protocol, features, labels):
            return {**entry, "seeds": evaluation["seeds"]}
    raise KeyError((protocol, features, labels))


def verdict_sentences(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """(``better`` | ``worse`` | ``level``, sentence) against each baseline, for the fewest and the most labels.

    ``evaluate`` sorts the columns: the fewest labels stand first and the most last.
    """
    counts = evaluation["labels_per_class"]
    sentences = []
    for labels in dict.fromkeys((counts[0], counts[-1])):
        probe, tuned = find(evaluation, LINEAR, PRETRAINED, labels), find(evaluation, FINETUNE, PRETRAINED, labels)
        for ours, name, baseline, other in (
            (probe, "a linear probe on the pretrained encoder", find(evaluation, LINEAR, RANDOM, labels),
             "one on random weights"),
            (probe, "a linear probe on the pretrained encoder", find(evaluation, LINEAR, RAW, labels),
             "one on raw pixels"),
            (tuned, "fine-tuning the pretrained network", find(evaluation, FINETUNE, RANDOM, labels),
             "training it from scratch with the same augmentation"),
        ):  # fmt: skip
            outcome = compare(ours, baseline)
            words = {"better": "beats", "worse": "is behind", "level": "is level with"}[outcome]
            gain = 100 * (ours["accuracy"] - baseline["accuracy"])
            sentences.append(
                (
                    outcome,
                    f"With {label_count(labels)}, {name} ({cell(ours)}) {words} {other} ({cell(baseline)}):"
                    f" {gain:+.1f} points.",
                )
            )
    return sentences


def verdict_lines(run: dict[str, Any], evaluation: dict[str, Any] | None) -> str:
    """The verdict as an HTML list."""
    items = []
    if evaluation:
        state = evaluation["representation"][PRETRAINED]
        items.append(("better" if state["state"] == "ok" else "worse", state["verdict"]))
        if evaluation["summary"]:
            items = [*verdict_sentences(evaluation), *items]
    skipped = run["data"]["skipped"]
    if skipped:
        items.append(("worse", f"{len(skipped)} images could not be decoded and were left out."))
    marks = {"better": "▲", "worse": "▼", "level": "="}
    lines = "".join(f'<li class="{kind}"><b>{marks[kind]}</b><span>{escape(text)}</span></li>' for kind, text in items)
    return f"<ul class=verdict>{lines}</ul>" if items else ""
