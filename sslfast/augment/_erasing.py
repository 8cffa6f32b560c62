"""Boxes erased in views: the last thing that a list of transforms does."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _batch_rules, ops
from sslfast._image_plan import Plan
from sslfast._image_steps import ERASE_COLUMNS, MOST_ERASED
from sslfast.augment.random_erase import erase_boxes


def erase_rules(plan: Plan) -> list[float]:
    """What ``ops.image_augment_params`` takes of the boxes."""
    return [number for p, scale, ratio, _, _ in plan.erases for number in (p, *scale, *ratio)]


def erase_settings(name: str, plan: Plan, channels: int, dtype: torch.dtype) -> list[float]:
    """What ``ops.image_augment`` takes to erase boxes as it writes; empty where these are more than it takes."""
    numbers: list[float] = []
    for _, _, _, values, noise in plan.erases:
        _batch_rules.erase_values(name, values, channels)
        if dtype == torch.uint8:
            _batch_rules.check_byte_values(name, values, noise)
        numbers += [float(noise), len(values), *values]
    return numbers if len(numbers) - 2 * len(plan.erases) <= MOST_ERASED else []


def erase_views(name: str, plan: Plan, views: Tensor, params: Tensor) -> Tensor:
    """Views (V, N, C, h, w) with the boxes of (N, V, 6 boxes) erased, where they lie unless they want a gradient."""
    for number, (_, _, _, values, noise) in enumerate(plan.erases):
        _batch_rules.erase_values(name, values, views.shape[2])
        if views.dtype == torch.uint8:
            _batch_rules.check_byte_values(name, values, noise)
        first = number * len(ERASE_COLUMNS)
        part = params[..., first : first + len(ERASE_COLUMNS)].transpose(0, 1).reshape(-1, len(ERASE_COLUMNS))
        part = part.contiguous()
        if torch.is_grad_enabled() and views.requires_grad:
            views = erase_boxes(views[0], part, "random" if noise else values).unsqueeze(0)
        else:
            ops.erase_boxes_(views.flatten(0, 1), part, list(values), noise)
    return views
