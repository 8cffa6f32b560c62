"""The verdict on a run in plain sentences, as far as the numbers carry it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from sslfast.pretrain.comparison import (
    FINETUNE,
    LINEAR,
    PRETRAINED,
    RANDOM,
    baseline_of,
    cell,
    label_count,
    rows_of,
)
from sslfast.pretrain.config import PretrainConfig

NOTHING_MASKED = "No token of the test texts could be masked: they have none that the vocabulary knows, or too few."


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
    counts, raw = evaluation["labels_per_class"], baseline_of(evaluation)
    probe, tuned = "a linear probe on the pretrained encoder", "fine-tuning the pretrained network"
    compared = [
        (LINEAR, PRETRAINED, probe, RANDOM, "one on random weights"),
        (LINEAR, PRETRAINED, probe, raw, f"one on {raw}"),
        (FINETUNE, PRETRAINED, tuned, RANDOM, "training it from scratch with the same augmentation"),
    ]
    known = rows_of(evaluation)
    sentences = []
    for labels in dict.fromkeys((counts[0], counts[-1])):
        for protocol, features, name, without, other in compared:
            if (protocol, without) not in known:
                continue
            ours, baseline = (find(evaluation, protocol, row, labels) for row in (features, without))
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


def language_model_sentence(judged: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The perplexity of masked tokens against that of the unigram distribution; of several runs, the worst."""
    if not judged[0]["masked_tokens"]:
        return "worse", NOTHING_MASKED
    worst = max(judged, key=lambda run: run["perplexity"])
    ours, baseline = worst["perplexity"], worst["unigram_perplexity"]
    outcome = "better" if ours < baseline else "worse" if ours > baseline else "level"
    words = {"better": "below", "worse": "above", "level": "at"}[outcome]
    runs = "" if len(judged) == 1 else f" in the worst of {len(judged)} runs"
    return outcome, (
        f"The perplexity of masked tokens ({ours:.1f}{runs}) is {words} that of the unigram distribution"
        f" ({baseline:.1f}); {worst['accuracy']:.1%} of them are predicted ({worst['unigram_accuracy']:.1%} by the"
        " most frequent token)."
    )


def verdict_lines(run: dict[str, Any], evaluation: dict[str, Any] | None) -> str:
    """The verdict as an HTML list."""
    items = []
    if evaluation:
        state = evaluation["representation"][PRETRAINED]
        items.append(("better" if state["state"] == "ok" else "worse", state["verdict"]))
        if evaluation["summary"]:
            items = [*verdict_sentences(evaluation), *items]
        if "language_model" in evaluation:
            items.insert(0, language_model_sentence(evaluation["language_model"]))
    skipped = run["data"]["skipped"]
    if skipped:
        kind = "files" if PretrainConfig(**run["settings"]).unit == "texts" else "images"
        items.append(("worse", f"{len(skipped)} {kind} could not be decoded and were left out."))
    marks = {"better": "▲", "worse": "▼", "level": "="}
    lines = "".join(f'<li class="{kind}"><b>{marks[kind]}</b><span>{escape(text)}</span></li>' for kind, text in items)
    return f"<ul class=verdict>{lines}</ul>" if items else ""
