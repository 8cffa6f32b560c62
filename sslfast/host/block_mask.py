"""Block masks over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _block_ranges, _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import CountedMask, MaskOrCounted, counted


@overload
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | NDArray[np.int64],
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


@overload
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | NDArray[np.int64],
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedMask: ...


@overload
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | NDArray[np.int64],
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | NDArray[np.int64],
    *,
    mask_probability: float = 1.0,
    min_patches: float = 4,
    max_patches: float | None = None,
    min_aspect: float = 0.3,
    max_aspect: float | None = None,
    shift: bool = False,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks random rectangles of patches: :func:`sslfast.masking.block_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        num_masked: patches to mask in every row, in [0, H * W), in compat mode in [0, H * W]; or a pair of such
            numbers, between which every row draws its own, in "exact" a whole number, both ends included, in "compat" a
            real one, of which it masks the whole patches at most; or int64 (N,), one number a row, clamped to
            [0, H * W].
        mask_probability: probability that a row is masked at all. Default: 1.0.
        min_patches: least area of a rectangle. Default: 4.
        max_patches: largest area of a rectangle, and the most that one may add. Default: None, what is missing.
        min_aspect: least height over width of a rectangle. Default: 0.3.
        max_aspect: largest height over width of a rectangle. Default: None, ``1 / min_aspect``.
        shift: turn the finished mask by a random number of lines and columns around the edges. Default: False.
        mode: "exact" or "compat". Default: "exact".
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the masked patches and then -1, n the largest ``num_masked`` (H * W
        where it is an array), and int64 (N,), how many each row has.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range, or ``num_masked`` has another shape than (N,).

    Reference: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, algorithm 1.
    """
    name = "block_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    height, width = _check.grid(name, "grid", grid, "(H, W)", _block_ranges.LONGEST_SIDE)
    ranges = _block_ranges.block_ranges(name, height * width, min_patches, max_patches, min_aspect, max_aspect)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    exact = _check.mode_is_exact(name, mode)
    shift = _check.boolean(name, "shift", shift)
    probability = _check.probability(name, "mask_probability", mask_probability)
    target, targets = (0.0, 0.0), None
    if isinstance(num_masked, np.ndarray):
        if num_masked.dtype != np.int64:
            raise TypeError(f"{name}: num_masked must be an int or an int64 array, got {num_masked.dtype}")
        if num_masked.shape != (batch_size,):
            expected = f"must have shape ({batch_size},), one a row"
            raise ValueError(f"{name}: num_masked {expected}, got {num_masked.shape}")
        targets = np.ascontiguousarray(num_masked)
    else:
        target = _block_ranges.target_range(name, num_masked, height * width, exact)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    mask: NDArray[np.bool_] = _host.block_mask(
        bits,
        sample_ids,
        targets,
        target,
        probability,
        batch_size,
        height,
        width,
        ranges,
        exact,
        shift,
        row_offset,
        threads,
    )
    return counted(mask, return_counts, int(target[1]) if targets is None else None, threads=threads)


@overload
def inverse_block_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_]: ...


@overload
def inverse_block_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[True],
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedMask: ...


@overload
def inverse_block_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = ...,
    *,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: bool,
    seed: int,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> NDArray[np.bool_] | CountedMask: ...


def inverse_block_mask(
    batch_size: int,
    grid: Sequence[int],
    mask_ratio: float = 0.65,
    *,
    min_aspect: float = 0.5,
    max_aspect: float | None = None,
    shift: bool = True,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> MaskOrCounted:
    """Masks all but one block of patches: :func:`sslfast.masking.inverse_block_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.65.
        min_aspect: least height over width of the block. Default: 0.5.
        max_aspect: largest height over width of the block. Default: None, ``1 / min_aspect``.
        shift: turn the mask by a random number of lines and columns around the edges. Default: True.
        mode: "exact" or "compat". Default: "exact".
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
        ValueError: a size, the ratio or an aspect is out of range, or the ratio leaves no patch.

    Reference: Darcet et al., "Cluster and Predict Latent Patches for Improved Masked Image Modeling", TMLR 2025.
    """
    name = "inverse_block_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    height, width = _check.grid(name, "grid", grid, "(H, W)", _block_ranges.LONGEST_SIDE)
    masked = _check.share(name, height * width, mask_ratio, "patches", mode)
    log_aspect = _block_ranges.log_aspect(name, min_aspect, max_aspect)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    exact = _check.mode_is_exact(name, mode)
    shift = _check.boolean(name, "shift", shift)
    visible = height * width - masked
    fitting = _block_ranges.fitting_log_aspect(height, width, visible, log_aspect, exact)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    bits = _arguments.seed_bits(name, seed)
    mask: NDArray[np.bool_] = _host.inverse_block_mask(
        bits, sample_ids, batch_size, height, width, visible, fitting, exact, shift, row_offset, threads
    )
    return counted(mask, return_counts, masked, threads=threads)
