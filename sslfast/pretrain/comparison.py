"""The rows of a comparison: what is judged by which protocol, its mean over the seeds, and how it is written."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sslfast.pretrain.probe import ALL

RAW, TFIDF, RANDOM, PRETRAINED = "raw pixels", "TF-IDF", "random weights", "pretrained"
LINEAR, KNN, FINETUNE = "linear probe", "nearest neighbours", "whole network trained"
ROWS = (
    (LINEAR, RAW), (LINEAR, RANDOM), (LINEAR, PRETRAINED),
    (KNN, RAW), (KNN, RANDOM), (KNN, PRETRAINED),
    (FINETUNE, RANDOM), (FINETUNE, PRETRAINED),
)  # fmt: skip
TEXT_ROWS = (
    (LINEAR, TFIDF), (LINEAR, RANDOM), (LINEAR, PRETRAINED),
    (KNN, TFIDF), (KNN, RANDOM), (KNN, PRETRAINED),
)  # fmt: skip
Row = tuple[str, str]


def summarise(
    results: Sequence[dict[str, Any]], labels: Sequence[int], rows: Sequence[Row] = ROWS
) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over the seeds, for every row and number of labels."""
    summary = []
    for protocol, name in rows:
        for per_class in labels:
            found = [
                row for row in results
                if (row["protocol"], row["features"], row["labels"]) == (protocol, name, per_class)
            ]  # fmt: skip
            if not found:
                continue
            entry: dict[str, Any] = {"protocol": protocol, "features": name, "labels": per_class}
            for metric in ("accuracy", "precision", "recall"):
                values = [row[metric] for row in found]
                entry[metric] = statistics.mean(values)
                entry[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
            summary.append(entry)
    return summary


def rows_of(evaluation: dict[str, Any]) -> list[Row]:
    """The rows of a summary, in its order."""
    return list(dict.fromkeys((entry["protocol"], entry["features"]) for entry in evaluation["summary"]))


def entries_of(evaluation: dict[str, Any], row: Row) -> list[dict[str, Any]]:
    """A row of a summary: an entry for each number of labels."""
    return [entry for entry in evaluation["summary"] if (entry["protocol"], entry["features"]) == row]


def baseline_of(evaluation: dict[str, Any]) -> str:
    """What a linear probe is given instead of a network's features: raw pixels or TF-IDF."""
    return next((name for name in (RAW, TFIDF) if (LINEAR, name) in rows_of(evaluation)), RAW)


def cell(entry: dict[str, Any], metric: str = "accuracy") -> str:
    """``94.6 ± 0.4`` in percent."""
    return f"{100 * entry[metric]:.1f} ± {100 * entry[f'{metric}_std']:.1f}"


def label_count(per_class: int) -> str:
    """Heading of a column."""
    return "all labels" if per_class == ALL else f"{per_class} label{'s' * (per_class > 1)} per class"


def best_rows(content: dict[str, Any]) -> dict[int, Row]:
    """The row of highest mean accuracy for each number of labels."""
    best = {}
    for per_class in content["labels_per_class"]:
        column = [entry for entry in content["summary"] if entry["labels"] == per_class]
        if column:
            top = max(column, key=lambda entry: entry["accuracy"])
            best[per_class] = (top["protocol"], top["features"])
    return best
