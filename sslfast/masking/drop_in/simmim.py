"""SimMIM's mask under its own name: microsoft/SimMIM, ``data/data_simmim.py``."""

from __future__ import annotations

import math
from typing import Any

import torch

from sslfast import _check, ops
from sslfast.random import STREAMS, seed_tensor

__all__ = ["MaskGenerator"]


class MaskGenerator:
    """``MaskGenerator`` of SimMIM: masks ``ceil(cells * mask_ratio)`` coarse squares of one image, with all draws from
    torch's global generator, not NumPy's. The product is rounded as in SimMIM, after a float's error.

    Args:
        input_size: side of an image in pixels. Default: 192.
        mask_patch_size: side of a square in pixels. Default: 32.
        model_patch_size: side of a patch in pixels. Default: 4.
        mask_ratio: share of the squares that is masked, in [0, 1]. Default: 0.6.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range, or patches do not tile squares or squares the image.
    """

    def __init__(
        self, input_size: int = 192, mask_patch_size: int = 32, model_patch_size: int = 4, mask_ratio: float = 0.6
    ) -> None:
        name = "MaskGenerator"
        self.input_size = _check.integer(name, "input_size", input_size, 1)
        self.mask_patch_size = _check.integer(name, "mask_patch_size", mask_patch_size, 1)
        self.model_patch_size = _check.integer(name, "model_patch_size", model_patch_size, 1)
        self.mask_ratio = _check.probability(name, "mask_ratio", mask_ratio)
        if input_size % mask_patch_size:
            raise ValueError(f"{name}: mask_patch_size must divide input_size {input_size}, got {mask_patch_size}")
        if mask_patch_size % model_patch_size:
            expected = f"must divide mask_patch_size {mask_patch_size}"
            raise ValueError(f"{name}: model_patch_size {expected}, got {model_patch_size}")
        self.rand_size = self.input_size // self.mask_patch_size
        self.scale = self.mask_patch_size // self.model_patch_size
        self.token_count = self.rand_size**2
        self.mask_count = math.ceil(self.token_count * self.mask_ratio)

    def __call__(self) -> Any:
        """A NumPy array, int64 (P, P) with ``P = input_size // model_patch_size``, 1 where a patch is masked."""
        side, stream = self.rand_size * self.scale, STREAMS["grid_cells"]
        sizes = (1, side, side, 1, self.scale, self.scale, self.mask_count)
        mask = ops.cell_mask(torch.empty(()), seed_tensor(), None, stream, 1, *sizes, 0)
        return mask[0, 0].long().numpy()
