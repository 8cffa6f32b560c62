"""Gradients of views: the operator's on the CPU; on a GPU the same steps in plain torch, differentiated there.

csrc/shared/image_augment_*.h has the formulae of the views, csrc/cpu/image_augment_backward.cpp those of the gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from math import nan
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only
from sslfast._image_steps import CODES, COLUMNS, FLAT_RANGE, INTERPOLATIONS, NO_FILL, SOLARIZE_SLACK, Segment
from sslfast.augment._pixels_at import pixels_at
from sslfast.augment._replay import affine_matrices
from sslfast.augment._resample import clipped, filled, resample

_GRAY = (0.2989, 0.587, 0.114)
_NAMES = {code: name for name, code in CODES.items()}


class DifferentiableViews(torch.autograd.Function):
    """``ops.image_augment`` of float images, one view each, with a gradient for the images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, params: Tensor, segment: Segment, size: tuple[int, int], form: Any) -> Tensor:
        mean, std, dtype, last = form
        ctx.save_for_backward(images, params)
        ctx.codes, ctx.settings, ctx.std = segment.codes, segment.settings, std
        return ops.image_augment([images], params, None, ctx.codes, ctx.settings, *size, mean, std, dtype, last)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, params = ctx.saved_tensors
        with torch.no_grad():
            dense = grad.float().contiguous()
            found = ops.image_augment_backward(dense, images.detach(), params, ctx.codes, ctx.settings, ctx.std)
        return first_order_only("views", found, images, grad), None, None, None, None


def gradient_in_torch(
    grad: Tensor, images: Tensor, params: Tensor, codes: list[int], settings: list[float], std: list[float]
) -> Tensor:
    """``ops.image_augment_backward`` in plain torch, batched: what a GPU runs."""
    with torch.enable_grad():
        leaf = images.detach().float().requires_grad_()
        view = _view(leaf, params[:, 0], codes, settings, (grad.shape[2], grad.shape[3]))
        scaled = torch.stack([one / value for one, value in zip(grad.unbind(1), std, strict=True)], 1)
        (found,) = torch.autograd.grad(view, leaf, scaled)
    return found.to(images.dtype).contiguous()


ops.triton_library.impl("image_augment_backward", gradient_in_torch)


def _view(x: Tensor, params: Tensor, codes: list[int], settings: list[float], size: tuple[int, int]) -> Tensor:
    """Views (N, C, *size) in [0, 1] of float32 images (N, C, H, W)."""
    names = [_NAMES[code] for code in codes]
    columns, *steps = params.split([len(COLUMNS[name]) for name in names], dim=-1)
    interpolation, antialias, fill = settings[:3]
    lists = settings[3 * len(codes) :]
    x = resample(x, columns, size, INTERPOLATIONS[int(interpolation)], bool(antialias), fill, lists)
    for number, (name, values) in enumerate(zip(names[1:], steps, strict=True), 1):
        applied = values[:, 0] != 0
        done = _STEPS[name](x, values, (*settings[3 * number : 3 * number + 3], *lists))
        x = torch.where(applied[:, None, None, None], done, x)
    return x


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, 1)
    return _GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return (factor * x + (1 - factor) * _gray(x).mean((2, 3), keepdim=True)).clamp(0, 1)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return x if x.shape[1] == 1 else (factor * x + (1 - factor) * _gray(x)).clamp(0, 1)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)
    high, low = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sextant = torch.where(high == r, (g - b) / safe, torch.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sextant = (sextant + 6 * shift[:, 0]) % 6
    red = (sextant - 3).abs() - 1
    green, blue = 2 - (sextant - 2).abs(), 2 - (sextant - 4).abs()
    return low[:, None] + chroma[:, None] * torch.stack([red, green, blue], 1).clamp(0, 1)


@cache
def _orders(device: torch.device) -> Tensor:
    """The 24 orders of four. Copied to a GPU once: a copy waits for it, and a graph cannot record one."""
    return torch.tensor(list(itertools.permutations(range(4))), device=device)


_MOST = 1e6  # of a factor
_JITTER: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_brightness, _contrast, _saturation, _hue)


def _jitter(x: Tensor, values: Tensor, settings: tuple[float, ...]) -> Tensor:
    if settings[0]:  # contrast is never drawn: a row that has it anyway is NaN
        refused = (values[:, 0] != 0) & (values[:, 3] != 1)  # not where it does not act: 0 * NaN would come back
        x = x * torch.where(refused, nan, 1.0).to(x.dtype)[:, None, None, None]
    order = _orders(x.device)[clipped(values[:, 1], 0, 23).long()]
    factors, shift = clipped(values[:, 2:5], 0, _MOST), clipped(values[:, 5:], -0.5, 0.5)
    strengths = torch.cat([factors, shift], 1)[..., None, None, None]
    for place in range(4):
        done = x
        for k, operation in enumerate(_JITTER):
            chosen = (order[:, place] == k)[:, None, None, None]
            done = torch.where(chosen, operation(x, strengths[:, k]), done)
        x = done
    return x


def _solarize(x: Tensor, values: Tensor, _: object) -> Tensor:
    return torch.where(x >= values[:, 1, None, None, None] - SOLARIZE_SLACK, 1 - x, x)


def _autocontrast(x: Tensor, *_: object) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    wide = high - low >= FLAT_RANGE
    spread = torch.where(wide, high - low, torch.ones_like(low))
    return torch.where(wide, (x - low) / spread, x).clamp(0, 1)


def _sharpness(x: Tensor, values: Tensor, _: object) -> Tensor:
    if min(x.shape[2:]) <= 2:
        return x
    kernel = torch.full((1, 1, 3, 3), 1 / 13, dtype=x.dtype, device=x.device)
    kernel[0, 0, 1, 1] = 5 / 13
    mean = F.conv2d(x.flatten(0, 1)[:, None], kernel).unflatten(0, x.shape[:2])[:, :, 0]
    factor, middle = clipped(values[:, 1, None, None, None], 0, _MOST), x[:, :, 1:-1, 1:-1]
    return F.pad((middle * factor + (1 - factor) * mean).clamp(0, 1) - middle, (1, 1, 1, 1)) + x


def _blur(x: Tensor, values: Tensor, settings: tuple[float, ...]) -> Tensor:
    sigma = clipped(values[:, 1, None], 1e-6, float("inf"))

    def along(n: int, kernel: float) -> Tensor:
        half = int(kernel) // 2
        offsets = torch.arange(-half, half + 1, device=x.device)
        weight = torch.exp(-0.5 * (offsets / sigma) ** 2)
        weight = weight / weight.sum(1, keepdim=True)
        period = max(1, 2 * n - 2)
        place = (torch.arange(n, device=x.device)[:, None] + offsets) % period
        place = torch.where(place < n, place, period - place)
        zero = torch.zeros(len(x), n, n, device=x.device)
        return zero.scatter_add(2, place.expand(len(x), n, -1), weight[:, None].expand(-1, n, -1))[:, None]

    return along(x.shape[2], settings[1]) @ x @ along(x.shape[3], settings[0]).mT


def _inverse(values: Tensor, view: tuple[int, int]) -> Tensor:
    """(N, 2, 3) from points of a view to where they come from. In full: ``torch.linalg.inv`` waits for the GPU."""
    values = torch.cat([values[:, :4], clipped(values[:, 4:5], 1e-6, float("inf")), values[:, 5:]], 1)
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in affine_matrices(values, view)[:, :2].unbind(1))
    rows = [d, -b, b * y - d * x, -c, a, c * x - a * y]
    return (torch.stack(rows, -1) / (a * d - b * c)[:, None]).unflatten(-1, (2, 3))


def _affine(x: Tensor, values: Tensor, settings: tuple[float, ...]) -> Tensor:
    height, width = x.shape[2:]
    back = _inverse(values.double(), (height, width))
    across, down = (torch.arange(n, dtype=torch.float64, device=x.device) + 0.5 for n in (width, height))
    place = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).flatten(0, 1)
    column, row = (place @ back[:, :, :2].mT + back[:, None, :, 2] - 0.5).unbind(-1)
    bilinear = settings[0] == INTERPOLATIONS.index("bilinear")
    found, inside = (one.unflatten(2, (height, width)) for one in pixels_at(x, column, row, bilinear))
    if settings[1] == NO_FILL:
        return found
    fill = filled(x, settings[1], settings[3:])
    return (found - fill) * inside + fill


_STEPS: dict[str, Callable[[Tensor, Tensor, tuple[float, ...]], Tensor]] = {
    "jitter": _jitter,
    "gray": lambda x, values, settings: _gray(x).expand_as(x),
    "solarize": _solarize,
    "invert": lambda x, values, settings: 1 - x,
    "autocontrast": _autocontrast,
    "sharpness": _sharpness,
    "blur": _blur,
    "affine": _affine,
}
