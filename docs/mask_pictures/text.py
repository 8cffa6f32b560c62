"""Pictures of the rules for text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from mask_pictures.canvas import INK, bare, canvas, legend, masked_names, picture, square, stacked, words
from sslfast import masking

TEXTS = {
    "vocabulary": """[PAD] [CLS] [SEP] [MASK] the cat sat on a warm mat because it was cold out side . un ##believ
        ##ably dog ran up hill and sang to her old red house with some tea for two then left again so we all took""",
    "sentence": "[CLS] the cat sat on the warm mat because it was cold out side . [SEP] [PAD] [PAD]",
    "pieces": "[CLS] the cat un ##believ ##ably ran up the hill because it was un ##believ ##ably warm [SEP]",
    "spans": "the old red dog ran up a hill and sang to the cat as it was so very cold .",
}
VOCABULARY, SENTENCE, PIECES, SPANS = (text.split() for text in TEXTS.values())


def ids_of(tokens: Sequence[str], rows: int) -> torch.Tensor:
    return torch.tensor([VOCABULARY.index(token) for token in tokens]).repeat(rows, 1)


def special_of(ids: torch.Tensor) -> torch.Tensor:
    return ids < 4


def word_ids_of(tokens: Sequence[str], rows: int) -> torch.Tensor:
    number, found = -1, []
    for token in tokens:
        number += not token.startswith("##")
        found.append(-1 if token.startswith("[") else number)
    return torch.tensor(found).repeat(rows, 1)


def token_rows(rule: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], tokens: Sequence[str], count: int):
    """Four rows of masked tokens above what becomes of each position."""
    ids = ids_of(tokens, count)
    new, labels = rule(ids)
    masked = labels != -100
    kinds = np.where((ids == 0).numpy(), "padding", np.where(special_of(ids).numpy(), "special", "visible"))
    kinds = kinds.astype(object)
    kinds[masked.numpy()] = "random"
    kinds[(masked & (new == 3)).numpy()] = "masked"
    kinds[(masked & (new == ids)).numpy()] = "kept"
    figure = canvas(2.5)
    top, bottom = figure.subplots(2, 1, height_ratios=[2.2, 1])
    shown = min(4, count)
    texts = [[VOCABULARY[i] for i in row] for row in new[:shown].tolist()]
    words(bare(top, side="samples"), texts, kinds[:shown])
    stacked(bare(bottom, side="probability"), {kind: (kinds == kind).mean(0) for kind in ("masked", "random", "kept")})
    legend(figure, "visible", "masked", "random", "kept", "special", "padding", masked="[MASK]", kept="kept, predicted")
    return figure


@picture
def mask_tokens(count: int) -> Figure:
    def rule(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        options: dict[str, Any] = {"mask_token_id": 3, "vocab_size": len(VOCABULARY), "generator": 24}
        return masking.mask_tokens(ids, special_tokens_mask=special_of(ids), **options)[:2]

    return token_rows(rule, SENTENCE, count)


@picture
def mask_words(count: int) -> Figure:
    def rule(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        options: dict[str, Any] = {"mask_token_id": 3, "vocab_size": len(VOCABULARY), "generator": 16}
        return masking.mask_words(ids, word_ids=word_ids_of(PIECES, len(ids)), **options)[:2]

    return token_rows(rule, PIECES, count)


@picture
def corrupt_spans(count: int) -> Figure:
    places = torch.arange(100, 100 + len(SPANS)).repeat(count, 1)
    figure = canvas(3.3)
    axes = figure.subplots(4, 1, height_ratios=[2.3, 1, 2.3, 1])
    for top, bottom, mode, density in ((*axes[:2], "exact", 0.25), (*axes[2:], "compat", 0.25)):
        found = masking.corrupt_spans(places, sentinel_id=99, noise_density=density, mode=mode, generator=6)
        noise = ~(places[:, :, None] == found.inputs[:, None, :]).any(2)
        texts, kinds = [], []
        for row in (found.inputs[0], found.targets[0]):
            row = row.tolist() + [0] * (len(SPANS) + 2 - len(row))
            texts.append(
                [SPANS[i - 100] if i >= 100 else f"<{99 - i}>" if i > 50 else "</s>" if i == 1 else "" for i in row]
            )
            colour = "visible" if not kinds else "target"
            kinds.append(
                [colour if i >= 100 else "masked" if i > 50 else "special" if i == 1 else "padding" for i in row]
            )
        words(bare(top, f'mode="{mode}": input above, target below'), texts, np.array(kinds, dtype=object))
        stacked(bare(bottom, side="noise"), {"masked": noise.double().mean(0).numpy()})
    legend(figure, "visible", "masked", "target", "special", visible="kept", masked="sentinel", target="predicted")
    return figure


@picture
def mask_spans(count: int) -> Figure:
    def rule(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        options: dict[str, Any] = {"mask_token_id": 3, "vocab_size": len(VOCABULARY), "mask_ratio": 0.25}
        words_of_row = word_ids_of(PIECES, len(ids))
        found = masking.mask_spans(ids, word_ids=words_of_row, max_span=4, generator=5, **options)
        return found.ids, found.labels

    return token_rows(rule, PIECES, count)


@picture
def sample_replacements(count: int) -> Figure:
    ids = ids_of(SENTENCE, 1)
    options: dict[str, Any] = {"mask_token_id": 3, "vocab_size": len(VOCABULARY), "generator": 24}
    special = special_of(ids)
    masked = masking.mask_tokens(
        ids, special_tokens_mask=special, mask_replace_prob=1, random_replace_prob=0, **options
    )
    where = masked[1][0] != -100
    logits = torch.linspace(2, -2, 12).repeat(count, 1)
    drawn = masking.sample_replacements(logits, generator=1)
    guesses = torch.full((1, len(VOCABULARY)), -9.0)
    guesses[0, 4:19] = 0.0
    sampled = masking.sample_replacements(guesses.expand(len(SENTENCE), -1), generator=5)[None]
    corrupted, replaced = masking.electra_inputs(ids, where[None], sampled)
    figure = canvas(2.0)
    left, right = figure.subplots(1, 2, width_ratios=[3.3, 1])
    kinds = np.where((ids == 0).numpy(), "padding", np.where(special.numpy(), "special", "visible")).astype(object)
    kinds = np.repeat(kinds, 3, 0)
    kinds[1, where.numpy()] = "masked"
    kinds[2, where.numpy()] = "kept"
    kinds[2, replaced[0].numpy()] = "random"
    lines = [SENTENCE, ["[MASK]" if hit else w for w, hit in zip(SENTENCE, where.tolist(), strict=True)]]
    words(bare(left), [*lines, [VOCABULARY[i] for i in corrupted[0].tolist()]], kinds)
    for text in left.texts:
        text.set_fontsize(5)
    left.set_yticks([0, 1, 2], labels=["text", "generator", "discriminator"], fontsize=7, color=INK)
    left.tick_params(length=0)
    bare(right, "samples and softmax(logits)")
    stacked(right, {"random": np.bincount(drawn.numpy(), minlength=12) / count})
    right.plot(logits[0].softmax(0).numpy(), ".", color=INK, markersize=4)
    legend(
        figure, "visible", "masked", "random", "kept", masked="[MASK]", random="replaced", kept="sampled the original"
    )
    return figure


@picture
def permutation_mask(count: int) -> Figure:
    ids = ids_of(SENTENCE, count)
    figure = canvas(4.3)
    axes = figure.subplots(2, 2, width_ratios=[1, 1.5])
    for (left, right), mode in zip(axes, ("exact", "compat"), strict=True):
        found = masking.permutation_mask(
            ids, mask_token_id=3, special_tokens_mask=special_of(ids), mode=mode, generator=6
        )
        first = mode == "exact"
        square(
            bare(left, "who (down) sees whom (across)\n" if first else "", mode), masked_names(found.perm_mask[0] > 0)
        )
        left.set_yticks(range(len(SENTENCE)), labels=SENTENCE, fontsize=5, color=INK)
        left.tick_params(length=0, pad=1)
        for x, (place, hit) in enumerate(zip(found.order[0].tolist(), found.mask[0].tolist(), strict=True)):
            left.text(x, -1.1, str(place) if hit else "", fontsize=6, ha="center", color=INK)
        bare(right, "probability of being predicted" if first else "")
        stacked(right, {"masked": found.mask.double().mean(0).numpy()})
        right.set_xticks(range(len(SENTENCE)), labels=SENTENCE, fontsize=5, color=INK)
    legend(figure, "visible", "masked", visible="seen", masked="not seen, predicted")
    return figure


@picture
def mask_items(count: int) -> Figure:
    length, shown = 20, min(4, count)
    items = torch.arange(100, 100 + length).repeat(count, 1)
    items[1, :6] = items[3, :12] = 0
    figure = canvas(3.7)
    axes = figure.subplots(4, 1, height_ratios=[2, 1, 2, 1])
    for top, bottom, mode in ((*axes[:2], "exact"), (*axes[2:], "compat")):
        found = masking.mask_items(items, mask_id=1, mask_ratio=0.25, mode=mode, generator=1)
        kinds = np.where((items == 0).numpy(), "padding", "visible").astype(object)
        kinds[(found.mask & (found.labels == -100)).numpy()] = "random"
        kinds[(found.mask & (found.labels != -100)).numpy()] = "masked"
        texts = [
            ["" if i == 0 else "mask" if i == 1 else f"item {i - 99}" for i in row]
            for row in found.items[:shown].tolist()
        ]
        words(bare(top, "", mode), texts, kinds[:shown])
        stacked(bare(bottom, side="prob."), {kind: (kinds[4:] == kind).mean(0) for kind in ("masked", "random")})
    legend(figure, "visible", "masked", "random", "padding", masked="masked", random="masked, without a label")
    return figure
