"""The compact form of a mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops


class MaskIndices(NamedTuple):
    """Where a mask is True, in a size that does not depend on how often it is.

    Attributes:
        indices: int64 (N * L,), the flat positions in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    indices: Tensor
    counts: Tensor


def mask_indices(mask: Tensor) -> MaskIndices:
    """The positions that are True, as ``mask.flatten().nonzero()``, without waiting for a GPU.

    Losses that take positions need neither ``nonzero`` nor a dynamic shape then: the result has a fixed size, filled up
    with -1, and the numbers stay on the device.

    Args:
        mask: bool, shape (N, ...), any strides; what follows N counts as one row of L positions.

    Returns:
        ``MaskIndices(indices, counts)``. ``indices[: counts.sum()]`` is the short form.

    Raises:
        TypeError: ``mask`` is not a bool tensor.
        ValueError: ``mask`` has no dimension.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask_indices: mask must be a bool tensor, got {got}")
    if mask.dim() < 1:
        raise ValueError(f"mask_indices: mask must have shape (N, ...), got {tuple(mask.shape)}")
    rows = mask if mask.dim() == 2 else mask[:, None] if mask.dim() == 1 else mask.flatten(1)
    return MaskIndices(*ops.mask_indices(rows))
