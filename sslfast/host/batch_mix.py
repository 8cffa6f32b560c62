"""Images of a batch mixed with one another, over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _batch_rules, _check, _host
from sslfast.host import _arguments


def sample_mix(
    rows: int,
    image_size: tuple[int, int],
    *,
    mixup_alpha: float = 1.0,
    cutmix_alpha: float = 0.0,
    cutmix_minmax: Sequence[float] | None = None,
    prob: float = 1.0,
    switch_prob: float = 0.5,
    mode: str = "batch",
    partner: str = "roll",
    box: str = "torchvision",
    correct_lam: bool = True,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Draws how a batch is mixed: :func:`sslfast.augment.sample_mix` in NumPy, said there in full.

    Args:
        rows: number of images N, at least 0.
        image_size: (height, width), in pixels.
        mixup_alpha: of the blends; 0: no blends. Default: 1.
        cutmix_alpha: of the boxes; 0: no boxes. Default: 0.
        cutmix_minmax: (low, high): sides of boxes uniform within these shares of the image's. Default: None.
        prob: probability of mixing. Default: 1.
        switch_prob: probability of a box, where there are both. Default: 0.5.
        mode: "batch", "pair" or "elem": who shares a draw. Default: "batch".
        partner: "roll", "flip" or "permutation". Default: "roll".
        box: "torchvision" or "timm". Default: "torchvision".
        correct_lam: lambda of a box is the share of the image outside it. Default: True.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.

    Returns:
        float32 (N, 7): kind, partner, lam, top, left, height, width.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a word is not one of these.

    Reference: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019.
    """
    name = "sample_mix"
    rules = _batch_rules.mix_rules(
        name, mixup_alpha, cutmix_alpha, cutmix_minmax, prob, switch_prob, mode, partner, box, correct_lam
    )
    rows = _check.integer(name, "rows", rows, 0, 2**24)
    height, width = _arguments.image_size(name, image_size)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    bits = _arguments.seed_bits(name, seed)
    return _host.batch_mix_params(bits, sample_ids, rows, height, width, *rules, row_offset)


def mix_images(
    images: NDArray[Any], params: NDArray[np.float32], *, inplace: bool = False, threads: int = 1
) -> NDArray[Any]:
    """Mixes images as ``params`` say: :func:`sslfast.augment.mix_images` in NumPy, said there in full.

    Args:
        images: float32, float16 or float64 or uint8, shape (N, C, H, W).
        params: float32 (N, 7), of ``sample_mix``.
        inplace: change ``images``, contiguous, and return it. Partners have to be a permutation. Default: False.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``images`` where ``inplace``, else a new array.

    Raises:
        TypeError: an array has another type, or an argument the wrong one.
        ValueError: a shape is wrong; or, where ``inplace``, ``images`` is not contiguous and writeable, or partners
            are no permutation.
    """
    name = "mix_images"
    images, out = _arguments.image_batch(name, images, _check.boolean(name, "inplace", inplace), (np.uint8,))
    params = _arguments.image_params(name, params, images.shape[0], 7)
    if not _host.batch_mix(images, out, params, _arguments.threads(name, threads)):
        raise ValueError(f"{name}: params must have a permutation of the batch for partners where inplace")
    return out
