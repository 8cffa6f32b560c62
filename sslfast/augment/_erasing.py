"""Boxes erased in views: the last thing that a list of transforms does."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _batch_rules, ops
from sslfast._image_plan import Plan
from sslfast._image_steps import ERASE_COLUMNS, MOST_ERASES
from sslfast.augment.random_erase import erase_boxes
from sslfast.random import step_seed


def sample_erases(
    plan: Plan,
    seed: Tensor,
    sample_ids: Tensor | None,
    row_offset: int,
    counts: tuple[int, int, int],
    size: tuple[int, int],
    device: torch.device,
) -> list[Tensor]:
    """(N, V, 6) for each box; ``counts`` are rows, views and the first view. Each box of each view has a seed."""
    rows, views, first_view = counts
    like = torch.empty((), device=device)
    drawn = []
    for number, (p, scale, ratio, _, _) in enumerate(plan.erases):
        each = []
        for view in range(first_view, first_view + views):
            own = step_seed(seed, view * MOST_ERASES + number)
            each.append(
                ops.random_erase_params(like, own, sample_ids, rows, *size, p, list(scale), list(ratio), row_offset)
            )
        drawn.append(torch.stack(each, 1))
    return drawn


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
