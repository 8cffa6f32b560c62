"""Random patch masking over NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import compact


class PatchMask(NamedTuple):
    """Which patches of each row stay: ``sslfast.masking.PatchMask`` in NumPy arrays.

    Attributes:
        ids_keep: int64 (N, keep), the patches that stay, in random order, or ascending where that was asked for.
        ids_restore: int64 (N, L), the place of each patch in the random order: below ``keep`` where it stays.
        mask: bool (N, L), True where the patch is masked.
    """

    ids_keep: NDArray[np.int64]
    ids_restore: NDArray[np.int64]
    mask: NDArray[np.bool_]


class CountedPatches(NamedTuple):
    """:class:`PatchMask` and its compact form, what losses take: :func:`random_patch_mask` with ``return_counts``.

    Attributes:
        ids_keep, ids_restore, mask: as of :class:`PatchMask`.
        indices: int64 (N * n,), the flat positions of the n masked patches of every row, ascending.
        counts: int64 (N,), how many of each row.
    """

    ids_keep: NDArray[np.int64]
    ids_restore: NDArray[np.int64]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    seed: int | None,
    noise: NDArray[np.floating[Any]] | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: Literal[False] = ...,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> PatchMask: ...


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    seed: int | None,
    noise: NDArray[np.floating[Any]] | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: Literal[True],
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> CountedPatches: ...


@overload
def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = ...,
    *,
    seed: int | None,
    noise: NDArray[np.floating[Any]] | None = ...,
    num_prefix_tokens: int = ...,
    order: str = ...,
    mode: str = ...,
    return_counts: bool,
    row_offset: int = ...,
    sample_ids: NDArray[np.int64] | None = ...,
    threads: int = ...,
) -> PatchMask | CountedPatches: ...


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    seed: int | None,
    noise: NDArray[np.floating[Any]] | None = None,
    num_prefix_tokens: int = 0,
    order: str = "random",
    mode: str = "exact",
    return_counts: bool = False,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> PatchMask | Any:
    """Masks the same number of random patches in every row: :func:`sslfast.masking.random_patch_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        num_patches: patches per row, at least 1, not counting prefix tokens.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``; None beside noise.
        noise: floating point (N, num_patches): the order instead of draws, NaN above every number. Default: None.
        num_prefix_tokens: tokens in front of the patches which always stay and come first. Default: 0.
        order: ``"random"``, or ``"sorted"``: what stays keeps its order, and so does what is masked. Default:
            ``"random"``.
        mode: ``"exact"``, or ``"compat"``, the number in floats as the peer has it; the ratio is in [0, 1]
            then. Default: ``"exact"``.
        return_counts: whether the result has where the mask is True too. Default: False.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``PatchMask(ids_keep, ids_restore, mask)`` of shapes (N, keep), (N, L) and (N, L), where ``keep`` is
        ``num_patches * (1 - mask_ratio)``, rounded down, and both count the prefix tokens too. With ``return_counts``
        ``CountedPatches(ids_keep, ids_restore, mask, indices, counts)``.

    Raises:
        TypeError: a number or the noise has the wrong type, or neither seed nor noise is there.
        ValueError: a size or the ratio is out of range, the ratio leaves no patch, ``order`` or ``mode`` is unknown, or
            the noise has another shape or stands beside a source of draws.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3.
    """
    name = "random_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    keep = _check.kept_patches(name, num_patches, mask_ratio, mode)
    prefix = _check.integer(name, "num_prefix_tokens", num_prefix_tokens, 0)
    _check.one_of(name, "order", order, ("random", "sorted"))
    numbers, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    if noise is None:
        bits = _arguments.seed_bits(name, seed)  # type: ignore[arg-type]  # None is refused there
    else:
        noise = _checked_noise(name, noise, (batch_size, num_patches))
        if seed is not None or sample_ids is not None or row_offset != 0:
            raise ValueError(f"{name}: seed, sample_ids and row_offset must not be given beside noise")
        bits = 0
    threads = _arguments.threads(name, threads)
    sizes = (batch_size, num_patches, keep, row_offset, prefix, order == "sorted")
    out = PatchMask(*_host.patch_mask(bits, numbers, *sizes, noise, threads))
    return CountedPatches(*out, *compact(out.mask, num_patches - keep, threads=threads)) if return_counts else out


def _checked_noise(function: str, noise: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    if not isinstance(noise, np.ndarray) or noise.dtype.type not in (np.float32, np.float64, np.float16):
        got = noise.dtype if isinstance(noise, np.ndarray) else type(noise).__name__
        raise TypeError(f"{function}: noise must be a floating-point array, got {got}")
    if noise.shape != shape:
        raise ValueError(f"{function}: noise must have shape {shape}, one number a patch, got {noise.shape}")
    return np.ascontiguousarray(noise, dtype=np.float64 if noise.dtype == np.float64 else np.float32)
