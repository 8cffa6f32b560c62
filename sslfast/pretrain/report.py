"""report.html: one self-contained page on one or several runs, with its pictures also written beside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sslfast.pretrain import figures
from sslfast.pretrain.comparison import label_count
from sslfast.pretrain.config import TEXT_METHODS, PretrainConfig, keyed_seed
from sslfast.pretrain.data import load_run_data
from sslfast.pretrain.encoder_file import check_transformers
from sslfast.pretrain.evaluate import random_encoder
from sslfast.pretrain.files import EVALUATION, METRICS, REPORT, read_json, read_run, write_atomically
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.methods import load_method
from sslfast.pretrain.page import (
    METHOD_NAMES,
    chosen_in_view,
    comparison_table,
    details_table,
    page,
    settings_table,
    summary_table,
)
from sslfast.pretrain.probe import judge_collapse
from sslfast.pretrain.simclr import SimCLR
from sslfast.pretrain.text_data import TextData
from sslfast.pretrain.verdict import verdict_lines

_SAMPLES = 10


def write_report(run_dirs: Sequence[Path], folder: Path) -> Path:
    """Writes report.html and the pictures into a folder.

    Args:
        run_dirs: Folders of runs; one that was not evaluated yet gets a report without the comparison.
        folder: Where the report goes.

    Returns:
        The path of report.html.

    Raises:
        UserError: A folder without a run, a run without a complete epoch, data that is not that of the run, or a run
            of texts where transformers is not installed.
    """
    runs = [read_run(run_dir) for run_dir in run_dirs]
    if any(run["settings"]["method"] in TEXT_METHODS for run in runs):
        check_transformers("report")
    torch.set_num_threads(max(run["settings"]["threads"] for run in runs))
    evaluations = [_read_evaluation(run_dir) for run_dir in run_dirs]
    sections = []
    for run_dir, run, evaluation in zip(run_dirs, runs, evaluations, strict=True):
        prefix = f"{run_dir.name}-" if len(run_dirs) > 1 else ""
        sections.append(_section(run_dir, run, evaluation, _Pictures(folder, prefix)))
    compared = [evaluation for evaluation in evaluations if evaluation and evaluation["summary"]]
    summary = summary_table(runs, compared) if len(compared) == len(runs) > 1 else ""
    text = page(runs, summary, sections).replace(" ± ", "&nbsp;±&nbsp;")  # never broken across lines
    write_atomically(folder / REPORT, lambda file: file.write(text.encode()))
    return folder / REPORT


class _Pictures:
    """Writes each figure as a PNG and returns the HTML that embeds it."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix

    def add(self, name: str, figure: Figure, caption: str) -> str:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        content = buffer.getvalue()
        write_atomically(self.folder / f"{self.prefix}{name}.png", lambda file: file.write(content))
        width = figure.get_figwidth() * 96
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        return (
            f'<figure><img src="{source}" alt="{escape(name)}" style="width:{width:.0f}px">'
            f"<figcaption>{caption}</figcaption></figure>"
        )


def _read_evaluation(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / EVALUATION
    return read_json(path) if path.is_file() else None


def _section(run_dir: Path, run: dict[str, Any], evaluation: dict[str, Any] | None, pictures: _Pictures) -> str:
    """Everything about one run."""
    config = PretrainConfig(**run["settings"])
    data = load_run_data(run_dir, run, "report")
    module = load_method(run_dir, data)
    metrics = figures.read_metrics(run_dir / METRICS)
    seen: list[str]
    judged = evaluation.get("language_model") if evaluation else None
    if isinstance(data, TextData):
        from sslfast.pretrain.text_report import language_model_table, masked_predictions

        seen, predicted = [masked_predictions(module, data)], [language_model_table(judged)] if judged else []
    else:
        seen, predicted = _seen(module, data, pictures), []
    parts = [f'<section id="{escape(run_dir.name)}"><h2>{escape(title(config))}</h2>', verdict_lines(run, evaluation)]
    if evaluation and evaluation["summary"]:
        parts += [
            "<h3>What pretraining was worth</h3>",
            f"<p>Test accuracy in %, mean ± standard deviation of {evaluation['seeds']} seeds"
            f" ({evaluation[f'test_{config.unit}']:,} test {config.unit} the encoder never saw; best of each column in"
            f" bold). {_what_a_seed_varies(evaluation, config.unit)}{chosen_in_view(run)}</p>",
            comparison_table(evaluation),
            pictures.add("labels", figures.label_efficiency(evaluation), "Accuracy against the number of labels."),
            details_table(evaluation),
        ]
    elif evaluation is None:
        parts.append(f"<p class=note>Not evaluated yet: <code>sslfast evaluate {escape(str(run_dir))}</code></p>")
    parts += [*predicted, "<h3>The features</h3>", *_features(module, data, pictures)]
    if evaluation and evaluation["confusion"]:
        labels = label_count(evaluation["confusion"]["labels"])
        parts.append(
            pictures.add(
                "confusion",
                figures.confusion(evaluation["confusion"]["matrix"], evaluation["classes"]),
                f"Linear probe on pretrained features, {labels}, all seeds together.",
            )
        )
    parts += ["<h3>What the method saw</h3>", *seen]
    parts += ["<h3>Training</h3>", *_training(config, metrics, pictures)]
    parts += [settings_table(run), "</section>"]
    return "\n".join(parts)


def title(config: PretrainConfig) -> str:
    """``Masked pixels on digits``."""
    name = METHOD_NAMES[config.method]
    return f"{name[0].upper()}{name[1:]} on {Path(config.data).name}"


def _what_a_seed_varies(evaluation: dict[str, Any], unit: str) -> str:
    drawn = f"the labelled {unit}{', the' if unit == 'images' else ' and the'} random weights"
    drawn += " and all of fine-tuning" * (unit == "images")
    if len(evaluation["runs"]) >= evaluation["seeds"] > 1:
        return f"Each seed is a pretraining run of its own and draws {drawn}."
    if len(evaluation["runs"]) == 1:
        return f"A seed draws {drawn}; there is one pretraining run."
    return f"A seed draws {drawn}; there are {len(evaluation['runs'])} pretraining runs."


def _features(module: Any, data: ImageData | TextData, pictures: _Pictures) -> list[str]:
    """The verdict on collapse and the map of the test images or texts."""
    encoder = module.encoder
    before, after = random_encoder(encoder, 0).embed(data.test), encoder.embed(data.test)
    judged, untrained = judge_collapse(after), judge_collapse(before)
    caption = (
        f"t-SNE of the features of test {module.config.unit}, before and after pretraining. "
        + ("Colours are the classes, which pretraining never saw. " if data.test_labels is not None else "")
        + "Distances between far groups mean little in such a map."
    )
    maps = [("Random weights", before), ("Pretrained", after)]
    return [
        f'<p><span class="badge {judged["state"]}">{escape(judged["verdict"])}</span> Random weights:'
        f" effective rank {untrained['effective_rank']:.1f}, spread {untrained['spread']:.2f}. The effective rank"
        " (RankMe) says how many directions the features use; a spread of 0 is one point, 1 the whole sphere.</p>",
        pictures.add("embedding", figures.embedding_maps(maps, data.test_labels, data.classes), caption),
    ]


@torch.no_grad()
def _seen(module: Any, data: ImageData, pictures: _Pictures) -> list[str]:
    """Augmented views, or masked and reconstructed images, of the first test images."""
    images = data.test[:_SAMPLES]
    encoder, seed = module.encoder, keyed_seed(module.config.seed, "report")

    def shown(normalised: Tensor) -> Tensor:
        return normalised * encoder.std + encoder.mean

    original = ("image", images.float() / 255)
    if isinstance(module, SimCLR):
        first, second = module.views(images, seed).chunk(2)
        rows = [original, ("view 1", shown(first)), ("view 2", shown(second))]
        caption = "Two random views of each image: SimCLR learns to tell that they belong together."
        return [pictures.add("views", figures.picture_rows(rows), caption)]
    masked, filled = module.reconstruct(images, seed)
    rows = [original, ("masked", shown(masked)), ("predicted", shown(filled))]
    caption = (
        f"Test images with {module.config.mask_ratio:.0%} of their patches hidden (shown in the mean grey), and the"
        " network's prediction in the place of the hidden patches; kept patches are copied."
    )
    return [pictures.add("reconstruction", figures.picture_rows(rows), caption)]


def _training(config: PretrainConfig, metrics: dict[str, np.ndarray], pictures: _Pictures) -> list[str]:
    """Throughput in a sentence, and the curves."""
    if np.isnan(metrics["samples_per_s"]).all():
        return [f"<p class=note>{METRICS} holds no complete epoch.</p>"]
    rate, wait = metrics["samples_per_s"], metrics["data_wait"]
    epochs = int(np.nanmax(metrics["epoch"])) + 1
    steps_per_epoch = (np.nanmax(metrics["step"]) + 1) / epochs
    seconds = float(np.nansum(steps_per_epoch * config.batch_size / rate[~np.isnan(rate)]))
    lowest = "No validation; the encoder is the one of the last epoch."
    if not np.isnan(metrics["val_loss"]).all():
        least = np.nanmin(metrics["val_loss"])
        perplexity = f" (perplexity {math.exp(min(least, 700.0)):.1f})" if config.method == "mlm" else ""
        lowest = f"Lowest held-out loss {least:.4f}{perplexity}; the encoder is the one of that epoch."
    note = ""
    if config.method == "simclr":
        note = " The held-out loss lies lower than the training loss because its smaller batch has fewer negatives."
    stopped = f", stopped early before {config.epochs}" if epochs < config.epochs else ""
    return [
        f"<p>{epochs} epochs{stopped}, {int(epochs * steps_per_epoch):,} steps of {config.batch_size} {config.unit} in"
        f" {seconds:.0f} s of training; {np.nanmedian(rate):,.0f} {config.unit} per second (median),"
        f" {np.nanmedian(wait):.1%} of the time waiting for data. {lowest}</p>",
        pictures.add(
            "curves",
            figures.curves(metrics),
            "Update size is the length of the optimiser's step relative to the weights; it should follow the learning"
            f" rate.{note}",
        ),
    ]
