"""Pictures of the rules for tables and graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mask_pictures.canvas import (
    COLOURS,
    INK,
    PALE,
    bare,
    canvas,
    chances,
    legend,
    masked_names,
    picture,
    square,
    stacked,
)
from sslfast import masking


@picture
def corrupt_features(count: int) -> Figure:
    rows, width = 12, 16
    x = torch.arange(count)[:, None] % 3 + torch.zeros(count, width, dtype=torch.int64)
    figure = canvas(2.5)
    axes = figure.subplots(2, 4, height_ratios=[3, 1])
    rules: dict[str, dict[str, Any]] = {
        "marginals": {},
        "permutation": {"source": "permutation"},
        "bernoulli": {"selection": "bernoulli"},
        "changed=True, of 3 values": {"changed": True},
    }
    for (title, options), top, bottom in zip(rules.items(), *axes, strict=True):
        mask = masking.corrupt_features(x, 0.5, generator=1, **options)[1]
        square(bare(top, title, "samples" if title == "marginals" else ""), masked_names(mask[:rows]))
        stacked(
            bare(bottom, "", "probability" if title == "marginals" else ""), {"masked": mask.double().mean(0).numpy()}
        )
        chances(bottom, 0.5)
    legend(figure, "visible", "masked", visible="own value", masked="another row's value")
    return figure


def graph(nodes: int = 40) -> tuple[np.ndarray, torch.Tensor]:
    """Places of nodes, and edges (2, E) between near ones."""
    rng = np.random.default_rng(4)
    places = [rng.random(2)]
    while len(places) < nodes:
        place = rng.random(2)
        if min(np.hypot(*(place - other)) for other in places) > 0.09:
            places.append(place)
    spots = np.array(places)
    near = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1)) < 0.21
    return spots, torch.from_numpy(np.stack(np.nonzero(np.triu(near, 1))))


def drawn_graph(axes: Axes, node_colours: list[str], edge_colours: list[str]) -> None:
    spots, edges = graph()
    for (a, b), colour in zip(edges.T.tolist(), edge_colours, strict=True):
        axes.plot(*spots[[a, b]].T, color=colour, linewidth=0.9, zorder=1)
    axes.scatter(*spots.T, c=node_colours, s=26, edgecolors=INK, linewidths=0.4, zorder=2)
    axes.set_aspect("equal")
    axes.margins(0.05)


@picture
def mask_nodes(count: int) -> Figure:
    nodes, edges = len(graph()[0]), graph()[1]
    figure = canvas(2.2)
    axes = figure.subplots(1, 5, width_ratios=[1, 1, 1, 1, 1.6])
    hits, others, draws = np.zeros(nodes), np.zeros(nodes), max(1, count // 8)
    for seed in range(draws):
        x = torch.arange(1.0, nodes + 1)[:, None]
        found = masking.mask_nodes(x, 0.3, replace_rate=0.25, generator=seed)
        kinds = np.full(nodes, "visible", dtype=object)
        kinds[found.masked_nodes] = np.where((found.x[found.masked_nodes, 0] == 0).numpy(), "masked", "random")
        hits, others = hits + (kinds == "masked") / draws, others + (kinds == "random") / draws
        if seed < 4:
            bare(axes[seed], "samples" if seed == 0 else "")
            drawn_graph(axes[seed], [COLOURS[kind] for kind in kinds], [PALE] * edges.shape[1])
    stacked(bare(axes[4], "probability of each node"), {"masked": hits, "random": others})
    legend(figure, "visible", "masked", "random", masked="the token", random="another node's features")
    return figure


@picture
def drop_edges(count: int) -> Figure:
    nodes, edges = len(graph()[0]), graph()[1]
    figure = canvas(2.2)
    axes = figure.subplots(1, 5, width_ratios=[1, 1, 1, 1, 1.6])
    dropped = [masking.drop_edges(edges, 0.3, generator=seed) for seed in range(max(4, count // 8))]
    for i, (axis, gone) in enumerate(zip(axes[:4], dropped, strict=False)):
        colours = [COLOURS["masked"] if hit else COLOURS["special"] for hit in gone.tolist()]
        drawn_graph(bare(axis, "samples" if i == 0 else ""), [COLOURS["visible"]] * nodes, colours)
    chance = torch.stack(dropped).double().mean(0).numpy()
    stacked(bare(axes[4], "probability of each edge"), {"masked": chance})
    legend(figure, "special", "masked", special="edge", masked="dropped edge")
    return figure
