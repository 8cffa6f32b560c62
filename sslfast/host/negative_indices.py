"""Negatives among masked frames over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def sample_negatives(
    mask_time_indices: NDArray[np.bool_],
    num_negatives: int,
    *,
    dtype: Any = np.int32,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """For every masked frame, other masked frames of its row: :func:`sslfast.masking.sample_negatives` in NumPy.

    Args:
        mask_time_indices: bool (N, T), True where masked, any strides, T at least 1.
        num_negatives: negatives per frame K, at least 1.
        dtype: np.int32 or np.int64. Default: np.int32, as transformers has it.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0 in the draws, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        (N, T, K) of ``dtype``: flat positions ``row * T + frame``; ``row * T`` where nothing is masked. The only masked
        frame of a row gets itself.

    Raises:
        TypeError: ``mask_time_indices`` is not a bool array, or another argument has the wrong type.
        ValueError: a shape or number is out of range, ``dtype`` is neither of the two or too narrow for N * T, or there
            is no such mode.

    Reference: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 3.2.
    """
    name = "sample_negatives"
    mask = mask_time_indices
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"{name}: mask_time_indices must be a bool array, got {got}")
    if mask.ndim != 2 or mask.shape[1] < 1:
        raise ValueError(f"{name}: mask_time_indices must have shape (N, T) with T >= 1, got {mask.shape}")
    if dtype not in (np.int32, np.int64):
        raise ValueError(f"{name}: dtype must be int32 or int64, got {dtype}")
    rows, length = mask.shape
    wide = np.dtype(dtype) == np.int64
    num_negatives = _check.negatives(name, num_negatives, rows, length, not wide)
    _check.mode_is_exact(name, mode)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    return _host.negative_indices(
        mask,
        _arguments.seed_bits(name, seed),
        sample_ids,
        num_negatives,
        wide,
        row_offset,
        _arguments.threads(name, threads),
    )
