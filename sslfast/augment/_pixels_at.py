"""Pixels of planes at points between them, in plain torch, by the arithmetic of the kernels' affine maps."""

from __future__ import annotations

import torch
from torch import Tensor


def pixels_at(x: Tensor, column: Tensor, row: Tensor, bilinear: bool) -> tuple[Tensor, Tensor]:
    """(N, C, P) of (N, C, H, W) at float64 points (N, P), zero outside; and which share, (N, 1, P), lay inside.

    ``grid_sample`` has places in the type of the pixels: those of float32 are 1e-4 of a pixel off in an image of 1024.
    """
    height, width = x.shape[2:]
    pixels = x.flatten(2)

    def at(column: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
        index = torch.where(inside, row * width + column, 0).long()[:, None].expand(-1, x.shape[1], -1)
        return torch.where(inside[:, None], pixels.gather(2, index), 0), inside[:, None].to(x.dtype)

    if not bilinear:
        return at(column.round(), row.round())
    left, top = column.floor(), row.floor()
    right_share, bottom_share = (column - left).to(x.dtype)[:, None], (row - top).to(x.dtype)[:, None]
    found, share = torch.zeros_like(pixels[:, :, :1]), torch.zeros_like(pixels[:, :1, :1])
    for right, bottom in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = (right_share if right else 1 - right_share) * (bottom_share if bottom else 1 - bottom_share)
        taken, inside = at(left + right, top + bottom)
        found, share = found + weight * taken, share + weight * inside
    return found, share
