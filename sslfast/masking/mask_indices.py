"""The compact form of a mask."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from sslfast import ops
from sslfast.masking._arguments import strided


class MaskIndices(NamedTuple):
    """Where a mask is True, in a size that does not depend on how often it is.

    Attributes:
        indices: int64 (N * L,), the flat positions in ascending order, then -1.
        counts: int64 (N,), how many of each row.
    """

    indices: Tensor
    counts: Tensor


class CountedMask(NamedTuple):
    """A mask and its compact form: what rules that make a mask give with ``return_counts``.

    Attributes:
        mask: bool (N, ...), True where masked.
        indices: int64 (N * n,), the flat positions in ascending order, then -1; n is the most that a row may mask.
        counts: int64 (N,), how many of each row.
    """

    mask: Tensor
    indices: Tensor
    counts: Tensor


# What a rule's body gives: a mask, or with return_counts a CountedMask. Its overloads say which of the two.
MaskOrCounted: TypeAlias = Tensor | Any


def counted(mask: Tensor, return_counts: bool, most: int | None = None) -> MaskOrCounted:
    """The mask, and where ``return_counts`` its compact form for rows that mask at most ``most`` places."""
    return CountedMask(mask, *compact(mask, most)) if return_counts else mask


def compact(mask: Tensor, most: int | None = None) -> MaskIndices:
    """:func:`mask_indices` of rows that mask at most ``most`` places, in as much memory as these need."""
    indices, counts = mask_indices(mask)
    return MaskIndices(indices if most is None else indices[: len(mask) * most], counts)


def compact_graphs(mask: Tensor, ptr: Tensor | None) -> MaskIndices:
    """The compact form of a bool (N,) over the nodes or edges of graphs: its counts are those of the graphs.

    Where ``ptr`` is wrong, which nobody has looked at on a GPU, the counts are too.
    """
    indices, total = mask_indices(mask[None])
    if ptr is None:
        return MaskIndices(indices, total)
    before = torch.nn.functional.pad(mask.cumsum(0), (1, 0))  # of each place, how many there are
    return MaskIndices(indices, before[ptr.clamp(0, len(mask))].diff())


def short_form(indices: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """What collators add to a batch, which is on the CPU: the positions alone, for nobody waits for their number."""
    return {"masked_indices": indices[: int(counts.sum())], "masked_counts": counts}


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
    strided("mask_indices", "mask", mask)
    if mask.dim() < 1:
        raise ValueError(f"mask_indices: mask must have shape (N, ...), got {tuple(mask.shape)}")
    rows = mask if mask.dim() == 2 else mask[:, None] if mask.dim() == 1 else mask.flatten(1)
    return MaskIndices(*ops.mask_indices(rows))
