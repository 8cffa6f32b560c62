"""MAE's decoder input by definition (facebookresearch/mae, ``forward_decoder``)."""

from __future__ import annotations

import torch
from torch import Tensor


def unshuffle_patches(
    tokens: Tensor,
    mask_token: Tensor,
    ids_restore: Tensor,
    positions: Tensor | None = None,
    *,
    num_prefix_tokens: int = 0,
) -> Tensor:
    """``sslfast.masking.unshuffle_patches``."""
    rows, patches, width = *ids_restore.shape, tokens.shape[2]
    prefix, kept = tokens[:, :num_prefix_tokens], tokens[:, num_prefix_tokens:]
    masked = mask_token.reshape(1, 1, width).expand(rows, patches - kept.shape[1], width)
    shuffled = torch.cat([kept, masked], dim=1)
    restored = torch.gather(shuffled, 1, ids_restore[..., None].expand(-1, -1, width))
    x = torch.cat([prefix, restored], dim=1)
    return x if positions is None else x + positions
