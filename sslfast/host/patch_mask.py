"""Random patch masking over NumPy arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


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


def random_patch_mask(
    batch_size: int,
    num_patches: int,
    mask_ratio: float = 0.75,
    *,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> PatchMask:
    """Masks the same number of random patches in every row: :func:`sslfast.masking.random_patch_mask` in NumPy.

    Args:
        batch_size: number of rows N, at least 0.
        num_patches: patches per row L, at least 1.
        mask_ratio: share of the patches that is masked, in [0, 1). Default: 0.75.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
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
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, batch_size)
    threads = _arguments.threads(name, threads)
    return PatchMask(
        *_host.patch_mask(
            _arguments.seed_bits(name, seed), sample_ids, batch_size, num_patches, keep, row_offset, threads
        )
    )
