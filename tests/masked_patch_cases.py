"""Predictions, images and masks for the tests of masked_patch_loss."""

from __future__ import annotations

import math

import torch


# Shape of the images, patch, order of pixels.
def make(shape, patch, dtype=torch.float32, ratio=0.6):
    """Predictions, images and a mask with at least one patch masked and, of several, one not."""
    images = torch.randn(shape, dtype=torch.float64).to(dtype)
    patches = math.prod(side // size for side, size in zip(shape[2:], patch, strict=True))
    pred = torch.randn(shape[0], patches, shape[1] * math.prod(patch), dtype=torch.float64).to(dtype)
    mask = torch.rand(shape[0], patches) < ratio
    mask[0, 0] = True
    if mask.numel() > 1:
        mask[-1, -1] = False
    return pred, images, mask
