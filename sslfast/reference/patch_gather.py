"""Patches at given places (I-JEPA's ``apply_masks``), by definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gather_patches(x: Tensor, ids: Tensor | Sequence[Tensor]) -> Tensor:
    """``sslfast.masking.gather_patches``; torch adds up the gradients of a place that stands in ``ids`` repeatedly."""
    masks = [ids] if isinstance(ids, Tensor) else ids
    found = torch.cat([torch.gather(x, 1, each.clamp(min=0)[..., None].expand(-1, -1, x.shape[2])) for each in masks])
    return found.masked_fill(torch.cat(list(masks))[..., None] < 0, 0)
