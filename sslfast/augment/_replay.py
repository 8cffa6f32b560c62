"""Parameters of views, replayed on masks, boxes and keypoints: the same geometry, no colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import ops
from sslfast._image_plan import Plan
from sslfast._image_steps import CHOICES, CODES, COLUMNS, Segment
from sslfast._moved_masks import mask_settings
from sslfast.augment._images import address_table

_MOVING = frozenset({"affine", "choice"})
_MOVING_CHOICES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


def columns_by_step(segment: Segment, params: Tensor) -> list[tuple[str, Tensor]]:
    """Name and (N, columns) of each step."""
    names = ["resample", *(step.name for step in segment.steps)]
    parts = params.split([len(COLUMNS[name]) for name in names], dim=-1)
    return list(zip(names, parts, strict=True))


def move_masks(name: str, plan: Plan, masks: list[Tensor], params: Tensor, fill: float) -> Tensor:
    """A batch (N, C, H, W), or N masks (C, H, W), of uint8 or float32 through the geometry, by the nearest pixel.

    ``fill`` is what lies outside, in [0, 1] for uint8.
    """
    start, channels = 0, masks[0].shape[-3]
    for segment in plan.segments:
        width = len(segment.columns)
        steps = columns_by_step(segment, params[:, start : start + width])
        start += width
        codes, kept = [CODES["resample"]], [steps[0][1]]
        moving_steps = [step.name in _MOVING for step in segment.steps]
        for step_name, values in (step for step, moves in zip(steps[1:], moving_steps, strict=True) if moves):
            if step_name == "choice":
                moving = _is_choice(values[:, 0], *_MOVING_CHOICES)
                values = torch.where(moving[:, None], values, torch.zeros_like(values))
            codes.append(CODES[step_name])
            kept.append(values)
        size = segment.view_size(name, [(mask.shape[-2], mask.shape[-1]) for mask in masks])
        moved = ops.image_augment(
            masks,
            torch.cat(kept, -1).unsqueeze(1).contiguous(),
            address_table(name, masks, "masks"),
            codes,
            mask_settings(segment, moving_steps, fill, channels),
            *size,
            [0.0] * channels,
            [1.0] * channels,
            masks[0].dtype,
            False,
        )[0]
        masks = [moved]
    return masks[0]


def matrices(name: str, plan: Plan, sizes: list[tuple[int, int]], params: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """float64 (N, 2, 3) from points (x, y) of images of ``sizes`` to points of their views, and the size of these.

    Points are in pixels from the top left corner of the top left pixel.
    """
    total = torch.eye(3, dtype=torch.float64, device=params.device).expand(len(params), 3, 3)
    start = 0
    for segment in plan.segments:
        count = len(segment.columns)
        view = segment.view_size(name, sizes)
        for step, values in columns_by_step(segment, params[:, start : start + count].double()):
            if step == "resample":
                total = _resample(values, view) @ total
            elif step in _MOVING:
                total = affine_matrices(_affine_columns(step, values), view) @ total
        start, sizes = start + count, [view]
    return total[:, :2], sizes[0]


def _is_choice(code: Tensor, *names: str) -> Tensor:
    return torch.stack([code == CHOICES.index(name) for name in names]).any(0)


def _resample(columns: Tensor, view: tuple[int, int]) -> Tensor:
    """(N, 3, 3) of box, resize, place and flips."""
    top, left, height, width, target_height, target_width, offset_top, offset_left, hflip, vflip = columns.unbind(-1)
    x, y = target_width / width, target_height / height
    move_x, move_y = -left * x - offset_left, -top * y - offset_top
    turn_x, turn_y = 1 - 2 * (hflip != 0).double(), 1 - 2 * (vflip != 0).double()
    move_x = turn_x * move_x + (1 - turn_x) / 2 * view[1]
    move_y = turn_y * move_y + (1 - turn_y) / 2 * view[0]
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [turn_x * x, zero, move_x, zero, turn_y * y, move_y, zero, zero, one]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _affine_columns(name: str, values: Tensor) -> Tensor:
    """(N, 8) as of an affine step, also of the operations of RandAugment that move pixels."""
    if name == "affine":
        return values
    code, magnitude = values.unbind(-1)
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)

    def of(operation: str, value: Tensor) -> Tensor:
        return torch.where(_is_choice(code, operation), value, zero)

    shear = torch.rad2deg(torch.atan(magnitude))
    corner = _is_choice(code, "shear_x", "shear_y").double()
    moves = [of("translate_x", magnitude), of("translate_y", magnitude)]
    return torch.stack(
        [one, of("rotate", -magnitude), *moves, one, of("shear_x", shear), of("shear_y", shear), corner], -1
    )


def affine_matrices(columns: Tensor, view: tuple[int, int]) -> Tensor:
    """(N, 3, 3) of rotation, scale and shear about a centre, then a translation; the identity where not applied."""
    applied, angle, move_x, move_y, scale, shear_x, shear_y, corner = columns.unbind(-1)
    turn, x, y = (value * (math.pi / 180) for value in (angle, shear_x, shear_y))
    a, c = torch.cos(turn - y) / torch.cos(y), torch.sin(turn - y) / torch.cos(y)
    b, d = -a * torch.tan(x) - torch.sin(turn), torch.cos(turn) - c * torch.tan(x)
    a, b, c, d = scale * a, scale * b, scale * c, scale * d
    centre_x, centre_y = (torch.where(corner != 0, 0.0, side / 2) for side in (view[1], view[0]))
    to_x = centre_x + move_x - a * centre_x - b * centre_y
    to_y = centre_y + move_y - c * centre_x - d * centre_y
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    matrix = torch.stack([a, b, to_x, c, d, to_y, zero, zero, one], -1).unflatten(-1, (3, 3))
    still = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return torch.where((applied != 0)[:, None, None], matrix, still)
