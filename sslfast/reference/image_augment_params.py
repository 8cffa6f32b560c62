"""The draws of augmented views by definition: a row of parameters for every (sample, view)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast.reference.image_augment import CHOICES
from sslfast.reference.philox import WORD, philox

IMAGE_AUGMENT = 4
MAX_STEPS, STEP_BLOCKS, CROP_TRIES = 32, 16, 10


def exponential(x: Tensor) -> Tensor:
    """exp by + - * / alone, so that every backend gets the same bits: x = k ln 2 + r, Taylor series of exp(r)."""
    k = (x * 1.4426950408889634).round()
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    series = torch.ones_like(r)
    for n in range(13, 0, -1):
        series = 1.0 + series * r / n
    return series * ((k.long() + 1023) << 52).view(torch.float64)


def uniform(word: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * (word.double() * 2.0**-32)


def below(word: Tensor, n: Tensor | int) -> Tensor:
    """Uniform integer in [0, n)."""
    return (word * n) >> 32


def happens(word: Tensor, p: float) -> Tensor:
    return word.double() < p * 2.0**32


def crop_boxes(
    words: Tensor, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], log: Sequence[float]
) -> list[Tensor]:
    """``RandomResizedCrop.make_params`` from words (..., tries, 4): top, left, height, width."""
    area = float(height) * float(width) * uniform(words[..., 0], *scale)
    aspect = exponential(uniform(words[..., 1], *log))
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    w, h = w.long().clamp(1, width), h.long().clamp(1, height)
    tries = torch.stack([below(words[..., 2], height - h + 1), below(words[..., 3], width - w + 1), h, w], -1)
    fallback_h, fallback_w = height, width
    if width / height < ratio[0]:
        fallback_h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        fallback_w = max(1, round(height * ratio[1]))
    fallback = torch.tensor([(height - fallback_h) // 2, (width - fallback_w) // 2, fallback_h, fallback_w])
    first = fits.to(torch.uint8).argmax(-1)  # the first True
    chosen = tries.gather(-2, first[..., None, None].expand(*first.shape, 1, 4)).squeeze(-2)
    return list(torch.where(fits.any(-1, keepdim=True), chosen, fallback).unbind(-1))


def resized(how: int, first: int, second: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) after a resize: 0 keeps them, 1 sets the shorter side, 2 sets both."""
    if how == 0:
        return height, width
    if how == 2:
        return first, second
    a, b = first, first * max(height, width) // min(height, width)
    if second and b > second:
        a, b = second * a // b, second
    return (b, max(a, 1)) if height > width else (max(a, 1), b)


def placed(placement: int, word: Tensor, length: int, view: int) -> Tensor:
    """Where a view begins in a length: 0 in the middle, halves to even, 1 anywhere, or the length in the view."""
    room = length - view
    if placement == 1:
        return below(word, abs(room) + 1) + min(room, 0)
    return torch.full_like(word, -(-room // 2) if room < 0 else round(room / 2))


def resample(words: Tensor, rules: Sequence[float], height: int, width: int) -> list[Tensor]:
    """Ten columns from words (..., blocks, 4) and thirteen rules."""
    kind, view_height, view_width, hflip, vflip, *numbers = rules
    size = (int(view_height), int(view_width))
    draws = words[..., CROP_TRIES, :]
    zero = torch.zeros_like(draws[..., 0])
    flips = [happens(draws[..., 0], hflip), happens(draws[..., 1], vflip)]
    if kind == 0:
        scale, ratio, log = (numbers[0], numbers[1]), (numbers[2], numbers[3]), numbers[4:6]
        box = crop_boxes(words[..., :CROP_TRIES, :], height, width, scale, ratio, log)
        return [*box, zero + size[0], zero + size[1], zero, zero, *flips]
    how, first, second, placement, left, top, right, bottom = (int(number) for number in numbers)
    target = resized(how, first, second, height, width)
    offset_top = placed(placement, draws[..., 2], target[0] + top + bottom, size[0]) - top
    offset_left = placed(placement, draws[..., 3], target[1] + left + right, size[1]) - left
    fixed = [zero, zero, zero + height, zero + width, zero + target[0], zero + target[1]]
    return [*fixed, offset_top, offset_left, *flips]


def affine(words: Tensor, rules: Sequence[float], size: tuple[int, int]) -> list[Tensor]:
    p, angle0, angle1, x0, x1, y0, y1, scale0, scale1, shear_x0, shear_x1, shear_y0, shear_y1, pivot, x, y = rules
    first, second = words[..., 0, :].unbind(-1), words[..., 1, :].unbind(-1)
    height, width = size
    angle, move_x, move_y, scale, shear_x, shear_y = (
        value.float().double()  # as the row holds them
        for value in (
            uniform(first[1], angle0, angle1),
            uniform(first[2], x0 * width, x1 * width).round(),
            uniform(first[3], y0 * height, y1 * height).round(),
            uniform(second[0], scale0, scale1),
            uniform(second[1], shear_x0, shear_x1),
            uniform(second[2], shear_y0, shear_y1),
        )
    )
    if pivot == 2:  # the point (x, y) stays where it is
        turn, skew_x, skew_y = (torch.deg2rad(value) for value in (angle, shear_x, shear_y))
        from_x, from_y = x - width / 2, y - height / 2
        a, c = torch.cos(turn - skew_y) / torch.cos(skew_y), torch.sin(turn - skew_y) / torch.cos(skew_y)
        b, d = -a * torch.tan(skew_x) - torch.sin(turn), torch.cos(turn) - c * torch.tan(skew_x)
        move_x = move_x + from_x - scale * (a * from_x + b * from_y)
        move_y = move_y + from_y - scale * (c * from_x + d * from_y)
    corner = torch.full_like(second[0], int(pivot == 1))
    return [happens(first[0], p), angle, move_x, move_y, scale, shear_x, shear_y, corner]


def choice(words: Tensor, rules: Sequence[float], size: tuple[int, int]) -> list[Tensor]:
    """An operation of a table (code, low, high, sign) and its magnitude on an even grid of bins."""
    first_bin, last_bin, bins, count, *numbers = rules
    table = torch.tensor(numbers, dtype=torch.float64).view(int(count), 4)
    which, where, sign, _ = words[..., 0, :].unbind(-1)
    code, low, high, signed = table[below(which, int(count))].unbind(-1)
    magnitude = low + (high - low) * (first_bin + below(where, int(last_bin - first_bin) + 1)) / (bins - 1)
    x, y, posterize = (CHOICES.index(name) for name in ("translate_x", "translate_y", "posterize"))
    side = torch.where(code == x, size[1], size[0])
    magnitude = torch.where(signed == 2, magnitude * side, magnitude)
    magnitude = torch.where(code == posterize, magnitude.round(), magnitude)
    magnitude = torch.where((code == x) | (code == y), magnitude.trunc(), magnitude)
    return [code, torch.where((signed > 0) & (sign >> 31 == 1), -magnitude, magnitude)]


def step(name: str, words: Tensor, rules: Sequence[float], size: tuple[int, int]) -> list[Tensor]:
    """The columns of one step after the resampling."""
    if name == "affine":
        return affine(words, rules, size)
    if name == "choice":
        return choice(words, rules, size)
    applied, second = words[..., 0, 0], words[..., 0, 1]
    columns = [happens(applied, rules[0])]
    if name == "jitter":
        columns.append(below(second, 24))
        columns += [uniform(words[..., 1, k], *rules[1 + 2 * k : 3 + 2 * k]) for k in range(4)]
    elif name in ("solarize", "posterize"):
        columns.append(torch.full_like(second, rules[1], dtype=torch.float64))
    elif name in ("sharpness", "blur"):
        columns.append(uniform(second, *rules[1:3]))
    return columns


def sample_params(
    numbers: Tensor,
    views: int,
    size: tuple[int, int],
    steps: Sequence[tuple[str, Sequence[float]]],
    *,
    seed: int,
    first_view: int = 0,
) -> Tensor:
    """float32 (N, views, columns) for images of ``size``; ``steps`` are names and rules, the first "resample"."""
    row = numbers[:, None, None]
    view = torch.arange(first_view, first_view + views)[:, None] * MAX_STEPS
    out_size = (int(steps[0][1][1]), int(steps[0][1][2]))
    columns: list[Tensor] = []
    for s, (name, rules) in enumerate(steps):
        element = ((view + s) * STEP_BLOCKS + torch.arange(STEP_BLOCKS)) & WORD
        words = philox(seed, IMAGE_AUGMENT, row, element[None])
        columns += resample(words, rules, *size) if name == "resample" else step(name, words, rules, out_size)
    return torch.stack([column.float() for column in columns], -1)
