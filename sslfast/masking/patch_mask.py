"""Random patch masking for masked autoencoders."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._patches import kept_rows, patch_order, patches_of, prefix_tokens
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator


class PatchMask(NamedTuple):
    """Which patches of each row stay, in MAE's terms. L counts the prefix tokens too, which are the first to stay.

    Attributes:
        ids_keep: int64 (N, keep), the patches that stay, in random order, or ascending where that was asked for.
        ids_restore: int64 (N, L), the place of each patch in that order: below ``keep`` where it stays.
            :func:`sslfast.masking.unshuffle_patches` puts a decoder's input back in order with it.
        mask: bool (N, L), True where the patch is masked.
    """

    ids_keep: Tensor
    ids_restore: Tensor
    mask: Tensor


class CountedPatches(NamedTuple):
    """:class:`PatchMask` and its compact form, what losses take: :func:`random_patch_mask` with ``return_counts``.

    Attributes:
        ids_keep, ids_restore, mask: as of :class:`PatchMask`.
        indices: int64 (N * n,), the flat positions of the n masked patches of every row, ascending.
        counts: int64 (N,), how many of each row.
    """

    ids_keep: Tensor
    ids_restore: Tensor
    mask: Tensor
    indices: Tensor
    counts: Tensor


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    noise: Tensor | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> PatchMask: ...


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    noise: Tensor | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: Literal[True],
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> CountedPatches: ...


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    noise: Tensor | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: bool,
    generator: Generator = ...,
    row_offset: int = ...,
    sample_ids: Tensor | None = ...,
    device: torch.device | str | None = ...,
) -> PatchMask | CountedPatches: ...


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    noise: Tensor | None = None,
    num_prefix_tokens: int = 0,
    order: str = "random",
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
    device: torch.device | str | None = None,
) -> PatchMask | Any:
    """Masks the same number of random patches in every row, as MAE does.

    Every subset of ``keep`` patches is equally likely and every row has exactly ``keep = num_patches * (1 -
    mask_ratio)``, rounded down. The order is that of ``torch.argsort(noise)`` with 32 random bits per patch instead of
    a float's 24, and ties go to the lower index, so every device gives the same. The draws depend on (seed, number of
    the row, patch) alone. No host synchronisation on a GPU. In distribution this is MAE's ``random_masking``, but that
    MAE computes ``keep`` in floats, which may give one less: of 10 patches at 0.9 it keeps none, of 100 at 0.8 it keeps
    19. ``mode="compat"`` has that defect; the ties of MAE's float noise, which an unstable sort breaks, it has not.

    With ``noise`` nothing is drawn: the order is ``torch.argsort(noise, dim=1, stable=True)``, so that the result is
    that of MAE and of Hugging Face's ViTMAE with the same noise, bit for bit. There as in torch a NaN lies above every
    number: patches with NaN are the first to be masked, and among themselves the lower index stays; a row of NaN
    alone keeps its first ``keep`` patches.

    Args:
        batch_size: number of rows N, at least 0.
        num_patches: patches per row, at least 1, not counting prefix tokens.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        noise: floating point (N, num_patches), any strides: the order instead of draws. Default: None.
        num_prefix_tokens: tokens in front of the patches, such as a class token, which always stay and come first. The
            patches are the same with and without them. Default: 0.
        order: ``"random"``, or ``"sorted"``: what stays keeps its order, and so does what is masked; the mask is the
            same. Default: ``"random"``.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it, see above; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.
        device: where the result is made. Default: that of the noise, or torch's default device.

    Returns:
        ``PatchMask(ids_keep, ids_restore, mask)`` of shapes (N, keep), (N, L) and (N, L), prefix tokens counted. With
        ``return_counts`` ``CountedPatches(ids_keep, ids_restore, mask, indices, counts)``.

    Raises:
        TypeError: a number, ``return_counts``, the noise or the generator has the wrong type.
        ValueError: a size or the ratio is out of range, the ratio leaves no patch, ``order`` or ``mode`` is unknown,
            the noise has another shape or is on another device or stands beside a source of draws, or the generator is
            on another GPU.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3.
    """
    name = "random_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    keep = _check.kept_patches(name, num_patches, mask_ratio, mode)
    if device is None and isinstance(noise, Tensor):
        device = noise.device
    found = patch_order(
        name,
        torch.empty((), device=device),
        batch_size,
        num_patches,
        keep,
        noise=noise,
        num_prefix_tokens=prefix_tokens(name, num_prefix_tokens),
        order=order,
        generator=generator,
        row_offset=row_offset,
        sample_ids=sample_ids,
    )
    out = PatchMask(*found)
    return CountedPatches(*out, *compact(out.mask, num_patches - keep)) if return_counts else out


def mask_patches(
    x: Tensor,
    mask_ratio: float = 0.75,
    *,
    noise: Tensor | None = None,
    num_prefix_tokens: int = 0,
    order: str = "random",
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Drops random patches from every row: ``random_masking(x, mask_ratio)`` of MAE, in one copy of what stays.

    Equals ``torch.gather(x, 1, ids_keep[..., None].expand(-1, -1, D))`` with the mask of
    :func:`random_patch_mask`. Its gradient is written in one pass, without atomics: equal in every run. What is
    dropped is never read, so NaN there stays there. Twice differentiable.

    Args:
        x: prefix tokens and patches, shape (N, L, D), any strides, elements of at most 8 bytes.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        noise: floating point (N, L - num_prefix_tokens), any strides: the order instead of draws, as in
            :func:`random_patch_mask`. Default: None.
        num_prefix_tokens: tokens in front of the patches, such as a class token, which always stay. Default: 0.
        order: ``"random"``, or ``"sorted"``: what stays keeps its order. Default: ``"random"``.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it, see
            :func:`random_patch_mask`; the ratio is in [0, 1] then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too, on a GPU two launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``(x_kept, mask, ids_restore)``: shape (N, keep, D) and dtype of ``x``; bool (N, L), True where masked (MAE
        returns 1.0); int64 (N, L), see :class:`PatchMask`. With ``return_counts``
        ``(x_kept, mask, ids_restore, indices, counts)``, see :class:`CountedPatches`.

    Raises:
        TypeError: ``x`` is not a tensor, its elements are larger than 8 bytes, or a number or the noise has the wrong
            type.
        ValueError: ``x`` has no shape (N, L, D) with at least one patch, the ratio is out of range or leaves no patch,
            ``order`` or ``mode`` is unknown, the noise has another shape or is on another device or stands beside a
            source of draws, or the generator is on another GPU.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; facebookresearch/mae,
    ``MaskedAutoencoderViT.random_masking``.
    """
    name = "mask_patches"
    return_counts = _check.boolean(name, "return_counts", return_counts)
    prefix = prefix_tokens(name, num_prefix_tokens)
    patches_of(name, "x", x, least=1 + prefix)
    patches = x.shape[1] - prefix
    keep = _check.kept_patches(name, patches, mask_ratio, mode)
    ids_keep, ids_restore, mask = patch_order(
        name,
        x,
        x.shape[0],
        patches,
        keep,
        noise=noise,
        num_prefix_tokens=prefix,
        order=order,
        generator=generator,
        row_offset=row_offset,
        sample_ids=sample_ids,
    )
    result = kept_rows(x, ids_keep, ids_restore), mask, ids_restore
    return (*result, *compact(mask, patches - keep)) if return_counts else result
