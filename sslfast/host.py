"""The masking operators over NumPy arrays, for DataLoader workers, tokenising jobs and people without torch.

The same kernels as behind the torch functions: equal arguments and seed give equal bits. The GIL is released while
they run. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host

__all__ = ["PatchMask", "mask_tokens", "philox_words", "random_patch_mask"]

_THREADS = 1024  # at most


class PatchMask(NamedTuple):
    """Which patches of each row stay: ``sslfast.masking.PatchMask`` in NumPy arrays.

    Attributes:
        ids_keep: int64 (N, keep), the patches that stay, in random order.
        ids_restore: int64 (N, L), the place of each patch in the random order: below ``keep`` where it stays.
        mask: bool (N, L), True where the patch is masked.
    """

    ids_keep: NDArray[np.int64]
    ids_restore: NDArray[np.int64]
    mask: NDArray[np.bool_]


def mask_tokens(
    ids: NDArray[Any],
    *,
    mask_token_id: int,
    vocab_size: int,
    special_tokens_mask: NDArray[Any] | None = None,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    seed: int,
    row_offset: int = 0,
    threads: int = 1,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Masks token ids as BERT does: :func:`sslfast.masking.mask_tokens` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L) or (L,), int64 or int32, any strides. Not changed.
        mask_token_id: the id of ``[MASK]``, in [0, ``vocab_size``).
        vocab_size: random ids are uniform in [0, ``vocab_size``).
        special_tokens_mask: shape of ``ids``, bool or integer, non-zero where a token is never masked (special tokens
            and padding). Default: None, any token may be masked.
        mlm_probability: probability that a token is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``mask_token_id``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(ids, labels, masked)``. ``ids`` and ``labels`` have the shape and dtype of the input; ``labels`` holds the
        original id where masked and -100 elsewhere. ``masked`` is int64 of shape (N * L,): the flat positions of the
        masked tokens in ascending order, then -1.

    Raises:
        TypeError: ``ids`` or ``special_tokens_mask`` is not an array of the dtypes above, or a number has the wrong
            type.
        ValueError: a shape, probability or id is out of range, or the two replacement shares exceed 1.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.
    """
    name = "mask_tokens"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim not in (1, 2):
        raise ValueError(f"{name}: ids must have shape (N, L) or (L,), got {ids.shape}")
    special = special_tokens_mask
    if special is not None:
        if not isinstance(special, np.ndarray) or special.dtype.kind not in "biu":
            got = str(special.dtype) if isinstance(special, np.ndarray) else type(special).__name__
            raise TypeError(f"{name}: special_tokens_mask must be a bool or integer array, got {got}")
        if special.shape != ids.shape:
            raise ValueError(f"{name}: special_tokens_mask must have shape {ids.shape}, like ids, got {special.shape}")
        special = np.atleast_2d(special.astype(np.bool_, copy=False))
    vocab_size = _check.integer(name, "vocab_size", vocab_size, 1, 2**31 if ids.dtype == np.int32 else 2**32)
    mask_token_id = _check.integer(name, "mask_token_id", mask_token_id, 0, vocab_size - 1)
    mlm_probability = _check.probability(name, "mlm_probability", mlm_probability)
    mask_replace_prob = _check.probability(name, "mask_replace_prob", mask_replace_prob)
    random_replace_prob = _check.probability(name, "random_replace_prob", random_replace_prob)
    if mask_replace_prob + random_replace_prob > 1:
        got = f"{mask_replace_prob} + {random_replace_prob}"
        raise ValueError(f"{name}: mask_replace_prob + random_replace_prob must be at most 1, got {got}")
    masked_ids, labels, masked = _host.token_mask(
        np.atleast_2d(np.require(ids, requirements="A")),  # strides of a packed record are no whole elements: copied
        special,
        _seed(name, seed),
        mask_token_id,
        vocab_size,
        mlm_probability,
        mask_replace_prob,
        random_replace_prob,
        _check.integer(name, "row_offset", row_offset, 0),
        _check.integer(name, "threads", threads, 1, _THREADS),
    )
    return masked_ids.reshape(ids.shape), labels.reshape(ids.shape), masked


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    seed: int,
    row_offset: int = 0,
    threads: int = 1,
) -> PatchMask:
    """Masks the same number of random patches in every row: :func:`sslfast.masking.random_patch_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        num_patches: patches per row L, at least 1.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``PatchMask(ids_keep, ids_restore, mask)`` of shapes (N, keep), (N, L) and (N, L), where ``keep`` is
        ``num_patches * (1 - mask_ratio)``, rounded down.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a size or the ratio is out of range, or the ratio leaves no patch.

    Reference: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, section 3.
    """
    name = "random_patch_mask"
    batch_size = _check.integer(name, "batch_size", batch_size, 0)
    keep = _check.kept_patches(name, num_patches, mask_ratio)
    row_offset = _check.integer(name, "row_offset", row_offset, 0)
    threads = _check.integer(name, "threads", threads, 1, _THREADS)
    return PatchMask(*_host.patch_mask(_seed(name, seed), batch_size, num_patches, keep, row_offset, threads))


def philox_words(
    seed: int, rows: int, elements: int, *, stream: int = 0, row_offset: int = 0, threads: int = 1
) -> NDArray[np.int64]:
    """Raw Philox4x32-10 output: :func:`sslfast.random.philox_words` in NumPy.

    Args:
        seed: 64-bit signed seed.
        rows: number of rows, at least 0.
        elements: counters per row, at least 0.
        stream: 32-bit stream number. Default: 0, which no operator uses.
        row_offset: global index of row 0. Default: 0.
        threads: OpenMP threads; the result is the same for any number. Default: 1.

    Returns:
        int64 array of shape (rows, elements, 4) with values in [0, 2^32).

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    name = "philox_words"
    words = _host.philox_words(
        _seed(name, seed),
        _check.integer(name, "stream", stream, 0, 2**32 - 1),
        _check.integer(name, "rows", rows, 0),
        _check.integer(name, "elements", elements, 0, 2**32),
        _check.integer(name, "row_offset", row_offset, 0),
        _check.integer(name, "threads", threads, 1, _THREADS),
    )
    return words.astype(np.int64) & 0xFFFFFFFF


def _seed(function: str, seed: int) -> int:
    """The bits of a signed seed, as an unsigned number."""
    return _check.integer(function, "seed", seed, -(2**63), 2**63 - 1) & (2**64 - 1)
