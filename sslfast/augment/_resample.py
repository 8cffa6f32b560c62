"""Boxes of images resized to views in plain torch, by the arithmetic of csrc/shared/image_augment_*.h."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast._image_steps import LISTED, MAX_SIDE, PADDINGS


def clipped(value: Tensor, low: float, high: float) -> Tensor:
    """What lies outside goes to the nearer end; what is no number, to ``low``: parameters by hand may be anything."""
    return value.nan_to_num(low, high, low).clamp(low, high)


def filled(x: Tensor, setting: float, lists: Sequence[float]) -> Tensor:
    """What ``setting`` says lies outside, (C or 1, 1, 1). Written number by number: a copy would wait for a GPU."""
    first, channels = int(setting - LISTED) * x.shape[1], x.shape[1]
    numbers = lists[first : first + channels] if setting >= LISTED else [setting]
    return torch.stack([x.new_full((1, 1), number) for number in numbers])


def resample(
    x: Tensor,
    columns: Tensor,
    size: tuple[int, int],
    how: str,
    antialias: bool,
    fill: float,
    lists: Sequence[float],
) -> Tensor:
    """Views (N, C, *size) of the boxes that ``columns`` have of images (N, C, H, W), what lies outside filled."""
    (tall, wide), (hflip, vflip) = x.shape[2:], columns[:, 8:].unbind(-1)
    most = (tall - 1, wide - 1, tall, wide, *4 * (MAX_SIDE,))
    least = (0, 0, 1, 1, 1, 1, -MAX_SIDE, -MAX_SIDE)
    ends = zip(columns[:, :8].unbind(-1), least, most, strict=True)
    top, left, height, width, target_height, target_width, offset_top, offset_left = (
        clipped(value, low, high).trunc() for value, low, high in ends
    )
    height, width = torch.minimum(height, tall - top), torch.minimum(width, wide - left)
    padding = PADDINGS[int(-fill)] if fill < 0 else "constant"
    form = how, antialias, padding
    down, inside_y = _weights(tall, size[0], top, height, target_height, offset_top, vflip, *form)
    across, inside_x = _weights(wide, size[1], left, width, target_width, offset_left, hflip, *form)
    x = down[:, None] @ x @ across[:, None].mT
    if how == "bicubic":
        x = x.clamp(0, 1)
    inside = (inside_y[:, :, None] & inside_x[:, None])[:, None]
    return torch.where(inside, x, filled(x, fill, lists))


def _weights(
    side: int,
    view: int,
    first: Tensor,
    source: Tensor,
    target: Tensor,
    offset: Tensor,
    flip: Tensor,
    how: str,
    antialias: bool,
    padding: str,
) -> tuple[Tensor, Tensor]:
    """(N, view, side) weights along one axis, and bool (N, view): is the output inside what is resized?"""
    first, source, target, offset = (value.double()[:, None] for value in (first, source, target, offset))
    place = torch.arange(view, device=flip.device).double()[None]
    place = torch.where(flip[:, None] != 0, view - 1 - place, place) + offset
    if padding not in ("constant", "edge"):  # the edge is what the nearest inside is
        place = _reflected(place, target, padding)
    inside = ((place >= 0) & (place < target)) | (padding != "constant")
    place = torch.minimum(place.clamp(min=0), target - 1)
    pixel = torch.arange(side, device=flip.device).double()[None] - first  # within the box
    in_box = ((pixel >= 0) & (pixel < source))[:, None]
    step = source / target
    if how == "nearest":
        nearest = torch.minimum((place.float() * (source.float() / target.float())).floor().double(), source - 1)
        weight = (pixel[:, None] == nearest[:, :, None]).double()
        return (weight * in_box * inside[:, :, None]).float(), inside
    wide = step.clamp(min=1) if antialias else torch.ones_like(step)
    centre = (place + 0.5) * step

    def height(at: Tensor) -> Tensor:
        t = ((at + 0.5)[:, None] - centre[:, :, None]).abs() / wide[:, :, None]
        if how == "bilinear":
            return (1 - t).clamp(min=0)
        a = -0.5 if antialias else -0.75
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros_like(t)))

    weight = height(pixel)
    if how == "bicubic" and not antialias:  # what lies outside counts as the edge
        for k in range(1, 4):
            weight = weight + torch.where((pixel == 0)[:, None], height(pixel - k), torch.zeros_like(weight))
            weight = weight + torch.where((pixel == source - 1)[:, None], height(pixel + k), torch.zeros_like(weight))
    weight = weight * in_box
    return (weight / weight.sum(-1, keepdim=True) * inside[:, :, None]).float(), inside


def _reflected(place: Tensor, n: Tensor, padding: str) -> Tensor:
    """Which of n places stand at ``place``, as often as it takes."""
    twice = int(padding == "symmetric")
    period = (2 * n - 2 + 2 * twice).clamp(min=1)
    place = torch.remainder(place, period)
    return torch.where(place < n, place, period - twice - place)
