"""Block masks by definition (Bao et al., 2022, algorithm 1), and their inverse (Darcet et al., 2025)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast.reference.cell_mask import random_subset
from sslfast.reference.image_augment_params import exponential
from sslfast.reference.philox import philox_rows

BLOCK, BLOCK_REST, BLOCK_SHIFT, INVERSE_BLOCK, BLOCK_TARGET = 53, 54, 55, 56, 62


def uniform(word: Tensor, low: float, high: float) -> float:
    return low + (high - low) * (int(word) * 2.0**-32)


def below(word: Tensor, n: int) -> int:
    return int(word) * n >> 32


def aspect_of(word: Tensor, low: float, high: float) -> float:
    """Log-uniform between exp(low) and exp(high)."""
    return float(exponential(torch.tensor(uniform(word, low, high), dtype=torch.float64)))


def _row(
    words: Tensor,
    rest: Tensor,
    grid: tuple[int, int],
    target: float,
    min_patches: float,
    max_patches: float,
    log_aspect: tuple[float, float],
    exact: bool,
    tries: int,
) -> Tensor:
    height, width = grid
    mask = torch.zeros(height, width, dtype=torch.bool)
    attempt = 0
    while target - (masked := int(mask.sum())) >= 1:  # a part of a patch is never masked
        most = min(target - masked, max_patches)
        added = False
        for _ in range(tries):
            area_word, aspect_word, top_word, left_word = words[attempt]
            attempt += 1
            area, aspect = uniform(area_word, min_patches, most), aspect_of(aspect_word, *log_aspect)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < 1 or w < 1 or h > height - (not exact) or w > width - (not exact):
                continue
            top, left = below(top_word, height - h + 1), below(left_word, width - w + 1)
            block = mask[top : top + h, left : left + w]
            if 0 < int((~block).sum()) <= most:
                block[:] = True
                added = True
                break
        if not added:
            break
    if exact and masked < target:
        mask |= random_subset(rest, ~mask.flatten(), int(target) - masked).view(height, width)
    return mask


def block_mask(
    batch_size: int,
    grid: tuple[int, int],
    num_masked: int | tuple[float, float] | Tensor,
    *,
    mask_probability: float = 1.0,
    min_patches: float = 4,
    max_patches: float | None = None,
    min_aspect: float = 0.3,
    max_aspect: float | None = None,
    shift: bool = False,
    exact: bool = True,
    tries: int = 10,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.block_mask`` with an int seed, and a number of tries for one block."""
    patches = grid[0] * grid[1]
    chosen, number, *_ = philox_rows(seed, BLOCK_TARGET, batch_size, 1, row_offset, sample_ids)[:, 0].unbind(1)
    if isinstance(num_masked, tuple):
        low, high = num_masked
        whole = number * int(high - low + 1) >> 32
        num_masked = low + (whole if exact else (high - low) * (number.double() / 2**32))
    wanted = torch.as_tensor(num_masked, dtype=torch.float64).expand(batch_size).clamp(0, patches)
    targets = torch.where(chosen < int(mask_probability * 2**32 + 0.5), wanted, 0).tolist()
    words = philox_rows(seed, BLOCK, batch_size, tries * (int(max(targets, default=0)) + 1), row_offset, sample_ids)
    rest = philox_rows(seed, BLOCK_REST, batch_size, -(-patches // 4), row_offset, sample_ids)
    turns = philox_rows(seed, BLOCK_SHIFT, batch_size, 1, row_offset, sample_ids)
    log_aspect = math.log(min_aspect), math.log(max_aspect if max_aspect is not None else 1 / min_aspect)
    most = float(patches if max_patches is None else max_patches)
    masks = torch.zeros(batch_size, *grid, dtype=torch.bool)
    for row, target in enumerate(targets):
        mask = _row(words[row], rest[row], grid, target, float(min_patches), most, log_aspect, exact, tries)
        if shift:
            mask = mask.roll((below(turns[row, 0, 0], grid[0]), below(turns[row, 0, 1], grid[1])), (0, 1))
        masks[row] = mask
    return masks


def inverse_block_mask(
    batch_size: int,
    grid: tuple[int, int],
    visible: int,
    *,
    log_aspect: tuple[float, float],
    shift: bool = False,
    exact: bool = True,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.inverse_block_mask`` with an int seed, a number of visible patches and the aspects that fit."""
    height, width = grid
    words = philox_rows(seed, INVERSE_BLOCK, batch_size, 2, row_offset, sample_ids)
    masks = torch.ones(batch_size, height, width, dtype=torch.bool)
    for row in range(batch_size):
        aspect_word, top_word, left_word, ends_word = words[row, 0]
        aspect = aspect_of(aspect_word, *log_aspect)
        h = min(height, math.ceil(math.sqrt(visible * aspect)))
        w = min(width, math.ceil(math.sqrt(visible / aspect)))
        while h * w < visible:  # rounding alone
            h, w = (h, w + 1) if w < width else (h + 1, w)
        top, left = below(top_word, height - h + 1), below(left_word, width - w + 1)
        block = (torch.arange(h * w) >= visible).view(h, w)
        if exact:
            axes = [axis for axis in (0, 1) if int(ends_word) >> (31 - axis) & 1]
            block = block.flip(axes)
        masks[row, top : top + h, left : left + w] = block
        if shift:
            turn = words[row, 1]
            masks[row] = masks[row].roll((below(turn[0], height), below(turn[1], width)), (0, 1))
    return masks
