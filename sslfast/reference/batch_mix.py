"""MixUp and CutMix by definition (Zhang et al., 2018; Yun et al., 2019), and the draws in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast.reference.philox import philox
from sslfast.reference.random_order import random_order

BATCH_MIX, MIX_ORDER = 40, 41


def symmetric_beta(alpha: float, words: list[int]) -> float:
    """Beta(alpha, alpha) from four words: Ulrich's method from alpha 1 on, below that a ratio of Gamma variables."""
    u = [(word + 0.5) / 2**32 for word in words]
    a = alpha + 1 if alpha < 1 else alpha
    radius = math.sqrt(1 - math.exp(math.log(u[1]) / (a - 0.5)))
    beta = 0.5 * (1 + radius * math.cos(2 * math.pi * u[0]))
    if alpha >= 1:
        return beta
    exponent = min(max((math.log(u[3]) - math.log(u[2])) / alpha, -690), 690)
    return beta / (beta + (1 - beta) * math.exp(exponent))


def box_of(
    height: int, width: int, lam: float, minmax: tuple[float, float] | None, box: str, words: list[int], more: list[int]
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) by torchvision's rule, by timm's, or of sides drawn by themselves."""
    sides = []
    for size, word, length_word, place_word in (
        (height, words[2], more[0], more[2]),
        (width, words[3], more[1], more[3]),
    ):
        if minmax is not None:
            least, above = int(size * minmax[0]), int(size * minmax[1])
            length = least + (length_word * max(above - least, 1) >> 32)
            first = place_word * (size - length + 1) >> 32
            sides += [first, first + length]
            continue
        centre, ratio = word * size >> 32, math.sqrt(1 - lam)
        if box == "torchvision":
            before = after = int(0.5 * ratio * size)
        else:
            cut = int(size * ratio)
            before, after = cut // 2, (cut + 1) // 2
        sides += [min(max(centre - before, 0), size), min(max(centre + after, 0), size)]
    return sides[0], sides[1], sides[2], sides[3]


def sample_mix(
    rows: int,
    image_size: tuple[int, int],
    *,
    mixup_alpha: float = 1.0,
    cutmix_alpha: float = 0.0,
    cutmix_minmax: tuple[float, float] | None = None,
    prob: float = 1.0,
    switch_prob: float = 0.5,
    mode: str = "batch",
    partner: str = "roll",
    box: str = "torchvision",
    correct_lam: bool = True,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.augment.sample_mix`` with an int seed."""
    height, width = image_size
    numbers = torch.arange(rows) + row_offset if sample_ids is None else sample_ids
    if cutmix_minmax is not None:
        cutmix_alpha, correct_lam = 1.0, True
    out = torch.zeros(rows, 7)
    order = random_order(rows, seed, MIX_ORDER, 0).tolist()
    for r in range(rows):
        mirrored = rows - 1 - r
        out[r, 1] = {"roll": (r - 1) % rows, "flip": mirrored, "permutation": order[r]}[partner]
        out[r, 2] = 1.0
        unit = {"batch": 0, "pair": int(numbers[min(r, mirrored)]), "elem": int(numbers[r])}[mode]
        words = philox(seed, BATCH_MIX, torch.tensor([unit]), torch.arange(3)).tolist()
        if words[0][0] >= int(prob * 2**32 + 0.5):
            continue
        boxed = cutmix_alpha > 0
        if boxed and mixup_alpha > 0:
            boxed = words[0][1] < int(switch_prob * 2**32 + 0.5)
        lam = symmetric_beta(cutmix_alpha if boxed else mixup_alpha, words[1])
        out[r, 0] = 2 if boxed else 1
        if boxed:
            top, bottom, left, right = box_of(height, width, lam, cutmix_minmax, box, words[0], words[2])
            out[r, 3:] = torch.tensor([top, left, bottom - top, right - left])
            if correct_lam:
                lam = 1 - (bottom - top) * (right - left) / (height * width)
        out[r, 2] = lam
    return out


def mix_images(images: Tensor, params: Tensor) -> Tensor:
    """``sslfast.augment.mix_images``, image by image."""
    out = images.clone()
    for r, (kind, partner, lam, *box) in enumerate(params.tolist()):
        other = images[int(partner)]
        if kind == 1:
            out[r] = other.mul(1.0 - lam).add(images[r].mul(lam))
        elif kind == 2:
            top, left, height, width = map(int, box)
            window = (slice(None), slice(top, top + height), slice(left, left + width))
            out[r][window] = other[window]
    return out
