"""SpecAugment over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def spec_augment(
    spec: NDArray[Any],
    *,
    n_freq_masks: int,
    freq_mask_param: int,
    n_time_masks: int,
    time_mask_param: int,
    p: float = 1.0,
    lengths: NDArray[Any] | None = None,
    mask_value: float | str = 0.0,
    inplace: bool = False,
    iid: bool = True,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Masks bands and intervals of spectrograms: :func:`sslfast.masking.spec_augment` in NumPy, said there in full.

    Args:
        spec: shape (..., F, T), float16, float32 or float64.
        n_freq_masks: bands, in [0, 32].
        freq_mask_param: greatest width of a band in bins.
        n_time_masks: intervals of frames, in [0, 32].
        time_mask_param: greatest width of an interval in frames.
        p: an interval is at most this share of the row's frames wide. Default: 1.
        lengths: integer (N,), N the first of at least three dimensions: the frames of each row before its padding,
            in [0, T]. Default: None, all T.
        mask_value: what masked cells get, or "mean", the mean of the spectrogram's own frames (in compat mode of the
            batch's). Default: 0.
        inplace: change ``spec`` and return it. Default: False.
        iid: every spectrogram draws its own masks; else all have the same. Default: True.
        mode: "exact" or "compat". Default: "exact".
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``spec`` where ``inplace``, else a new array of its shape and type.

    Raises:
        TypeError: ``spec`` is not an array of these types, or another argument has the wrong type.
        ValueError: a shape or number is out of range, there is no such mode, or ``spec`` cannot be changed, has
            strides that are no whole elements, or more than four dimensions that are not contiguous, where ``inplace``.

    Reference: Park et al., "SpecAugment", Interspeech 2019.
    """
    name = "spec_augment"
    if not isinstance(spec, np.ndarray) or spec.dtype not in (np.float16, np.float32, np.float64):
        got = spec.dtype if isinstance(spec, np.ndarray) else type(spec).__name__
        raise TypeError(f"{name}: spec must be a float16, float32 or float64 array, got {got}")
    if spec.ndim < 2 or spec.shape[-1] >= 2**31 or spec.shape[-2] >= 2**31:
        raise ValueError(f"{name}: spec must have shape (..., F, T) below 2^31, got {spec.shape}")
    sizes = _check.spec_masks(
        name, spec.shape[-2], n_freq_masks, freq_mask_param, n_time_masks, time_mask_param, p, iid, mode
    )
    inplace = _check.boolean(name, "inplace", inplace)
    rows = spec.shape[0] if spec.ndim > 2 else 1
    whole_elements = spec.flags.aligned and not any(s % spec.itemsize for s in spec.strides)
    if inplace and not (spec.flags.writeable and whole_elements and (spec.ndim <= 4 or spec.flags.c_contiguous)):
        raise ValueError(f"{name}: spec must be writeable and viewable as (N, C, F, T) where inplace")
    channels = int(np.prod(spec.shape[1:-2], dtype=np.int64)) if spec.ndim > 3 else 1
    shape = (rows, channels, *spec.shape[-2:])
    four = (spec if whole_elements else spec.copy()).reshape(shape)
    out = four if inplace else np.empty(shape, spec.dtype)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    lengths = _arguments.row_lengths(name, lengths, rows, spec.shape[-1])
    threads = _arguments.threads(name, threads)
    values = None
    if isinstance(mask_value, str):
        if mask_value != "mean":
            raise ValueError(f'{name}: mask_value must be a number or "mean", got {_check.shown(mask_value)}')
        values, mask_value = np.empty(rows * channels, spec.dtype), 0.0
        _host.spec_mean(four, values, lengths, mode == "compat", threads)
    constant = np.array(_check.real(name, "mask_value", mask_value)).astype(spec.dtype)
    _host.spec_augment(
        four,
        out,
        values,
        int(constant.view(f"u{spec.itemsize}")),
        _arguments.seed_bits(name, seed),
        sample_ids,
        lengths,
        *sizes,
        row_offset,
        threads,
    )
    return spec if inplace else out.reshape(spec.shape)
