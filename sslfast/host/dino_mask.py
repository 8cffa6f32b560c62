"""DINOv2's masks of a batch over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check, _host
from sslfast.host import _arguments


class DinoMasks(NamedTuple):
    """The masks of a batch: ``sslfast.masking.DinoMasks`` in NumPy arrays.

    Attributes:
        masks: bool (N, L), True where the patch is masked.
        mask_indices_list: int64 (upperbound,), the masked positions of ``masks.flatten()`` in ascending order, then -1.
        masks_weight: float32 (upperbound,), 1 / the number of masked patches of the position's row, then 0.
        upperbound: how many positions there are at most.
        n_masked: int64 (1,), how many there are.
    """

    masks: NDArray[np.bool_]
    mask_indices_list: NDArray[np.int64]
    masks_weight: NDArray[np.float32]
    upperbound: int
    n_masked: NDArray[np.int64]


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
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    batch_number: int = 0,
    threads: int = 1,
) -> DinoMasks:
    """Masks blocks in part of a batch's images: :func:`sslfast.masking.dino_masks` in NumPy.

    Args:
        batch_size: number of rows N, at least 0: images times global crops.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio_min_max: least and largest share of masked patches, in [0, 1], in mode "exact" not both 1.
            Default: (0.1, 0.5).
        mask_probability: share of the rows that is masked. Default: 0.5.
        min_patches, max_patches, min_aspect, max_aspect, shift: of the blocks, as in :func:`block_mask`.
        mode: "exact" or "compat". Default: "exact".
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        batch_number: number of the batch in the draws that rows share. Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``DinoMasks(masks, mask_indices_list, masks_weight, upperbound, n_masked)`` with L = H * W.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a ratio or a range is out of range.

    Reference: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
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
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    options = (masked_rows, (low, high), upperbound, row_offset, batch_number, threads)
    masks, indices, weights, n_masked = _host.dino_mask(
        bits, sample_ids, batch_size, height, width, ranges, exact, shift, *options
    )
    return DinoMasks(masks, indices, weights, upperbound, n_masked)
