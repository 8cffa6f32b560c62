"""The pictures of a report, drawn by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sslfast.pretrain.comparison import PRETRAINED, RANDOM, RAW, TFIDF, entries_of, label_count, rows_of
from sslfast.pretrain.progress import COLUMNS, complete_rows

INK, MUTED, BLUE, ORANGE, GRID = "#1f2430", "#8a93a3", "#2f6fde", "#e07b28", "#e6e9ef"
_DPI = 160
_MAP_POINTS = 1000


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.xaxis.label.set(size=8, color=INK)
    axes.yaxis.label.set(size=8, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """The columns of metrics.csv; empty cells are NaN."""
    rows = complete_rows(path)
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS}


def curves(metrics: dict[str, np.ndarray]) -> Figure:
    """Loss, learning rate and size of the parameter updates over the steps."""
    figure = _figure(10, 2.7)
    loss, rate, update = figure.subplots(1, 3)
    steps = metrics["step"]

    def points(name: str) -> tuple[np.ndarray, np.ndarray]:
        known = ~np.isnan(metrics[name])
        return steps[known], metrics[name][known]

    loss.plot(*points("train_loss"), color=BLUE, linewidth=0.8, alpha=0.55, label="training, each step")
    if len(points("val_loss")[0]):
        loss.plot(*points("val_loss"), color=ORANGE, linewidth=1.6, marker="o", markersize=2.5, label="held out")
    loss.legend(fontsize=7.5, frameon=False)
    rate.plot(*points("lr"), color=BLUE, linewidth=1.4)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", scilimits=(-3, 3))
    rate.yaxis.get_offset_text().set_fontsize(8)
    update.plot(*points("update_ratio"), color=BLUE, linewidth=0.8)
    update.set_yscale("log")
    for axes, title in ((loss, "Loss"), (rate, "Learning rate"), (update, "Update size  ‖Δw‖ / ‖w‖")):
        _tidy(axes, title)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def picture_rows(rows: Sequence[tuple[str, Tensor]]) -> Figure:
    """Rows of pictures with a name in front.

    Args:
        rows: Name and float images (N, C, H, W) between 0 and 1; the same N in each row.
    """
    count = len(rows[0][1])
    figure = _figure(0.82 * count + 1.1, 0.86 * len(rows))
    grid = figure.subplots(len(rows), count, squeeze=False)
    for (name, images), line in zip(rows, grid, strict=True):
        for image, axes in zip(images, line, strict=True):
            picture = image.clamp(0, 1).permute(1, 2, 0).numpy()
            axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK, labelpad=8)
    return figure


def embedding_maps(maps: Sequence[tuple[str, Tensor]], labels: Tensor | None, classes: Sequence[str]) -> Figure:
    """t-SNE maps of features, side by side, coloured by class where the classes are known.

    Args:
        maps: Title and features (N, D).
        labels: int64 (N,), used for the colours only.
        classes: Names of the classes.
    """
    from sklearn.manifold import TSNE

    count = len(maps[0][1])
    shown = torch.arange(count)
    if count > _MAP_POINTS:  # texts lie in the order of their classes
        shown = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:_MAP_POINTS]
    labels = labels[shown] if labels is not None else None
    figure = _figure(4.4 * len(maps) + 1.1, 4.2)
    for axes, (title, features) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
        features = features[shown]
        centred = torch.nn.functional.normalize(features - features.mean(dim=0), dim=1)
        perplexity = min(30, (len(features) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(centred.numpy())
        colours = labels.numpy() if labels is not None else np.zeros(len(places))
        palette = "Greys_r" if labels is None else "tab10" if len(classes) <= 10 else "turbo"
        dots = axes.scatter(*places.T, c=colours, cmap=palette, s=9, linewidths=0)
        _tidy(axes, title)
        axes.grid(False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    if labels is not None and len(classes) <= 30:
        present = [classes[label] for label in labels.unique().tolist()]
        handles, _ = dots.legend_elements(num=None)
        size = 8 if len(present) <= 20 else 6.5
        figure.legend(handles, present, loc="outside right center", frameon=False, fontsize=size)
    return figure


def label_efficiency(evaluation: dict[str, Any]) -> Figure:
    """Accuracy against labels per class, with the standard deviation over the seeds."""
    figure = _figure(10, 3.0)
    protocols = list(dict.fromkeys(protocol for protocol, _ in rows_of(evaluation)))
    panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    colours = {RAW: MUTED, TFIDF: MUTED, RANDOM: ORANGE, PRETRAINED: BLUE}
    counts = evaluation["labels_per_class"]
    for axes, protocol in zip(panels, protocols, strict=True):
        for name, colour in colours.items():
            entries = entries_of(evaluation, (protocol, name))
            if not entries:
                continue
            heights = [100 * entry["accuracy"] for entry in entries]
            errors = [100 * entry["accuracy_std"] for entry in entries]
            axes.errorbar(
                range(len(entries)), heights, errors, color=colour, marker="o", markersize=4, linewidth=1.6,
                capsize=3, label=name,
            )  # fmt: skip
        _tidy(axes, protocol.capitalize())
        axes.set_xticks(range(len(counts)), [label_count(count).removesuffix(" per class") for count in counts])
        axes.legend(fontsize=7.5, frameon=False, loc="lower right")
    panels[0].set_ylabel("test accuracy, %")
    return figure


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Confusion matrix in percent of each true class."""
    counts = np.array(matrix, dtype=float)
    share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = max(3.6, 0.38 * len(classes) + 0.8)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if len(classes) <= 20:
        for row, column in np.ndindex(*share.shape):
            if share[row, column] >= 0.5:
                colour = "white" if share[row, column] > 55 else INK
                axes.text(
                    column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7.5, color=colour
                )
    rotation = 45 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=rotation, ha="right" if rotation else "center")
    axes.set_yticks(range(len(classes)), classes)
    _tidy(axes, "Share of each true class, %")
    axes.grid(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure
