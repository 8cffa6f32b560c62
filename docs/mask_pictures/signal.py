"""Pictures of the rules for speech."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mask_pictures.canvas import COLOURS, INK, bare, canvas, chances, heat, legend, masked_names, picture, tiles
from sslfast import masking


@picture
def time_mask(count: int) -> Figure:
    frames, short, lengths = 100, 40, torch.tensor([100, 100, 70, 6])
    fairseq = {"mode": "fairseq"}
    rules = {
        "exact": {"mode": "exact"},
        "hf": {"mode": "hf"},
        "fairseq": fairseq,
        "normal": fairseq | {"mask_type": "normal", "mask_other": 4.0, "idc_select_ver": 2},
        "apart": fairseq | {"mask_type": "poisson", "no_overlap": True, "min_space": 1},
    }
    figure = canvas(5.2)
    axes = figure.subplots(len(rules), 2, width_ratios=[1.25, 1])
    for i, (row, (name, rule)) in enumerate(zip(axes, rules.items(), strict=True)):
        mask = masking.time_mask(4, frames, lengths=lengths, generator=1, **rule)
        names = np.where((torch.arange(frames) < lengths[:, None]).numpy(), "visible", "padding").astype(object)
        names[mask.numpy()] = "masked"
        tiles(bare(row[0], "rows of 100, 100, 70 and 6 frames" if i == 0 else "", name), names, lines=0)
        for y in (0.5, 1.5, 2.5):
            row[0].axhline(y, color="white", linewidth=3)
        chance = masking.time_mask(count, short, mask_prob=0.75, generator=2, **rule).double().mean(0).numpy()
        bare(row[1], f"probability of each frame in rows of {short}, 3 spans" if i == 0 else "")
        row[1].bar(np.arange(short), chance, width=0.86, color=COLOURS["masked"])
        row[1].set_xlim(-0.5, short - 0.5)
        chances(row[1], 0.85)
    legend(figure, "visible", "masked", "padding")
    return figure


@picture
def sample_negatives(count: int) -> Figure:
    frames, anchor = 40, 12
    mask = masking.time_mask(1, frames, mask_length=5, generator=3)
    mask[0, anchor] = True
    figure = canvas(2.3)
    left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
    drawn = masking.sample_negatives(mask.expand(count, -1), 5, generator=0).view(count, frames, 5)
    drawn = drawn - torch.arange(count)[:, None, None] * frames
    names = []
    for row in range(min(4, count)):
        line = masked_names(mask[0])
        line[drawn[row, anchor].numpy()] = "target"
        line[anchor] = "context"
        names.append(line)
    tiles(bare(left, "samples: 5 negatives of one frame"), np.stack(names), lines=1.5)
    chance = np.zeros((frames, frames))
    for t in range(frames):
        if mask[0, t]:
            chance[t] = np.bincount(drawn[:, t].flatten().numpy(), minlength=frames) / (5 * count)
    heat(bare(right, "probability (across) for each frame (down)"), chance, "target")
    legend(figure, "visible", "masked", "context", "target", context="the frame", target="its negatives")
    return figure


@picture
def spec_augment(count: int) -> Figure:
    bins, frames = 40, 90
    rule = {"n_freq_masks": 2, "freq_mask_param": 8, "n_time_masks": 2, "time_mask_param": 20}
    t, f = np.arange(frames) / frames, np.arange(bins)[:, None] / bins
    tone = 0.3 + 0.12 * np.sin(9 * t) + 0.08 * np.sin(31 * t)
    spec = sum(np.exp(-(((f - k * tone) / 0.04) ** 2)) / k for k in (1, 2, 3)) * (1.1 + np.sin(40 * t)) / 2
    spec = torch.from_numpy(np.clip(spec, 0.02, 1)).float()
    figure = canvas(2.9)
    axes = figure.subplots(2, 4)
    shades_of_grey = LinearSegmentedColormap.from_list("spec", ["#FFFFFF", INK], N=10)
    shades_of_grey = shades_of_grey.with_extremes(under=COLOURS["masked"])
    for row, mode in zip(axes, ("exact", "compat"), strict=True):
        found = masking.spec_augment(spec.repeat(3, 1, 1), mask_value=-1.0, mode=mode, generator=2, **rule)
        for i, each in enumerate(row[:3]):
            bare(each, "samples" if mode == "exact" and i == 0 else "", mode if i == 0 else "")
            each.imshow(found[i].numpy(), cmap=shades_of_grey, vmin=0, vmax=1, origin="lower", aspect="auto")
        ones = torch.ones(count, bins, frames)
        chance = (masking.spec_augment(ones, mode=mode, generator=3, inplace=True, **rule) == 0).double().mean(0)
        heat(bare(row[3], "probability" if mode == "exact" else ""), chance.numpy(), top=0.5)
        row[3].set_aspect("auto")
        row[3].invert_yaxis()
    legend(figure, "masked")
    return figure
