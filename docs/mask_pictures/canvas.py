"""How the pictures of docs/masking.md are drawn: colours, panels, and small files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

FIGURES: dict[str, Callable[[int], Figure]] = {}  # rule -> (number of samples for probabilities) -> its picture


def picture(draw: Callable[[int], Figure]) -> Callable[[int], Figure]:
    FIGURES[draw.__name__] = draw
    return draw


# Okabe and Ito's colours, which differ for every kind of colour vision, and greys.
COLOURS = {
    "visible": "#E4E9EF",
    "masked": "#D55E00",
    "random": "#56B4E9",
    "kept": "#F0E442",
    "special": "#A3ABB5",
    "padding": "#FFFFFF",
    "context": "#0072B2",
    "target": "#E69F00",
}
INK, PALE = "#30363D", "#C3CAD2"
DPI, WIDTH = 100, 9.0


def shades(colour: str) -> LinearSegmentedColormap:
    """White for a probability of 0, the colour for the largest."""
    return LinearSegmentedColormap.from_list(colour, ["#FFFFFF", COLOURS[colour]], N=48)


def canvas(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.03)  # type: ignore[union-attr]
    return figure


def masked_names(mask: torch.Tensor) -> np.ndarray:
    return np.where(mask.numpy(), "masked", "visible").astype(object)


def bare(axes: Axes, title: str = "", side: str = "") -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=PALE)
    axes.set_title(title, fontsize=8, color=INK, pad=3)
    if side:
        axes.set_ylabel(side, fontsize=8, color=INK)
    return axes


def tiles(axes: Axes, names: np.ndarray, *, lines: float = 0.5) -> None:
    """Cells coloured by what they are: an array of names of COLOURS."""
    rows, columns = names.shape
    table = np.array([to_rgb(COLOURS[name]) for name in COLOURS])
    axes.imshow(table[np.vectorize(list(COLOURS).index)(names)], interpolation="nearest", aspect="auto")
    if lines:
        for x in range(1, columns):
            axes.axvline(x - 0.5, color="white", linewidth=lines)
        for y in range(1, rows):
            axes.axhline(y - 0.5, color="white", linewidth=lines)


def square(axes: Axes, names: np.ndarray) -> None:
    tiles(axes, names)
    axes.set_aspect("equal")


def heat(axes: Axes, chance: np.ndarray, colour: str = "masked", top: float | None = None, bar: bool = True) -> None:
    """Probabilities of cells, with a scale beside them."""
    top = max(float(chance.max()), 1e-9) if top is None else top
    drawn = axes.imshow(chance, cmap=shades(colour), vmin=0, vmax=top, interpolation="nearest")
    if bar:
        scale = axes.figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)
        scale.set_ticks([0, top], labels=["0", f"{top:.2g}"])
        scale.ax.tick_params(labelsize=7, length=0, colors=INK)
        scale.outline.set_visible(False)


def words(axes: Axes, texts: Sequence[Sequence[str]], names: np.ndarray) -> None:
    """Rows of tokens: their texts on cells coloured by what they are."""
    tiles(axes, names, lines=1.5)
    for y, row in enumerate(texts):
        for x, text in enumerate(row):
            colour = "white" if names[y, x] in ("masked", "context") else INK
            axes.text(x, y, text, fontsize=6.2, ha="center", va="center", color=colour)


def stacked(axes: Axes, parts: dict[str, np.ndarray]) -> None:
    """Bars of probabilities, one a position, aligned with cells above."""
    below = np.zeros(len(next(iter(parts.values()))))
    for name, chance in parts.items():
        axes.bar(np.arange(len(chance)), chance, bottom=below, width=0.86, color=COLOURS[name])
        below = below + chance
    axes.set_xlim(-0.5, len(below) - 0.5)
    chances(axes, float(below.max()))


def chances(axes: Axes, top: float) -> None:
    """An axis of probabilities from 0 to a little above ``top``."""
    axes.set_ylim(0, top * 1.1 if top > 0 else 1)
    axes.set_yticks([0, round(top, 2)] if top > 0 else [0])
    axes.tick_params(labelsize=7, length=2, colors=INK, width=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, *names: str, **renamed: str) -> None:
    entries = [
        Patch(facecolor=COLOURS[name], edgecolor=PALE, linewidth=0.5, label=renamed.get(name, name)) for name in names
    ]
    figure.legend(
        handles=entries,
        loc="outside lower center",
        ncols=len(entries),
        fontsize=7,
        frameon=False,
        labelcolor=INK,
        handlelength=1,
        handleheight=1,
        borderpad=0,
    )


def save(figure: Figure, path: Path) -> None:
    """As a PNG of at most 96 colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    Image.open(drawn).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
