"""Augmented views by definition: the operations, and the view that a row of parameters describes.

``sslfast.reference.image_augment_params`` has the draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast.reference.image_augment_colour import (
    autocontrast,
    brightness,
    contrast,
    equalize,
    gray,
    hue,
    posterize,
    saturation,
    solarize,
)

JITTER = (brightness, contrast, saturation, hue)
CHOICES = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)


class Settings(NamedTuple):
    """What is fixed for all views: of resampling, blur and affine maps."""

    interpolation: str = "bilinear"
    antialias: bool = True
    fill: float | tuple[float, ...] = 0.0  # of all channels, or of each; affine_fill, too
    kernel_size: int | tuple[int, int] = 23  # of (width, height), too
    affine_interpolation: str = "nearest"
    affine_fill: float | tuple[float, ...] | None = 0.0  # None: no blend with a fill, what is outside is 0
    padding_mode: str = "constant"


# ---- resampling


def cubic(t: Tensor, sharpness: float) -> Tensor:
    """Keys' cubic kernel: 1 at 0, 0 from 2 on."""
    near = ((sharpness + 2) * t - (sharpness + 3)) * t * t + 1
    far = ((sharpness * t - 5 * sharpness) * t + 8 * sharpness) * t - 4 * sharpness
    return torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def resize_matrix(
    source: int, target: int, dtype: torch.dtype, interpolation: str = "bilinear", antialias: bool = True
) -> Tensor:
    """(target, source) weights of resizing (PIL, torch): each output averages the source by a filter centred on it.

    With antialiasing the filter is at least one output wide, and what lies outside the source does not count; a cubic
    one without repeats the edge.
    """
    step = source / target
    if interpolation == "nearest":
        index = (torch.arange(target).float() * (torch.tensor(float(source)) / target)).long().clamp(max=source - 1)
        return torch.nn.functional.one_hot(index, source).to(dtype)
    edge = 3 if interpolation == "bicubic" and not antialias else 0
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * step
    position = torch.arange(-edge, source + edge, dtype=torch.float64) + 0.5
    distance = (position - centre[:, None]).abs() / (max(step, 1.0) if antialias else 1.0)
    if interpolation == "bilinear":
        weight = (1 - distance).clamp(min=0)
    else:
        weight = cubic(distance, -0.5 if antialias else -0.75)
    if edge:
        inner = weight[:, edge:-edge].clone()
        inner[:, 0] += weight[:, :edge].sum(1)
        inner[:, -1] += weight[:, -edge:].sum(1)
        weight = inner
    return (weight / weight.sum(1, keepdim=True)).to(dtype)


def padded_places(places: Tensor, n: int, mode: str) -> Tensor:
    """Which of n pixels stand at ``places``, outside [0, n) too, as numpy.pad has it."""
    if mode == "edge" or n == 1:
        return places.clamp(0, n - 1)
    period = 2 * n - 2 if mode == "reflect" else 2 * n
    places = places % period
    return torch.where(places < n, places, period - (mode == "symmetric") - places)


def channel_values(fill: float | tuple[float, ...], x: Tensor) -> Tensor:
    """(C, 1, 1) of a number a channel, or (1, 1, 1)."""
    return torch.tensor(fill, dtype=x.dtype).reshape(-1, 1, 1)


def resample(x: Tensor, columns: Sequence[float], size: tuple[int, int], settings: Settings) -> Tensor:
    """The box of an image (C, H, W), resized, and the part of that which the view shows."""
    top, left, height, width, *target, offset_top, offset_left, hflip, vflip = (int(value) for value in columns)
    box = x[:, top : top + height, left : left + width]
    down, across = (
        resize_matrix(source, goal, x.dtype, settings.interpolation, settings.antialias)
        for source, goal in zip((height, width), target, strict=True)
    )
    whole = down @ box @ across.T
    view = channel_values(settings.fill, x).expand(len(x), *size).clone()
    rows = torch.arange(size[0]) + offset_top
    lines = torch.arange(size[1]) + offset_left
    if settings.padding_mode != "constant":
        rows, lines = (
            padded_places(places, goal, settings.padding_mode)
            for places, goal in zip((rows, lines), target, strict=True)
        )
    inside_rows, inside_lines = (rows >= 0) & (rows < target[0]), (lines >= 0) & (lines < target[1])
    if inside_rows.any() and inside_lines.any():
        part = whole[:, rows[inside_rows]][:, :, lines[inside_lines]]
        mask = inside_rows[:, None] & inside_lines
        view[:, mask] = part.flatten(1)
    if settings.interpolation == "bicubic":
        view = view.clamp(0, 1)
    return view.flip([axis for axis, flip in ((-1, hflip), (-2, vflip)) if flip])


# ---- neighbourhoods


def blur(x: Tensor, sigma: float, kernel_size: int | tuple[int, int]) -> Tensor:
    """A Gaussian that ends with the kernel; the border is reflected, as often as it takes."""
    width, height = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size

    def along(n: int, kernel: int) -> Tensor:
        offsets = torch.arange(-(kernel // 2), kernel // 2 + 1)
        weight = torch.exp(-0.5 * (offsets.to(x.dtype) / sigma) ** 2)
        period = max(1, 2 * n - 2)
        place = (torch.arange(n)[:, None] + offsets) % period
        place = torch.where(place < n, place, period - place)
        return torch.zeros(n, n, dtype=x.dtype).scatter_add(1, place, (weight / weight.sum()).expand(n, -1))

    return along(x.shape[1], height) @ x @ along(x.shape[2], width).T


def sharpness(x: Tensor, factor: float) -> Tensor:
    """Blended with its average over 3 x 3 pixels, the middle one five times; the frame stays."""
    if min(x.shape[1:]) <= 2:
        return x
    kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype)
    kernel[0, 0, 1, 1] = 5
    mean = torch.nn.functional.conv2d(x[:, None], kernel / 13)[:, 0]
    out = x.clone()
    out[:, 1:-1, 1:-1] = (x[:, 1:-1, 1:-1] * factor + (1 - factor) * mean).clamp(0, 1)
    return out


def affine(
    x: Tensor,
    angle: float,
    translate: tuple[float, float],
    scale: float,
    shear: tuple[float, float],
    corner: float,
    settings: Settings,
) -> Tensor:
    """torchvision's affine: rotation, scale and shear in degrees about the centre or the corner, then a translation."""
    height, width = x.shape[1:]
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    a, c = math.cos(turn - shear_y) / math.cos(shear_y), math.sin(turn - shear_y) / math.cos(shear_y)
    forward = scale * torch.tensor(
        [[a, -a * math.tan(shear_x) - math.sin(turn)], [c, math.cos(turn) - c * math.tan(shear_x)]], dtype=torch.float64
    )
    back = torch.linalg.inv(forward)
    centre = torch.tensor([-width / 2, -height / 2] if corner else [0, 0], dtype=torch.float64)
    moved = centre + torch.tensor(translate, dtype=torch.float64)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    target = torch.stack([x_, y], -1).double() - middle
    source = (target - moved) @ back.T + centre + middle
    fill = None if settings.affine_fill is None else channel_values(settings.affine_fill, x)
    return _take(x, source, settings.affine_interpolation, fill)


def _take(x: Tensor, source: Tensor, interpolation: str, fill: Tensor | None) -> Tensor:
    """Pixels of (C, H, W) at points (h, w, 2), (x, y) each: grid_sample's, then torchvision's blend with a fill."""

    def at(points: Tensor) -> tuple[Tensor, Tensor]:
        column, row = points.long().unbind(-1)
        inside = (column >= 0) & (column < x.shape[2]) & (row >= 0) & (row < x.shape[1])
        return x[:, row.clamp(0, x.shape[1] - 1), column.clamp(0, x.shape[2] - 1)] * inside, inside.to(x.dtype)

    if interpolation == "nearest":
        value, inside = at(source.round())
        return value if fill is None else (value - fill) * inside + fill
    corner = source.floor()
    share = (source - corner).to(x.dtype)
    value, inside = torch.zeros_like(at(corner)[0]), torch.zeros_like(share[..., 0])
    for right, down in itertools.product((0, 1), (0, 1)):
        weight = (share[..., 0] if right else 1 - share[..., 0]) * (share[..., 1] if down else 1 - share[..., 1])
        taken, exists = at(corner + torch.tensor([right, down]))
        value, inside = value + weight * taken, inside + weight * exists
    return value if fill is None else (value - fill) * inside + fill


# ---- views


def choice(x: Tensor, operation: str, m: float, settings: Settings) -> Tensor:
    """One operation of RandAugment's list with its magnitude."""
    still = (0.0, 0.0)
    match operation:
        case "shear_x":
            return affine(x, 0, still, 1, (math.degrees(math.atan(m)), 0), 1, settings)
        case "shear_y":
            return affine(x, 0, still, 1, (0, math.degrees(math.atan(m))), 1, settings)
        case "translate_x":
            return affine(x, 0, (m, 0), 1, still, 0, settings)
        case "translate_y":
            return affine(x, 0, (0, m), 1, still, 0, settings)
        case "rotate":
            return affine(x, -m, still, 1, still, 0, settings)
        case "brightness":
            return brightness(x, max(0, 1 + m))
        case "color":
            return saturation(x, max(0, 1 + m))
        case "contrast":
            return contrast(x, max(0, 1 + m))
        case "sharpness":
            return sharpness(x, max(0, 1 + m))
        case "posterize":
            return posterize(x, m)
        case "solarize":
            return solarize(x, m)
        case "autocontrast":
            return autocontrast(x)
        case "equalize":
            return equalize(x)
    return x


def step(x: Tensor, name: str, columns: Sequence[float], settings: Settings) -> Tensor:
    """One step after the resampling."""
    if name == "choice":
        return choice(x, CHOICES[int(columns[0])], columns[1], settings)
    applied, *values = columns
    if not applied:
        return x
    match name:
        case "jitter":
            for k in list(itertools.permutations(range(4)))[int(values[0])]:
                x = JITTER[k](x, values[1 + k])
        case "gray":
            x = gray(x).expand_as(x)
        case "solarize":
            x = solarize(x, *values)
        case "posterize":
            x = posterize(x, *values)
        case "invert":
            x = 1 - x
        case "autocontrast":
            x = autocontrast(x)
        case "equalize":
            x = equalize(x)
        case "sharpness":
            x = sharpness(x, *values)
        case "blur":
            x = blur(x, values[0], settings.kernel_size)
        case "affine":
            angle, move_x, move_y, scale, shear_x, shear_y, corner = values
            x = affine(x, angle, (move_x, move_y), scale, (shear_x, shear_y), corner, settings)
    return x


def view(
    image: Tensor,
    steps: Sequence[tuple[str, Sequence[float]]],
    size: tuple[int, int],
    settings: Settings = Settings(),  # noqa: B008
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """One image (C, H, W), uint8 or of floats in [0, 1], to its view (C, *size) in [0, 1].

    ``steps`` are names and columns, the first of the resampling.
    """
    x = image.to(dtype) / (255 if image.dtype == torch.uint8 else 1)
    x = resample(x, steps[0][1], size, settings)
    for name, columns in steps[1:]:
        x = step(x, name, columns, settings)
    return x
