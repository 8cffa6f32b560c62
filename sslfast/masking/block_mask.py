"""Block masks of images: rectangles are masked (BEiT, iBOT, DINOv2), or one is kept (CAPI, data2vec 2.0)."""

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
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | Tensor,
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


@overload
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | Tensor,
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedMask: ...


@overload
def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | Tensor,
    *,
    mask_probability: float = ...,
    min_patches: float = ...,
    max_patches: float | None = ...,
    min_aspect: float = ...,
    max_aspect: float | None = ...,
    shift: bool = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


def block_mask(
    batch_size: int,
    grid: Sequence[int],
    num_masked: int | Sequence[float] | Tensor,
    *,
    mask_probability: float = 1.0,
    min_patches: float = 4,
    max_patches: float | None = None,
    min_aspect: float = 0.3,
    max_aspect: float | None = None,
    shift: bool = False,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks random rectangles of patches until ``num_masked`` patches of a row are masked.

    Each rectangle has an area that is uniform between ``min_patches`` and what is still missing (at most
    ``max_patches``), an aspect that is log-uniform, and a uniform place; it may overlap others, and one that adds
    nothing or more than is missing is drawn again, up to ten times. The draws depend on (seed, number of the row, try)
    alone. No host synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        num_masked: patches to mask in every row, in [0, H * W), in compat mode in [0, H * W]; or a pair of such
            numbers, between which every row draws its own, in "exact" a whole number, both ends included, in "compat" a
            real one, of which it masks the whole patches at most (iBOT's law, whose pairs are real numbers and whose
            upper end is never reached); or int64 (N,), one number a row, which is clamped to [0, H * W] where it lies
            (its values are not looked at, so that a GPU need not be waited for: here a row may be masked whole).
        mask_probability: probability that a row is masked at all. Default: 1.0.
        min_patches: least area of a rectangle. Default: 4.
        max_patches: largest area of a rectangle, and the most that one may add. Default: None, what is missing.
        min_aspect: least height over width of a rectangle. Default: 0.3.
        max_aspect: largest height over width of a rectangle. Default: None, ``1 / min_aspect``.
        shift: turn the finished mask by a random number of lines and columns around the edges, which makes every patch
            equally likely: without, the centre of the grid is masked far more often than its corners. Default: False.
        mode: "exact" masks exactly ``num_masked`` patches: rectangles may be as high or wide as the grid, and what ten
            tries in a row could not add is added patch by patch, every subset equally likely (as DINOv3 does). "compat"
            has the distribution of DINOv2's ``MaskingGenerator``, and with a pair that of iBOT's loader: at most
            ``num_masked`` patches (of 58 in 14 x 14, exactly so many in 93 % of the rows) and no rectangle as high or
            as wide as the grid, so that 196 of 14 x 14 are never reached. Default: "exact".
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: that of ``num_masked``, else torch's default device.

    Returns:
        bool (N, H, W), True where the patch is masked. With ``return_counts`` ``CountedMask(mask, indices, counts)``
        with int64 (N * n,), the flat positions of the masked patches and then -1, n the largest ``num_masked`` (H * W
        where it is a tensor), and int64 (N,), how many each row has.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size, a number or a range is out of range, ``num_masked`` has another shape than (N,) or is on
            another device, or the generator is on another GPU.

    Reference: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, algorithm 1; Oquab et al.,
    "DINOv2", TMLR 2024; facebookresearch/dinov2, ``data/masking.py``.
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
    if isinstance(num_masked, Tensor):
        if num_masked.dtype != torch.int64:
            raise TypeError(f"{name}: num_masked must be an int or an int64 tensor, got {num_masked.dtype}")
        if num_masked.shape != (batch_size,):
            expected = f"must have shape ({batch_size},), one a row"
            raise ValueError(f"{name}: num_masked {expected}, got {tuple(num_masked.shape)}")
        targets = num_masked.contiguous()
        device = targets.device if device is None else device
    else:
        target = _block_ranges.target_range(name, num_masked, height * width, exact)
    like = torch.empty((), device=device)
    if targets is not None and targets.device != like.device:
        raise ValueError(f"{name}: num_masked must be on {like.device}, got {targets.device}")
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    rule = (*target, probability, batch_size, height, width, *ranges, exact, shift, row_offset)
    mask = ops.block_mask(like, seed, sample_ids, targets, *rule)
    return counted(mask, return_counts, int(target[1]) if targets is None else None)


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
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor: ...


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
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
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
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> Tensor | CountedMask: ...


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
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> MaskOrCounted:
    """Masks all but one block of patches: what is left is connected, as CAPI does.

    Every row has exactly ``H * W * mask_ratio`` masked patches, rounded down ("compat": after a float's error). The
    block is the smallest rectangle of a log-uniform aspect that holds the others; what it holds too many is masked at
    one end of its first or last line. The draws depend on (seed, number of the row) alone. No host synchronisation on a
    GPU.

    Args:
        batch_size: number of rows N, at least 0.
        grid: patches along height and width, (H, W), each at most 512.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.65.
        min_aspect: least height over width of the block. Default: 0.5.
        max_aspect: largest height over width of the block. Default: None, ``1 / min_aspect``. Where no aspect of the
            range fits the grid, the nearest one is taken.
        shift: turn the mask by a random number of lines and columns around the edges, which makes every patch equally
            likely. Default: True.
        mode: "exact": the end of the block at which patches are masked is random. "compat": always the right end of the
            last line, as in CAPI and lightly, which makes blocks without ``shift`` reach further at the top. Default:
            "exact".
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
        ValueError: a size, the ratio or an aspect is out of range, the ratio leaves no patch, or the generator is on
            another GPU.

    Reference: Darcet et al., "Cluster and Predict Latent Patches for Improved Masked Image Modeling", TMLR 2025;
    Baevski et al., "Efficient Self-supervised Learning with Contextualized Target Representations for Vision, Speech
    and Language", ICML 2023 (data2vec 2.0: inverse block masking).
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
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    mask = ops.inverse_block_mask(
        like, seed, sample_ids, batch_size, height, width, visible, *fitting, exact, shift, row_offset
    )
    return counted(mask, return_counts, masked)
