"""lightly's masks of blocks and cells: lightly 1.6, ``lightly.models.utils``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslfast import _block_ranges, _check, ops
from sslfast.masking._arguments import errors_of
from sslfast.random import STREAMS, seed_tensor

__all__ = [
    "random_block_mask",
    "random_block_mask_image",
    "random_grid_token_mask",
    "random_inverse_block_mask",
]


def random_block_mask(
    size: tuple[int, int, int],
    batch_mask_ratio: float = 0.5,
    min_image_mask_ratio: float = 0.1,
    max_image_mask_ratio: float = 0.5,
    min_num_masks_per_block: int = 4,
    max_num_masks_per_block: int | None = None,
    min_block_aspect_ratio: float = 0.3,
    max_block_aspect_ratio: float | None = None,
    max_attempts_per_block: int = 10,
    device: torch.device | str | None = None,
) -> Tensor:
    """``lightly.models.utils.random_block_mask``: DINOv2's masks of a batch in :func:`sslfast.masking.dino_masks`'s
    "compat" mode, without waiting for a GPU.

    As there, an image has at most its share of masked patches and no block is as high or wide as the grid. The draws
    come from torch's global generator, not from Python's ``random``. lightly raises an error where an image's share is
    less than ``min_num_masks_per_block``; here it is masked as DINOv2 does.

    Args:
        size: (batch size, patches along height, along width).
        batch_mask_ratio: share of the images that is masked. Default: 0.5.
        min_image_mask_ratio: least share of an image's patches. Default: 0.1.
        max_image_mask_ratio: largest share of an image's patches. Default: 0.5.
        min_num_masks_per_block: least area of a block. Default: 4.
        max_num_masks_per_block: largest area of a block. Default: None, what is missing.
        min_block_aspect_ratio: least height over width of a block. Default: 0.3.
        max_block_aspect_ratio: largest height over width of a block. Default: None, 1 / the least.
        max_attempts_per_block: tries for one block, in [1, 1000]. Default: 10.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (B, H, W), True where a patch is masked.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """
    name = "random_block_mask"
    rows, height, width = _sizes(name, size)
    low = _check.probability(name, "min_image_mask_ratio", min_image_mask_ratio)
    high = _check.probability(name, "max_image_mask_ratio", max_image_mask_ratio)
    if high < low:
        expected = f"at least min_image_mask_ratio {min_image_mask_ratio}"
        raise ValueError(f"{name}: max_image_mask_ratio must be {expected}, got {max_image_mask_ratio}")
    masked_rows = int(rows * _check.probability(name, "batch_mask_ratio", batch_mask_ratio))
    ranges = _ranges(
        name,
        height * width,
        min_num_masks_per_block,
        max_num_masks_per_block,
        min_block_aspect_ratio,
        max_block_aspect_ratio,
    )
    tries = _check.integer(name, "max_attempts_per_block", max_attempts_per_block, 1, 1000)
    capacity = _block_ranges.dino_upperbound(height * width, masked_rows, low, high)
    like = torch.empty((), device=device)
    options = (*ranges, False, False, masked_rows, low, high, capacity, 0, 0, tries)
    masks = ops.dino_mask(like, seed_tensor(device=like.device), None, rows, height, width, *options)[0]
    return masks.view(rows, height, width)


def random_block_mask_image(
    size: tuple[int, int],
    num_masks: int,
    min_num_masks_per_block: int = 4,
    max_num_masks_per_block: int | None = None,
    min_block_aspect_ratio: float = 0.3,
    max_block_aspect_ratio: float | None = None,
    max_attempts_per_block: int = 10,
    device: torch.device | str | None = None,
) -> Tensor:
    """``lightly.models.utils.random_block_mask_image``: one image of :func:`random_block_mask`.

    Args:
        size: patches along height and width, (H, W).
        num_masks: at most so many patches are masked.
        min_num_masks_per_block: least area of a block. Default: 4.
        max_num_masks_per_block: largest area of a block. Default: None, what is missing.
        min_block_aspect_ratio: least height over width of a block. Default: 0.3.
        max_block_aspect_ratio: largest height over width of a block. Default: None, 1 / the least.
        max_attempts_per_block: tries for one block, in [1, 1000]. Default: 10.
        device: where the result is made. Default: torch's default device.

    Returns:
        bool (H, W), True where a patch is masked.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """
    name = "random_block_mask_image"
    height, width = _check.grid(name, "size", size, "(H, W)", _block_ranges.LONGEST_SIDE)
    target = min(_check.integer(name, "num_masks", num_masks, 0), height * width)
    ranges = _ranges(
        name,
        height * width,
        min_num_masks_per_block,
        num_masks if max_num_masks_per_block is None else max_num_masks_per_block,
        min_block_aspect_ratio,
        max_block_aspect_ratio,
    )
    tries = _check.integer(name, "max_attempts_per_block", max_attempts_per_block, 1, 1000)
    if ranges[1] < ranges[0]:
        expected = f"at least min_num_masks_per_block {min_num_masks_per_block}"
        raise ValueError(f"{name}: max_num_masks_per_block must be {expected}, got {ranges[1]:g}")
    like = torch.empty((), device=device)
    seed = seed_tensor(device=like.device)
    rule = (target, target, 1.0, 1, height, width, *ranges, False, False, 0, tries)
    return ops.block_mask(like, seed, None, None, *rule)[0]


def random_grid_token_mask(
    size: tuple[int, int],
    mask_ratio: float = 0.75,
    grid_size: int = 4,
    num_prefix_tokens: int = 1,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """``lightly.models.utils.random_grid_token_mask``: keeps or masks whole cells of a square grid of patches.

    ``int(cells * (1 - mask_ratio))`` cells are kept, after a float's error as there. Indices ascend; lightly's go cell
    by cell in a random order, as sets they are distributed alike.

    Args:
        size: (batch size, sequence length), with a square number of patches behind the prefix.
        mask_ratio: share of the cells that is masked, in [0, 1]. Default: 0.75.
        grid_size: side of a cell in patches. Default: 4.
        num_prefix_tokens: tokens before the patches, which are always kept. Default: 1.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``(idx_keep, idx_mask)``: int64 (B, prefix + kept) with the prefix first, int64 (B, masked).

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, the patches are no square, or cells do not tile it.
    """
    name = "random_grid_token_mask"
    rows, side = _square(name, size, num_prefix_tokens)
    ratio = _check.probability(name, "mask_ratio", mask_ratio)
    grid_size = _check.integer(name, "grid_size", grid_size, 1)
    if side % grid_size:
        raise ValueError(f"{name}: grid_size must divide the grid's side {side}, got {grid_size}")
    cells = (side // grid_size) ** 2
    kept = int(cells * (1 - ratio))
    like = torch.empty((), device=device)
    sizes = (1, side, side, 1, grid_size, grid_size, cells - kept)
    seed = seed_tensor(device=like.device)
    mask = ops.cell_mask(like, seed, None, STREAMS["grid_cells"], rows, *sizes, 0).view(rows, side * side)
    return _keep_and_mask(mask, kept * grid_size**2, num_prefix_tokens)


def random_inverse_block_mask(
    size: tuple[int, int],
    mask_ratio: float = 0.65,
    num_prefix_tokens: int = 1,
    min_aspect: float = 0.5,
    max_aspect: float | None = None,
    roll: bool = True,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """``lightly.models.utils.random_inverse_block_mask``: masks all but one block of a square grid of patches.

    :func:`sslfast.masking.inverse_block_mask` in "compat" mode: the last line of the block is cut at its right end.

    Args:
        size: (batch size, sequence length), with a square number of patches behind the prefix.
        mask_ratio: share of the patches that is masked, in [0, 1]. Default: 0.65.
        num_prefix_tokens: tokens before the patches, which are always kept. Default: 1.
        min_aspect: least height over width of the block. Default: 0.5.
        max_aspect: largest height over width of the block. Default: None, ``1 / min_aspect``.
        roll: turn the block around the edges by a random step. Default: True.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``(idx_keep, idx_mask)``: int64 (B, prefix + kept) with the prefix first, int64 (B, masked), each ascending.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or the patches are no square.
    """
    name = "random_inverse_block_mask"
    rows, side = _square(name, size, num_prefix_tokens)
    visible = side * side - int(side * side * _check.probability(name, "mask_ratio", mask_ratio))
    log_aspect = _block_ranges.log_aspect(name, min_aspect, max_aspect)
    roll = _check.boolean(name, "roll", roll)
    aspects = _block_ranges.fitting_log_aspect(side, side, visible, log_aspect, False)
    like = torch.empty((), device=device)
    seed = seed_tensor(device=like.device)
    mask = ops.inverse_block_mask(like, seed, None, rows, side, side, visible, *aspects, False, roll, 0)
    return _keep_and_mask(mask.view(rows, side * side), visible, num_prefix_tokens)


def _sizes(function: str, size: tuple[int, int, int]) -> tuple[int, int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 3:
        raise ValueError(f"{function}: size must be (batch size, H, W), got {size}")
    rows = _check.integer(function, "size", size[0], 0, 2**31 - 1)
    height, width = _check.grid(function, "size", tuple(size[1:]), "(H, W)", _block_ranges.LONGEST_SIDE)
    return rows, height, width


def _ranges(
    function: str,
    patches: int,
    least: float,
    most: float | None,
    min_aspect: float,
    max_aspect: float | None,
) -> tuple[float, float, float, float]:
    least = _check.real(function, "min_num_masks_per_block", least)
    most = _check.real(function, "max_num_masks_per_block", patches if most is None else most)
    if least < 0 or most < 0:
        limits = (least, most)
        raise ValueError(f"{function}: numbers of masks per block must not be negative, got {limits}")
    with errors_of(function, min_aspect="min_block_aspect_ratio", max_aspect="max_block_aspect_ratio"):
        return (least, most, *_block_ranges.log_aspect(function, min_aspect, max_aspect))


def _square(function: str, size: tuple[int, int], prefix: int) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise ValueError(f"{function}: size must be (batch size, sequence length), got {size}")
    rows = _check.integer(function, "size", size[0], 0, 2**31 - 1)
    prefix = _check.integer(function, "num_prefix_tokens", prefix, 0)
    patches = _check.integer(function, "size", size[1], 0) - prefix
    side = math.isqrt(max(patches, 0))
    if patches < 1 or side * side != patches:
        raise ValueError(f"{function}: the patches behind the prefix must be a square number, got {patches}")
    return rows, side


def _keep_and_mask(mask: Tensor, kept: int, prefix: int) -> tuple[Tensor, Tensor]:
    """Positions of exactly ``kept`` patches a row and of the others, as fixed shapes: nothing waits for a GPU."""
    rows, patches = mask.shape
    steps = torch.arange(rows, device=mask.device)[:, None] * patches - prefix
    keep = ops.mask_indices(~mask)[0][: rows * kept].view(rows, kept) - steps
    masked = ops.mask_indices(mask)[0][: rows * (patches - kept)].view(rows, patches - kept) - steps
    first = torch.arange(prefix, device=mask.device).expand(rows, prefix)
    return torch.cat([first, keep], 1), masked
