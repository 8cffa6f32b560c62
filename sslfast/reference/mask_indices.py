"""The positions of a boolean mask, in the fixed size that needs no synchronisation."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_indices(mask: Tensor) -> tuple[Tensor, Tensor]:
    """``sslfast.masking.mask_indices``."""
    indices = torch.full((mask.numel(),), -1)
    found = mask.flatten().nonzero().flatten()
    indices[: len(found)] = found
    return indices, mask.sum(1)
