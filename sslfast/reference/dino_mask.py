"""Masks of a batch of global crops by definition (Oquab et al., 2024; facebookresearch/dinov2, ``data/collate.py``)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.block_mask import block_mask
from sslfast.reference.philox import philox, philox_rows

DINO_ORDER, DINO_RATIO = 57, 58


def dino_targets(
    batch_size: int,
    patches: int,
    mask_ratio_min_max: tuple[float, float],
    mask_probability: float,
    *,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
) -> Tensor:
    """int64 (N,): how many patches of each row shall be masked."""
    masked_rows = int(batch_size * mask_probability)
    low, high = mask_ratio_min_max
    words = philox(seed, DINO_ORDER, torch.tensor([[batch_number]]), torch.arange(-(-batch_size // 4))[None])
    order = torch.argsort(words.flatten()[:batch_size], stable=True)
    ratio_words = philox_rows(seed, DINO_RATIO, batch_size, 1, row_offset, sample_ids)
    targets = torch.zeros(batch_size, dtype=torch.int64)
    for place, row in enumerate(order[:masked_rows].tolist()):
        share = (place + int(ratio_words[row, 0, 0]) * 2.0**-32) / masked_rows
        targets[row] = int(patches * (low + (high - low) * share))
    return targets


def dino_masks(
    batch_size: int,
    grid: tuple[int, int],
    *,
    mask_ratio_min_max: tuple[float, float] = (0.1, 0.5),
    mask_probability: float = 0.5,
    upperbound: int,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
    **blocks: float | bool | None,
) -> tuple[Tensor, Tensor, Tensor, int, Tensor]:
    """``sslfast.masking.dino_masks`` with an int seed and the size of its lists; ``blocks`` as in ``block_mask``."""
    numbers = {"row_offset": row_offset, "sample_ids": sample_ids}
    targets = dino_targets(
        batch_size,
        grid[0] * grid[1],
        mask_ratio_min_max,
        mask_probability,
        seed=seed,
        batch_number=batch_number,
        **numbers,  # type: ignore[arg-type]
    )
    masks = block_mask(batch_size, grid, targets, seed=seed, **numbers, **blocks).flatten(1)  # type: ignore[arg-type]
    found = masks.flatten().nonzero().flatten()
    indices, weights = torch.full((upperbound,), -1), torch.zeros(upperbound)
    indices[: len(found)] = found
    weights[: len(found)] = 1 / masks.sum(1)[found // masks.shape[1]] if len(found) else found.float()
    return masks, indices, weights, upperbound, torch.tensor([len(found)])
