"""What pretraining was worth: probes and fine-tuning beside raw pixels, random weights and training from scratch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor

from sslfast.pretrain.config import PretrainConfig, UserError, keyed_seed
from sslfast.pretrain.data import ImageData, check_fingerprint, load_data
from sslfast.pretrain.encoders import ImageEncoder, load_encoder
from sslfast.pretrain.files import EVALUATION, read_run, write_json
from sslfast.pretrain.finetune import finetune
from sslfast.pretrain.probe import ALL, draw_labels, judge_collapse, linear_probe, nearest_neighbours, scores

RAW, RANDOM, PRETRAINED = "raw pixels", "random weights", "pretrained"
LINEAR, KNN, FINETUNE = "linear probe", "nearest neighbours", "whole network trained"
ROWS = (
    (LINEAR, RAW), (LINEAR, RANDOM), (LINEAR, PRETRAINED),
    (KNN, RAW), (KNN, RANDOM), (KNN, PRETRAINED),
    (FINETUNE, RANDOM), (FINETUNE, PRETRAINED),
)  # fmt: skip


def evaluate(run_dirs: Sequence[Path], *, labels: Sequence[int], seeds: int, console: Console) -> dict[str, Any]:
    """Evaluates a run, or several that differ in their seed alone, and writes evaluation.json to the first folder.

    Seed number i draws the labelled images, the random weights and all fine-tuning; it judges run number i, or the
    runs in turn where there are fewer of them. The test images were never seen in pretraining.

    Args:
        run_dirs: Folders of finished runs.
        labels: Labels per class, in any order; ``probe.ALL`` = every label.
        seeds: How many seeds the mean and standard deviation are taken over.
        console: Where the table is shown.

    Returns:
        The content of evaluation.json.

    Raises:
        UserError: An unfinished run, runs that differ in more than their seed, or images that are not theirs.
    """
    runs = [read_run(run_dir) for run_dir in run_dirs]
    config = _one_configuration(run_dirs, runs)
    encoders = [load_encoder(run_dir) for run_dir in run_dirs]
    torch.set_num_threads(config.threads)
    data = load_data(config)
    for run_dir, run in zip(run_dirs, runs, strict=True):
        check_fingerprint(data, run_dir, run, "evaluate")
    labels = sorted(set(labels), key=lambda per_class: (per_class == ALL, per_class))
    representation = {
        PRETRAINED: judge_collapse(encoders[0].embed(data.test)),
        RANDOM: judge_collapse(random_encoder(encoders[0], 0).embed(data.test)),
    }
    results: list[dict[str, Any]] = []
    # scikit-learn's BLAS would take every core, and two evaluations side by side would wait for each other.
    with threadpool_limits(config.threads, "blas"), console.status("evaluating") as status:
        for seed in range(seeds):
            status.update(f"evaluating: seed {seed + 1} of {seeds}")
            results += _one_seed(encoders[seed % len(encoders)], config, data, labels, seed)
    content = {
        "runs": [run_dir.name for run_dir in run_dirs],
        "labels_per_class": labels,
        "seeds": seeds,
        "classes": list(data.classes),
        "test_images": len(data.test),
        "representation": representation,
        "summary": summarise(results, labels),
        "confusion": _confusion(results, labels),
        "results": [{key: value for key, value in row.items() if key != "confusion"} for row in results],
    }
    write_json(run_dirs[0] / EVALUATION, content)
    _show(content, run_dirs[0], console)
    return content


def _one_configuration(run_dirs: Sequence[Path], runs: Sequence[dict[str, Any]]) -> PretrainConfig:
    settings = [run["settings"] for run in runs]
    for run_dir, other in zip(run_dirs, settings, strict=True):
        different = [name for name, value in other.items() if name != "seed" and settings[0].get(name) != value]
        if different:
            raise UserError(
                f"evaluate: {run_dir} differs from {run_dirs[0]} in more than the seed: {', '.join(different)}"
            )
    return PretrainConfig(**settings[0])


def random_encoder(like: ImageEncoder, seed: int) -> ImageEncoder:
    """The same network with random weights."""
    torch.manual_seed(keyed_seed(seed, "random weights"))
    return ImageEncoder(like.settings, like.mean.flatten().tolist(), like.std.flatten().tolist()).eval()


def _one_seed(
    encoder: ImageEncoder, config: PretrainConfig, data: ImageData, labels: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Every row of the comparison for one seed; nothing where the data has no labels."""
    if data.train_labels is None or data.test_labels is None:
        return []
    untrained = random_encoder(encoder, seed)
    networks = {RANDOM: untrained, PRETRAINED: encoder}
    pool = draw_labels(data.train_labels, max(labels) if ALL not in labels else ALL, seed)

    def features(name: str, images: Tensor) -> Tensor:
        return images.flatten(1).float() / 255 if name == RAW else networks[name].embed(images)

    train = {name: features(name, data.train[pool]) for name in (RAW, RANDOM, PRETRAINED)}
    test = {name: features(name, data.test) for name in (RAW, RANDOM, PRETRAINED)}
    position = torch.full((len(data.train),), -1)
    position[pool] = torch.arange(len(pool))
    results = []
    for per_class in labels:
        picked = draw_labels(data.train_labels, per_class, seed)
        targets = data.train_labels[picked]
        for protocol, name in ROWS:
            if protocol == FINETUNE:
                predicted = finetune(
                    networks[name], config, data.train[picked], targets, data.test,
                    classes=len(data.classes), seed=seed,
                )  # fmt: skip
            else:
                classify = linear_probe if protocol == LINEAR else nearest_neighbours
                predicted = classify(train[name][position[picked]], targets, test[name])
            scored = scores(predicted, data.test_labels, len(data.classes))
            results.append({"protocol": protocol, "features": name, "labels": per_class, "seed": seed, **scored})
    return results


def summarise(results: Sequence[dict[str, Any]], labels: Sequence[int]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation over the seeds, for every row and number of labels."""
    summary = []
    for protocol, name in ROWS:
        for per_class in labels:
            rows = [
                row for row in results
                if (row["protocol"], row["features"], row["labels"]) == (protocol, name, per_class)
            ]  # fmt: skip
            if not rows:
                continue
            entry: dict[str, Any] = {"protocol": protocol, "features": name, "labels": per_class}
            for metric in ("accuracy", "precision", "recall"):
                values = [row[metric] for row in rows]
                entry[metric] = statistics.mean(values)
                entry[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
            summary.append(entry)
    return summary


def _confusion(results: Sequence[dict[str, Any]], labels: Sequence[int]) -> dict[str, Any] | None:
    """The confusion matrix of the linear probe on pretrained features with the most labels, summed over the seeds."""
    if not results:
        return None
    most = ALL if ALL in labels else max(labels)
    matrices = [
        torch.tensor(row["confusion"]) for row in results
        if (row["protocol"], row["features"], row["labels"]) == (LINEAR, PRETRAINED, most)
    ]  # fmt: skip
    return {"labels": most, "matrix": torch.stack(matrices).sum(0).tolist()}


def cell(entry: dict[str, Any], metric: str = "accuracy") -> str:
    """``94.6 ± 0.4`` in percent."""
    return f"{100 * entry[metric]:.1f} ± {100 * entry[f'{metric}_std']:.1f}"


def label_count(per_class: int) -> str:
    """Heading of a column."""
    return "all labels" if per_class == ALL else f"{per_class} label{'s' * (per_class > 1)} per class"


def best_rows(content: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """The row of highest mean accuracy for each number of labels."""
    best = {}
    for per_class in content["labels_per_class"]:
        column = [entry for entry in content["summary"] if entry["labels"] == per_class]
        if column:
            top = max(column, key=lambda entry: entry["accuracy"])
            best[per_class] = (top["protocol"], top["features"])
    return best


def _show(content: dict[str, Any], run_dir: Path, console: Console) -> None:
    if content["summary"]:
        caption = f"{run_dir}: test accuracy in % by labels per class, mean ± std of {content['seeds']} seeds"
        table = Table(title=caption, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        table.add_column("")
        table.add_column("start")
        for per_class in content["labels_per_class"]:
            table.add_column(label_count(per_class).removesuffix(" per class"), justify="right")
        best, before = best_rows(content), None
        for protocol, name in ROWS:
            row = [entry for entry in content["summary"] if (entry["protocol"], entry["features"]) == (protocol, name)]
            cells = [
                f"[bold]{cell(entry)}[/bold]" if best[entry["labels"]] == (protocol, name) else cell(entry)
                for entry in row
            ]
            table.add_row(protocol if protocol != before else "", name, *cells)
            before = protocol
        console.print(table)
    else:
        console.print(
            "no class labels (one sub-folder per class gives them): only the features are judged", soft_wrap=True
        )
    console.print(content["representation"][PRETRAINED]["verdict"], highlight=False, soft_wrap=True)
