"""Raw random bits, and seeds made of seeds, over NumPy arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


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
        _arguments.seed_bits(name, seed),
        _check.integer(name, "stream", stream, 0, 2**32 - 1),
        _check.integer(name, "rows", rows, 0),
        _check.integer(name, "elements", elements, 0, 2**32),
        _check.integer(name, "row_offset", row_offset, 0),
        _arguments.threads(name, threads),
    )
    return words.astype(np.int64) & 0xFFFFFFFF


def step_seed(seed: int, step: int) -> int:
    """The seed of one step: :func:`sslfast.random.step_seed` without torch.

    Args:
        seed: 64-bit signed seed of the run.
        step: number of the step or epoch, at least 0.

    Returns:
        A 64-bit signed seed, made of the first two words of ``philox(seed, stream "step", step, 0)``.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of range.
    """
    name = "step_seed"
    step = _check.integer(name, "step", step, 0)
    words = _host.philox_words(_arguments.seed_bits(name, seed), _STEP_STREAM, 1, 1, step, 1)
    return int(words.view(np.int64)[0, 0, 0])


_STEP_STREAM = 5
