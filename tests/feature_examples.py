"""Predictions and a teacher's layers, for tests of masked_feature_loss."""

from __future__ import annotations

import torch


def make(samples: int = 3, length: int = 7, width: int = 20, layers: int = 1, dtype: torch.dtype = torch.float32):
    """Predictions, layers of a teacher far from 0, and a mask."""
    pred = torch.randn(samples, length, width, dtype=torch.float64).to(dtype)
    teacher = [(3.0 + torch.randn(samples, length, width, dtype=torch.float64)).to(dtype) for _ in range(layers)]
    mask = torch.rand(samples, length) < 0.5
    mask[0, 0] = True
    mask[-1, -1] = samples * length == 1
    return pred, teacher, mask
