"""What pretraining was worth: probes and fine-tuning beside raw pixels or TF-IDF, random weights and no pretraining."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from sslfast.pretrain.comparison import (
    LINEAR,
    PRETRAINED,
    RANDOM,
    ROWS,
    TEXT_ROWS,
    Row,
    best_rows,
    cell,
    entries_of,
    label_count,
    rows_of,
    summarise,
)
from sslfast.pretrain.config import PretrainConfig, UserError, keyed_seed
from sslfast.pretrain.data import check_fingerprint, load_data
from sslfast.pretrain.encoder_file import load_encoder
from sslfast.pretrain.files import EVALUATION, read_run, write_json
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.judges import ImageJudge, TextJudge
from sslfast.pretrain.methods import load_method
from sslfast.pretrain.probe import ALL, draw_labels, judge_collapse, scores
from sslfast.pretrain.text_data import TextData


def evaluate(run_dirs: Sequence[Path], *, labels: Sequence[int], seeds: int, console: Console) -> dict[str, Any]:
    """Evaluates a run, or several that differ in their seed alone, and writes evaluation.json to the first folder.

    Seed number i draws the labelled images or texts, the random weights and all fine-tuning; it judges run number i, or
    the runs in turn where there are fewer of them. Those for testing were never seen in pretraining.

    Args:
        run_dirs: Folders of finished runs.
        labels: Labels per class, in any order; ``probe.ALL`` = every label.
        seeds: How many seeds the mean and standard deviation are taken over.
        console: Where the table is shown.

    Returns:
        The content of evaluation.json.

    Raises:
        UserError: An unfinished run, runs that differ in more than their seed, or data that is not theirs.
    """
    runs = [read_run(run_dir) for run_dir in run_dirs]
    config = _one_configuration(run_dirs, runs)
    encoders: list[Any] = [load_encoder(run_dir) for run_dir in run_dirs]
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
    with (
        threadpool_limits(config.threads, "blas"),
        warnings.catch_warnings(),
        console.status("evaluating") as status,
    ):
        # One label of each class looks like a regression to scikit-learn.
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%", UserWarning)
        for seed in range(seeds):
            status.update(f"evaluating: seed {seed + 1} of {seeds}")
            results += _one_seed(encoders[seed % len(encoders)], config, data, labels, seed)
    content = {
        "runs": [run_dir.name for run_dir in run_dirs],
        "labels_per_class": labels,
        "seeds": seeds,
        "classes": list(data.classes),
        f"test_{config.unit}": len(data.test),
        "representation": representation,
        "summary": summarise(results, labels, ROWS if isinstance(data, ImageData) else TEXT_ROWS),
        "confusion": _confusion(results, labels),
        "results": [{key: value for key, value in row.items() if key != "confusion"} for row in results],
    }
    if isinstance(data, TextData):
        from sslfast.pretrain.language_model import judge_language_model

        content["language_model"] = [judge_language_model(load_method(d, data), data.test) for d in run_dirs]
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


def random_encoder(like: Any, seed: int) -> Any:
    """The same network with random weights."""
    torch.manual_seed(keyed_seed(seed, "random weights"))
    return like.untrained()


def _one_seed(
    encoder: Any, config: PretrainConfig, data: ImageData | TextData, labels: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Every row of the comparison for one seed; nothing where the data has no labels."""
    if data.train_labels is None or data.test_labels is None:
        return []
    networks = {RANDOM: random_encoder(encoder, seed), PRETRAINED: encoder}
    pool = draw_labels(data.train_labels, max(labels) if ALL not in labels else ALL, seed)
    judge: ImageJudge | TextJudge
    rows: Sequence[Row]
    if isinstance(data, ImageData):
        rows, judge = ROWS, ImageJudge(networks, config, data, pool, seed)
    else:
        rows, judge = TEXT_ROWS, TextJudge(networks, data, pool)
    results = []
    for per_class in labels:
        picked = draw_labels(data.train_labels, per_class, seed)
        for protocol, name in rows:
            predicted = judge.predict(protocol, name, picked, data.train_labels[picked])
            scored = scores(predicted, data.test_labels, len(data.classes))
            results.append({"protocol": protocol, "features": name, "labels": per_class, "seed": seed, **scored})
    return results


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


def _show(content: dict[str, Any], run_dir: Path, console: Console) -> None:
    if content["summary"]:
        caption = f"{run_dir}: test accuracy in % by labels per class, mean ± std of {content['seeds']} seeds"
        table = Table(title=caption, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        table.add_column("")
        table.add_column("start")
        for per_class in content["labels_per_class"]:
            table.add_column(label_count(per_class).removesuffix(" per class"), justify="right")
        best, before = best_rows(content), None
        for protocol, name in rows_of(content):
            row = entries_of(content, (protocol, name))
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
    if "language_model" in content:
        from sslfast.pretrain.language_model import sentence

        console.print(sentence(content["language_model"]), highlight=False, soft_wrap=True)
