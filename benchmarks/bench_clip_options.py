"""CLIP's loss with each of its options, forward and backward, beside the formula in plain torch.

Floor, N pairs of D numbers: 6 N^2 D FLOPs, the product, of which both directions are made, and two products of its
gradient with the features; 6 N H D for H hard negatives of one image each, 6 N K D for K of all. The rule: never slower
than eager torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks import bench_siglip_options as siglip
from benchmarks.bench_siglip_options import MARGIN, SMOOTHING, Inputs, Option, call, hard, ids
from benchmarks.bench_thin_losses import check
from benchmarks.harness import Case


def of_all(n: int, d: int) -> Inputs:
    return {"negative_keys": normalize(torch.randn(n, d), dim=1)}


# In the place of `hard`, how many further texts an image has: some, or as many as there are pairs.
OPTIONS = {
    "ids": Option(ids),
    "margin": Option(arguments={"margin": MARGIN}),
    "ids, label_smoothing": Option(ids, {"label_smoothing": SMOOTHING}),
    "margin, label_smoothing": Option(arguments={"margin": MARGIN, "label_smoothing": SMOOTHING}),
    "hard negatives": Option(hard, hard=siglip.HARD),
    "negative_keys": Option(of_all),
    "all options": siglip.OPTIONS["all options"],
}


def make_inputs(device: torch.device, *, pairs: int, width: int, option: Option) -> Inputs:
    made = siglip.make_inputs(device, pairs=pairs, width=width, option=option)
    del made["logit_bias"]
    return made


def eager(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    image_ids: Tensor | None = None,
    text_ids: Tensor | None = None,
    margin: float | None = None,
    label_smoothing: float = 0.0,
    negative_keys: Tensor | None = None,
) -> Tensor:
    """Cross-entropies, of which what is left out has a logit of -inf; a margin of 0 or more leaves the own text."""
    similarities = image_features @ text_features.T
    count = len(similarities)
    limits = None if margin is None else similarities.detach().diagonal()[:, None] + margin
    same = None
    if image_ids is not None and text_ids is not None:
        same = (image_ids[:, None] == text_ids).fill_diagonal_(False)

    def picking(similarities: Tensor, same: Tensor | None, hard: Tensor | None) -> Tensor:
        left_out = None if limits is None else similarities.detach() > limits
        if same is not None:
            left_out = same if left_out is None else left_out | same
        logits = logit_scale * similarities
        if left_out is not None:
            logits = logits.masked_fill(left_out, float("-inf"))
        if hard is not None:
            further = logit_scale * hard
            further = further if limits is None else further.masked_fill(hard.detach() > limits, float("-inf"))
            logits = torch.cat([logits, further], dim=1)
        own = torch.arange(count, device=logits.device)
        if not label_smoothing:
            return cross_entropy(logits, own)
        there = logits > float("-inf")
        means = torch.where(there, logits, 0.0).sum(dim=1) / there.sum(dim=1)
        losses = cross_entropy(logits, own, reduction="none")
        return (losses + label_smoothing * (logits.diagonal() - means)).mean()

    hard = None
    if negative_keys is not None and negative_keys.dim() == 2:
        hard = image_features @ negative_keys.T
    elif negative_keys is not None:
        hard = torch.einsum("nd,nhd->nh", image_features, negative_keys)
    of_texts = picking(similarities.T, None if same is None else same.T, None)
    return (picking(similarities, same, hard) + of_texts) / 2


def ours() -> Callable[..., Tensor]:
    from sslfast.losses import clip_loss

    return clip_loss


def case(name: str, pairs: int, width: int, **options: Any) -> Case:
    option = OPTIONS[name]
    products = 12 if name == "negative_keys" else 6
    return Case(
        op=f"clip {name}",
        size=f"{pairs}x{width}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, pairs=pairs, width=width, option=option),
        providers={"sslfast": partial(call, ours, option), "eager torch": partial(call, lambda: eager, option)},
        check=check,
        work=(products * pairs + 6 * option.hard) * pairs * width,
        unit="FLOP",
        formula=f"{products} N^2 D" + f" + {6 * option.hard} N D" * (option.hard > 0),
        devices=("cpu",),
        **options,
    )


def cases() -> list[Case]:
    return [
        *(case(name, 256, 128, quick=name == "all options") for name in OPTIONS),
        *(case(name, 64, 128) for name in ("ids", "margin")),
        *(case(name, 512, 128) for name in ("margin", "all options")),
        *(case(name, 2048, 512) for name in ("margin", "margin, label_smoothing", "all options")),
        *(case(name, 4096, 128) for name in ("ids", "margin")),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
