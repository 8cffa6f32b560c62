"""Corrupted features over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments

_ORDER_STREAM = 79


def corrupt_features(
    x: NDArray[Any],
    corruption_rate: float = 0.6,
    *,
    source: str = "marginals",
    selection: str = "exact",
    bank: NDArray[Any] | None = None,
    changed: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Replaces random features by those of other rows: :func:`sslfast.masking.corrupt_features`, said there in full.

    Args:
        x: shape (N, D). Not changed.
        corruption_rate: share of the features that is replaced, in [0, 1]. Default: 0.6.
        source: "marginals", "rows", "uniform" or "permutation". Default: "marginals".
        selection: "exact", exactly ``D * corruption_rate`` features of every row, rounded down; or "bernoulli", each
            independently. Default: "exact".
        bank: shape (M, D), type of ``x``, M at least 1: the rows to draw from. Default: None, ``x`` itself.
        changed: the mask leaves out cells whose value came out the same. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``(corrupted, mask)``: shape and type of ``x``; bool (N, D), True where replaced.

    Raises:
        TypeError: ``x``, ``bank`` or another argument has the wrong type.
        ValueError: a shape or number is out of range, there is no such source or selection, or a bank is given that
            is not used.

    Reference: Bahri et al., "SCARF", ICLR 2022; Yoon et al., "VIME", NeurIPS 2020.
    """
    name = "corrupt_features"
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: x must be an array, got {type(x).__name__}")
    if x.ndim != 2 or x.shape[1] < 1:
        raise ValueError(f"{name}: x must have shape (N, D) with D >= 1, got {x.shape}")
    rows, features = x.shape
    rule = _check.corrupted_features(name, features, corruption_rate, source, selection, bank is not None)
    changed = _check.boolean(name, "changed", changed)
    if source == "uniform" and x.dtype.kind != "f":
        raise TypeError(f'{name}: x must be floating point with source "uniform", got {x.dtype}')
    if bank is not None:
        if not isinstance(bank, np.ndarray) or bank.dtype != x.dtype:
            got = bank.dtype if isinstance(bank, np.ndarray) else type(bank).__name__
            raise TypeError(f"{name}: bank must be an array of {x.dtype}, like x, got {got}")
        if bank.ndim != 2 or len(bank) < 1 or bank.shape[1] != features:
            raise ValueError(f"{name}: bank must have shape (M, {features}) with M >= 1, got {bank.shape}")
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    seed, threads = _arguments.seed_bits(name, seed), _arguments.threads(name, threads)
    if rows == 0:
        return x.copy(), np.zeros(x.shape, np.bool_)
    bank = x if bank is None else bank
    words = 2**32 if source == "uniform" else len(bank)
    mask, sources = _host.feature_draws(seed, sample_ids, rows, features, *rule, words, row_offset, threads)
    if source == "uniform":
        low, high = bank.min(0).astype(np.float64), bank.max(0).astype(np.float64)
        replacement = (low + (high - low) * (sources / 2**32)).astype(x.dtype)
    else:
        if source == "permutation":
            sources = _host.column_permutations(seed, _ORDER_STREAM, features, rows, threads).T
        replacement = np.take_along_axis(bank, sources, 0)
    out = np.where(mask, replacement, x)
    return out, mask & (out != x) if changed else mask
