"""Corrupted features over NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import compact

# The bits of infinity, above which NaN lies.
_INFINITY = {
    np.dtype(np.float16): 0x7C00,
    np.dtype(np.float32): 0x7F800000,
    np.dtype(np.float64): 0x7FF0000000000000,
}


class CountedFeatures(NamedTuple):
    """Corrupted features: ``sslfast.masking.CountedFeatures`` in NumPy arrays.

    Attributes:
        corrupted: (N, D), the features, some of them replaced.
        mask: bool (N, D), True where replaced.
        indices: int64 (N * n,), the flat positions in ascending order, then -1; n is the most that a row may have
            replaced.
        counts: int64 (N,), how many of each row.
    """

    corrupted: NDArray[Any]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


def corrupt_features(
    x: NDArray[Any],
    corruption_rate: float = 0.6,
    *,
    source: str = "marginals",
    selection: str = "exact",
    bank: NDArray[Any] | None = None,
    changed: bool = False,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], NDArray[np.bool_]] | Any:
    """Replaces random features by those of other rows: :func:`sslfast.masking.corrupt_features`, said there in full.

    Args:
        x: shape (N, D), elements of 1, 2, 4 or 8 bytes, N below 2^31. Not changed.
        corruption_rate: share of the features that is replaced, in [0, 1]. Default: 0.6.
        source: "marginals", "rows", "uniform" (float16, float32 and float64 only) or "permutation". Default:
            "marginals".
        selection: "exact", exactly ``D * corruption_rate`` features of every row, rounded down; or "bernoulli", each
            independently. Default: "exact".
        bank: shape (M, D), type of ``x``, 1 <= M < 2^31: the rows to draw from. Default: None, ``x`` itself.
        changed: the mask leaves out cells whose value came out the same. Default: False.
        mode: "exact"; or "compat", where with source "uniform" it is one minus ``corruption_rate`` that is replaced.
            Default: "exact".
        return_counts: whether the result has where the mask is True too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(corrupted, mask)``: shape and type of ``x``; bool (N, D), True where replaced. With ``return_counts``
        ``CountedFeatures(corrupted, mask, indices, counts)``.

    Raises:
        TypeError: ``x``, ``bank`` or another argument has the wrong type.
        ValueError: a shape or number is out of range, there is no such source, selection or mode, or a bank is given
            that is not used.

    Reference: Bahri et al., "SCARF", ICLR 2022; Yoon et al., "VIME", NeurIPS 2020.
    """
    name = "corrupt_features"
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: x must be an array, got {type(x).__name__}")
    x = _arguments.moved(name, "x", x)
    if x.ndim != 2 or len(x) >= 2**31 or x.shape[1] < 1:
        raise ValueError(f"{name}: x must have shape (N, D) with N < 2^31 and D >= 1, got {x.shape}")
    rows, features = x.shape
    rule = _check.corrupted_features(name, features, corruption_rate, source, selection, bank is not None, mode)
    changed = _check.boolean(name, "changed", changed)
    return_counts = _check.boolean(name, "return_counts", return_counts)
    if source == "uniform" and x.dtype not in _INFINITY:
        raise TypeError(f'{name}: x must be floating point with source "uniform", got {x.dtype}')
    if bank is not None:
        if not isinstance(bank, np.ndarray) or bank.dtype != x.dtype:
            got = bank.dtype if isinstance(bank, np.ndarray) else type(bank).__name__
            raise TypeError(f"{name}: bank must be an array of {x.dtype}, like x, got {got}")
        if bank.ndim != 2 or not 1 <= len(bank) < 2**31 or bank.shape[1] != features:
            raise ValueError(f"{name}: bank must have shape (M, {features}) with 1 <= M < 2^31, got {bank.shape}")
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    bank = x if bank is None else _arguments.moved(name, "bank", bank)
    out = np.empty(x.shape, x.dtype)
    by_bits = x.dtype in _INFINITY or x.dtype.kind in "biu"  # others have another way to be equal
    options = (*rule, changed and by_bits, _INFINITY.get(x.dtype, 0))
    mask = _host.feature_corruption(x, bank, out, seed, sample_ids, *options, row_offset, threads)
    mask = mask if by_bits or not changed else mask & (out != x)
    if not return_counts:
        return out, mask
    exact, count = rule[:2]
    return CountedFeatures(out, mask, *compact(mask, count if exact else None, threads=threads))
