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
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.random_patch_mask`` with an int seed; the ratio is read as the decimal that it prints as."""
    keep = int(num_patches * (1 - Fraction(str(mask_ratio))))
    words = philox_rows(seed, PATCH_ORDER, batch_size, -(-num_patches // 4), row_offset, sample_ids)
    keys = words.flatten(1)[:, :num_patches]
    ids_shuffle = torch.argsort(keys, dim=1, stable=True)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    return ids_shuffle[:, :keep], ids_restore, ids_restore >= keep


def mask_patches(
    x: Tensor, mask_ratio: float = 0.75, *, seed: int, row_offset: int = 0, sample_ids: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``sslfast.masking.mask_patches`` with an int seed."""
    rows, patches, width = x.shape
    draws: dict[str, Any] = {"seed": seed, "row_offset": row_offset, "sample_ids": sample_ids}
    ids_keep, ids_restore, mask = random_patch_mask(rows, patches, mask_ratio, **draws)
    return torch.gather(x, 1, ids_keep[..., None].expand(-1, -1, width)), mask, ids_restore
