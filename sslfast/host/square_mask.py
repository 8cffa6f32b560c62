"""Square masks over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import CountedMask, MaskOrCounted, counted


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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
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
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


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
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Keeps small squares of patches and masks the rest: :func:`sslfast.masking.square_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.8.
        side: patches along a side of a square, at least 1. Default: 3.
        adjust: share of the patches that squares are drawn for beyond what they shall cover, in [0, 1]. Default: 0.0.
        inverse: keep the squares; False masks them. Default: True.
        mode: ``"exact"``, or ``"compat"``, both numbers in floats as fairseq has them. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the n masked patches of every row, and int64 (N,), n each.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size or a share is out of range, the ratio leaves no patch.

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
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    mask: NDArray[np.bool_] = _host.square_mask(
        bits, sample_ids, batch_size, height, width, squares, side, marked, inverse, row_offset, threads
    )
    masked = height * width - marked if inverse else marked
    return counted(mask, return_counts, masked, threads=threads)
