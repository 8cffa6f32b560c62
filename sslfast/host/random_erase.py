"""Boxes of images erased, over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _batch_rules, _check, _host
from sslfast.host import _arguments


def sample_erase(
    rows: int,
    image_size: tuple[int, int],
    *,
    p: float = 0.5,
    scale: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 3.3),
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Draws boxes to erase: :func:`sslfast.augment.sample_erase` in NumPy, said there in full.

    Args:
        rows: number of images N, at least 0.
        image_size: (height, width), in pixels.
        p: probability that an image is erased at all. Default: 0.5.
        scale: (low, high) of the box's share of the image's area, in [0, 1]. Default: (0.02, 0.33).
        ratio: (low, high) of the box's height / width, positive. Default: (0.3, 3.3).
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

    Returns:
        float32 (N, 6): top, left, height, width, and the key of the noise in two halves.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """
    name = "sample_erase"
    probability, scales, ratios = _batch_rules.erase_rules(name, p, scale, ratio)
    rows = _check.integer(name, "rows", rows, 0, 2**24)
    height, width = _arguments.image_size(name, image_size)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    bits = _arguments.seed_bits(name, seed)
    return _host.random_erase_params(bits, sample_ids, rows, height, width, probability, scales, ratios, row_offset)


def erase_boxes(
    images: NDArray[Any],
    params: NDArray[np.float32],
    value: float | Sequence[float] | str = 0.0,
    *,
    inplace: bool = False,
    threads: int = 1,
) -> NDArray[Any]:
    """Erases boxes: :func:`sslfast.augment.erase_boxes` in NumPy, said there in full.

    Args:
        images: float32, float16, float64 or uint8, shape (N, C, H, W).
        params: float32 (N, 6), of ``sample_erase``.
        value: a number, one number per channel, or "random", normal noise, of floats alone. Default: 0.
        inplace: change ``images``, contiguous, and return it. Default: False.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``images`` where ``inplace``, else a new array.

    Raises:
        TypeError: an array has another type, or an argument the wrong one.
        ValueError: a shape or the number of values is wrong; or, where ``inplace``, ``images`` is not contiguous and
            writeable.
    """
    name = "erase_boxes"
    images, out = _arguments.image_batch(name, images, _check.boolean(name, "inplace", inplace), (np.uint8,))
    params = _arguments.image_params(name, params, images.shape[0], 6)
    values, noise = _batch_rules.erase_values(name, value, images.shape[1])
    if images.dtype == np.uint8:
        _batch_rules.check_byte_values(name, values, noise)
    _host.erase_boxes(images, out, False, params, values, noise, _arguments.threads(name, threads))
    return out
