"""VideoMAE's mask under its own name: MCG-NJU/VideoMAE, ``masking_generator.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sslfast import _check, ops
from sslfast.random import STREAMS, seed_tensor

__all__ = ["TubeMaskingGenerator"]


class TubeMaskingGenerator:
    """``TubeMaskingGenerator`` of VideoMAE: masks ``int(mask_ratio * H * W)`` places in all frames of one video, with
    all draws from torch's global generator, not NumPy's. The product is rounded as in VideoMAE, after a float's error.

    Args:
        input_size: patches along time, height and width, (T, H, W).
        mask_ratio: share of the places that is masked, in [0, 1].

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(self, input_size: Sequence[int], mask_ratio: float) -> None:
        name = "TubeMaskingGenerator"
        self.frames, self.height, self.width = _check.grid(name, "input_size", input_size, "(T, H, W)")
        self.num_patches_per_frame = self.height * self.width
        self.total_patches = self.frames * self.num_patches_per_frame
        self.num_masks_per_frame = int(_check.probability(name, "mask_ratio", mask_ratio) * self.num_patches_per_frame)
        self.total_masks = self.frames * self.num_masks_per_frame

    def __repr__(self) -> str:
        return f"TubeMaskingGenerator({self.total_masks} of {self.total_patches} patches are masked)"

    def __call__(self) -> Any:
        """A NumPy array, float64 (T * H * W,), 1 where a patch is masked."""
        grid, cell = (self.frames, self.height, self.width), (self.frames, 1, 1)
        stream = STREAMS["tube_cells"]
        mask = ops.cell_mask(torch.empty(()), seed_tensor(), None, stream, 1, *grid, *cell, self.num_masks_per_frame, 0)
        return mask.flatten().double().numpy()
