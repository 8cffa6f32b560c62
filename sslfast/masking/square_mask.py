"""Square masks of images: small squares around random patches are masked, or kept (data2vec 2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.masking.mask_indices import CountedMask, MaskOrCounted, counted
from sslfast.random import Generator, seed_tensor


@overload
def square_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    side: int = ...,
    adjust: float = ...,
    inverse: bool = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def square_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    side: int = ...,
    adjust: float = ...,
    inverse: bool = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedMask: ...


@overload
def square_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    side: int = ...,
    adjust: float = ...,
    inverse: bool = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


def square_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.8,
    *,
    side: int = 3,
    adjust: float = 0.0,
    inverse: bool = True,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Keeps small squares of patches around random places and masks the rest, as data2vec 2.0 does.

    Squares of ``side`` patches, cut off at the edges, lie around random patches, which may be drawn twice. There are
    ``H * W * (share + adjust) / side ** 2`` of them, rounded down, where ``share`` is what they shall cover: ``1 -
    mask_ratio``, or with ``inverse=False`` the ``mask_ratio``. Then patches are taken from them or added to them, every
    subset alike, until they are exactly ``H * W * share``, rounded down. In distribution this is fairseq's
    ``compute_block_mask_2d`` with ``require_same_masks``, which rounds after a float's error; ``mode="compat"`` does
    too. The draws depend on (seed, number of the row) alone. No host synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.8.
        side: patches along a side of a square, at least 1. Default: 3.
        adjust: share of the patches that squares are drawn for beyond what they shall cover, in [0, 1]. Default: 0.0.
        inverse: keep the squares; False masks them. Default: True.
        mode: ``"exact"``, or ``"compat"``, both numbers in floats as fairseq has them. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or a share is out of range, the ratio leaves no patch, there is no such mode, or the
            generator is on another GPU.

    Reference: Baevski et al., "Efficient Self-supervised Learning with Contextualized Target Representations for
    Vision, Speech and Language", ICML 2023; fairseq, ``compute_block_mask_2d``.
    """
    name = "square_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    height, width = _check.grid(name, "grid", grid, "(H, W)", _block_ranges.LONGEST_SIDE)
    side = _check.integer(name, "side", side, 1, 2**31)
    inverse = _check.boolean(name, "inverse", inverse)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    more = _check.probability(name, "adjust", adjust)
    squares, marked = _block_ranges.squares(name, height * width, mask_ratio, side, more, inverse, mode)
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    mask = ops.square_mask(
        like, seed, sample_ids, batch_size, height, width, squares, side, marked, inverse, row_offset
    )
    return counted(mask, return_counts, height * width - marked if inverse else marked)
