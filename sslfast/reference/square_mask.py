"""Square masks by definition (Baevski et al., 2023; fairseq, ``compute_block_mask_2d``)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.block_mask import below
from sslfast.reference.cell_mask import random_subset
from sslfast.reference.philox import philox_rows

SQUARE, SQUARE_REST = 63, 64


def square_mask(
    batch_size: int,
    grid: tuple[int, int],
    squares: int,
    side: int,
    marked: int,
    *,
    inverse: bool = True,
    seed: int,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """``sslfast.masking.square_mask`` with an int seed, and numbers of squares and of patches that they cover."""
    height, width = grid
    patches = height * width
    centres = philox_rows(seed, SQUARE, batch_size, squares, row_offset, sample_ids)
    rest = philox_rows(seed, SQUARE_REST, batch_size, -(-patches // 4), row_offset, sample_ids)
    masks = torch.zeros(batch_size, height, width, dtype=torch.bool)
    for row, mask in enumerate(masks):
        for centre in centres[row]:
            top, left = below(centre[0], height) - side // 2, below(centre[1], width) - side // 2
            mask[max(top, 0) : top + side, max(left, 0) : left + side] = True
        flat = mask.view(-1)
        covered = int(flat.sum())
        if covered > marked:
            flat &= ~random_subset(rest[row], flat, covered - marked)
        else:
            flat |= random_subset(rest[row], ~flat, marked - covered)
    return ~masks if inverse else masks
