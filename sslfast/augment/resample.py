"""Resampling of waveforms, which torchaudio does."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from sslfast import _check
from sslfast._arguments import row_lengths
from sslfast.augment.audio_augment import check_waves


def resample(
    waves: Tensor, orig_freq: int, new_freq: int, *, lengths: Tensor | None = None, **options: Any
) -> Tensor | tuple[Tensor, Tensor]:
    """Resamples a batch: ``torchaudio.functional.resample``, with lengths.

    A speed perturbation by a factor such as 0.9 or 1.1 is ``resample(waves, round(factor * rate), rate)``: the tape is
    played that much faster. A batch has one factor; draw it, or group the rows by theirs.

    Args:
        waves: shape (N, T) or (N, C, T), floating point.
        orig_freq: samples a second of ``waves``, at least 1.
        new_freq: samples a second of the result, at least 1.
        lengths: integer (N,), the samples of each row before its padding, in [0, T]; on a GPU and under
            torch.compile, where they are not looked at, numbers outside count as the nearest of the two. Default: None.
        options: what ``torchaudio.functional.resample`` takes besides: ``lowpass_filter_width``, ``rolloff``,
            ``resampling_method``, ``beta``.

    Returns:
        The resampled waveforms, ``ceil(T * new_freq / orig_freq)`` samples long; with ``lengths`` also theirs, int64,
        rounded up alike.

    Raises:
        ImportError: torchaudio is not installed.
        TypeError: an argument has the wrong type.
        ValueError: a shape, device or number is out of range.
    """
    name = "resample"
    check_waves(name, waves)
    orig_freq = _check.integer(name, "orig_freq", orig_freq, 1)
    new_freq = _check.integer(name, "new_freq", new_freq, 1)
    lengths = row_lengths(name, lengths, waves.shape[0], waves.device, waves.shape[-1])
    try:
        from torchaudio.functional import resample as of_torchaudio
    except ImportError as error:
        raise ImportError(f"{name}: needs torchaudio, which is not installed: pip install torchaudio") from error
    out: Tensor = of_torchaudio(waves, orig_freq, new_freq, **options)
    if lengths is None:
        return out
    divisor = math.gcd(orig_freq, new_freq)
    low, high = orig_freq // divisor, new_freq // divisor
    return out, (lengths.clamp(0, waves.shape[-1]) * high + low - 1) // low
