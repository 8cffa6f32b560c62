"""Random patch masking for masked autoencoders."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import Generator, seed_tensor


class PatchMask(NamedTuple):
    """Which patches of each row stay, in MAE's terms.

    Attributes:
        ids_keep: int64 (N, keep), the patches that stay, in random order.
        ids_restore: int64 (N, L), the place of each patch in the random order: below ``keep`` where it stays.
            ``torch.gather(torch.cat([kept, mask_tokens], 1), 1, ids_restore[..., None].expand(-1, -1, D))`` puts a
            decoder's input back in order.
        mask: bool (N, L), True where the patch is masked.
    """

    ids_keep: Tensor
    ids_restore: Tensor
    mask: Tensor


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> PatchMask:
    """Masks the same number of random patches in every row, as MAE does.

    Every subset of ``keep`` patches is equally likely and every row has exactly ``keep = num_patches * (1 -
    mask_ratio)``, rounded down. The order is that of ``torch.argsort(noise)`` with 32 random bits per patch instead of
    a float's 24, and ties go to the lower index, so every device gives the same. The draws depend on (seed, number
    of the row, patch) alone. No host synchronisation on a GPU.

    Args:
        batch_size: number of rows N, at least 0.
        num_patches: patches per row L, at least 1.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: torch's default device.

    Returns:
        ``PatchMask(ids_keep, ids_restore, mask)`` of shapes (N, keep), (N, L) and (N, L).

    Raises:
        TypeError: a number or the generator has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no patch, or the generator is on another GPU.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3.
    """
    name = "random_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    keep = _check.kept_patches(name, num_patches, mask_ratio)
    like = torch.empty((), device=device)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch_size, like.device)
    seed = seed_tensor(generator, function=name, device=like.device)
    return PatchMask(*ops.patch_mask(like, seed, sample_ids, batch_size, num_patches, keep, row_offset))


def mask_patches(
    x: Tensor,
    mask_ratio: float = 0.75,
    *,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Drops random patches from every row: ``random_masking(x, mask_ratio)`` of MAE, in one copy of what stays.

    Equals ``torch.gather(x, 1, ids_keep[..., None].expand(-1, -1, D))`` with the mask of
    :func:`random_patch_mask`. Its gradient is written in one pass, without atomics: equal in every run. What is
    dropped is never read, so NaN there stays there. Twice differentiable.

    Args:
        x: patches, shape (N, L, D), any strides, elements of at most 8 bytes.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``(x_kept, mask, ids_restore)``: shape (N, keep, D) and dtype of ``x``; bool (N, L), True where masked (MAE
        returns 1.0); int64 (N, L), see :class:`PatchMask`.

    Raises:
        TypeError: ``x`` is not a tensor, its elements are larger than 8 bytes, or a number has the wrong type.
        ValueError: ``x`` has no shape (N, L, D) with L >= 1, the ratio is out of range or leaves no patch, or the
            generator is on another GPU.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; facebookresearch/mae,
    ``MaskedAutoencoderViT.random_masking``.
    """
    name = "mask_patches"
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a tensor, got {type(x).__name__}")
    if x.dtype == torch.complex128:
        raise TypeError(f"{name}: x must have elements of at most 8 bytes, got {x.dtype}")
    if x.dim() != 3 or x.shape[1] < 1:
        raise ValueError(f"{name}: x must have shape (N, L, D) with L >= 1, got {tuple(x.shape)}")
    keep = _check.kept_patches(name, x.shape[1], mask_ratio)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, x.shape[0], x.device)
    seed = seed_tensor(generator, function=name, device=x.device)
    ids_keep, ids_restore, mask = ops.patch_mask(x.detach(), seed, sample_ids, *x.shape[:2], keep, row_offset)
    return _Gather.apply(x, ids_keep, ids_restore), mask, ids_restore


class _Gather(torch.autograd.Function):
    """(N, L, D) -> (N, keep, D); its derivative is ``_Scatter``, whose derivative is this again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ids_keep: Tensor, ids_restore: Tensor) -> Tensor:
        ctx.save_for_backward(ids_keep, ids_restore)
        return ops.patch_gather(x, ids_keep)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Scatter.apply(grad, *ctx.saved_tensors), None, None


class _Scatter(torch.autograd.Function):
    """(N, keep, D) -> (N, L, D), zero where the patch was dropped."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, ids_keep: Tensor, ids_restore: Tensor) -> Tensor:
        ctx.save_for_backward(ids_keep, ids_restore)
        return ops.patch_scatter(grad, ids_restore)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(grad, *ctx.saved_tensors), None, None
