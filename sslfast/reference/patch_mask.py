"""MAE random masking by definition (He et al., 2022, section 3; facebookresearch/mae, ``random_masking``)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from sslfast.reference.philox import philox_rows

PATCH_ORDER = 3


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    noise: Tensor | None = None,
    num_prefix_tokens: int = 0,
    order: str = "random",
    seed: int = 0,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.random_patch_mask`` with an int seed; the ratio is read as the decimal that it prints as."""
    keep = int(num_patches * (1 - Fraction(str(mask_ratio))))
    if noise is None:
        words = philox_rows(seed, PATCH_ORDER, batch_size, -(-num_patches // 4), row_offset, sample_ids)
        noise = words.flatten(1)[:, :num_patches]
    ids_shuffle = torch.argsort(noise, dim=1, stable=True)
    if order == "sorted":
        ids_shuffle = torch.cat([ids_shuffle[:, :keep].sort(1).values, ids_shuffle[:, keep:].sort(1).values], 1)
    prefix = torch.arange(num_prefix_tokens).expand(batch_size, num_prefix_tokens)
    ids_shuffle = torch.cat([prefix, num_prefix_tokens + ids_shuffle], 1)
    keep += num_prefix_tokens
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    return ids_shuffle[:, :keep], ids_restore, ids_restore >= keep


def mask_patches(x: Tensor, mask_ratio: float = 0.75, **draws: Any) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_patches`` with an int seed."""
    rows, length, width = x.shape
    patches = length - draws.get("num_prefix_tokens", 0)
    ids_keep, ids_restore, mask = random_patch_mask(rows, patches, mask_ratio, **draws)
    return torch.gather(x, 1, ids_keep[..., None].expand(-1, -1, width)), mask, ids_restore
