"""DINOv2's masks of a batch of global crops, with what its iBOT loss takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import Generator, seed_tensor


class DinoMasks(NamedTuple):
    """The masks of a batch, in the terms of DINOv2's collator.

    Attributes:
        masks: bool (N, L), True where the patch is masked.
        mask_indices_list: int64 (upperbound,), the masked positions of ``masks.flatten()`` in ascending order, then -1.
        masks_weight: float32 (upperbound,), 1 / the number of masked patches of the position's row, then 0.
        upperbound: how many positions there are at most.
        n_masked: int64 (1,), how many there are.
    """

    masks: Tensor
    mask_indices_list: Tensor
    masks_weight: Tensor
    upperbound: int
    n_masked: Tensor


def dino_masks(
    batch_size: int,
    grid: Sequence[int],
    *,
    mask_ratio_min_max: Sequence[float] = (0.1, 0.5),
    mask_probability: float = 0.5,
    min_patches: float = 4,
    max_patches: float | None = None,
    min_aspect: float = 0.3,
    max_aspect: float | None = None,
    shift: bool = False,
    mode: str = "exact",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    batch_number: int = 0,
    device: torch.device | str | None = None,
) -> DinoMasks:
    """Masks blocks in part of a batch's images, each in another share: DINOv2's rule for iBOT.

    ``int(N * mask_probability)`` rows are masked. Their ratios are stratified: of so many equal bins of
    ``mask_ratio_min_max`` each is the share of one row, uniform within the bin, and bins go to rows in a random order.
    A row with ratio r has ``int(H * W * r)`` patches masked by :func:`block_mask`.

    This is a rule over a batch. A row's blocks, and its place within its bin, depend on (seed, number of the row)
    alone; which rows are masked and which bin is whose depends on (seed, ``batch_number``, place in the batch, N): it
    differs between batches where the seed or ``batch_number`` does, and between the ranks of a run where one of these
    does. The lists have a fixed size, so nothing waits for a GPU: where DINOv2's lists end, ``mask_indices_list`` goes
    on with -1 and ``masks_weight`` with 0.

    Args:
        batch_size: number of rows N, at least 0: images times global crops.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio_min_max: least and largest share of masked patches, in [0, 1], in mode "exact" not both 1.
            Default: (0.1, 0.5).
        mask_probability: share of the rows that is masked. Default: 0.5.
        min_patches, max_patches, min_aspect, max_aspect, shift: of the blocks, as in :func:`block_mask`.
        mode: "exact": a row's number of masked patches is exactly its target. "compat": at most, as in DINOv2 (see
            :func:`block_mask`). Default: "exact".
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share, in [0, 2^63). Default: 0, right where every
            batch has a seed of its own.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``DinoMasks(masks, mask_indices_list, masks_weight, upperbound, n_masked)`` with L = H * W.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a ratio or a range is out of range, or the generator is on another GPU.

    Reference: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024;
    facebookresearch/dinov2, ``data/collate.py``.
    """
    name = "dino_masks"
    batch_size = _check.integer(name, "batch_size", batch_size, 0, 2**31 - 1)
    height, width = _check.grid(name, "grid", grid, "(H, W)", _block_ranges.LONGEST_SIDE)
    masked_rows = int(batch_size * _check.probability(name, "mask_probability", mask_probability))
    ranges = _block_ranges.block_ranges(name, height * width, min_patches, max_patches, min_aspect, max_aspect)
    exact = _check.mode_is_exact(name, mode)
    low, high = _block_ranges.dino_ratios(name, mask_ratio_min_max, exact)
    shift = _check.boolean(name, "shift", shift)
    batch_number = _check.integer(name, "batch_number", batch_number, 0)
    upperbound = _block_ranges.dino_upperbound(height * width, masked_rows, low, high)
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    options = (*ranges, exact, shift, masked_rows, low, high, upperbound, row_offset, batch_number)
    masks, indices, weights, n_masked = ops.dino_mask(like, seed, sample_ids, batch_size, height, width, *options)
    return DinoMasks(masks, indices, weights, upperbound, n_masked)
