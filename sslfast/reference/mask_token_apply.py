"""Mask tokens in the place of masked tokens (BEiT, SimMIM, iBOT, VideoMAE), by definition."""

from __future__ import annotations

import torch
from torch import Tensor


def apply_mask_token(x: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """``sslfast.masking.apply_mask_token``."""
    return torch.where(mask[..., None], mask_token.reshape(-1).to(x.dtype), x)
