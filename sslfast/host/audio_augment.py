"""Audio augmentation over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast._audio_rules import AUDIO_PARAMS, MOST_SAMPLES, Between, audio_rules, check_bank_is_used
from sslfast.host import _arguments

__all__ = ["AUDIO_PARAMS", "apply_audio_params", "sample_audio_params"]


def sample_audio_params(
    rows: int,
    length: int,
    *,
    shift: Between = None,
    shift_unit: str = "fraction",
    shift_p: float = 0.5,
    gain_db: Between = None,
    gain_p: float = 0.5,
    polarity_p: float = 0.0,
    noise_snr_db: Between = None,
    noise_p: float = 0.5,
    noise_bank_shape: tuple[int, int] | None = None,
    mix_snr_db: Between = None,
    mix_ratio: Between = None,
    mix_length: tuple[float, float] = (0.0, 0.5),
    mix_p: float = 0.5,
    lengths: NDArray[Any] | None = None,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Draws what is done to each waveform: :func:`sslfast.augment.sample_audio_params` in NumPy, said there in full.

    Args:
        rows: number of waveforms N, at least 0.
        length: samples T of each, in [0, 2^31).
        shift: (low, high) of the shift towards later. Default: None, never, as of every transform.
        shift_unit: "fraction" of the row's samples, or "samples". Default: "fraction".
        shift_p: probability of a shift. Default: 0.5.
        gain_db: (low, high) of the gain in dB. Default: None.
        gain_p: probability of a gain. Default: 0.5.
        polarity_p: probability that the sign changes. Default: 0.
        noise_snr_db: (low, high) of waveform over noise, in dB. Default: None.
        noise_p: probability of noise. Default: 0.5.
        noise_bank_shape: (K, Tn) of the bank. Default: None, white noise.
        mix_snr_db: (low, high) of waveform over a piece of another row, in dB. Default: None.
        mix_ratio: (low, high) of the waveform's weight in mixup; not beside ``mix_snr_db``. Default: None.
        mix_length: (low, high) of the piece's share of the row. Default: (0, 0.5).
        mix_p: probability that another row is mixed in. Default: 0.5.
        lengths: integer (N,): the samples of each row before its padding, in [0, T]. Default: None, all T.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        float64 (N, 13), columns named by ``AUDIO_PARAMS``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number or shape is out of range, a (low, high) is the wrong way round, there is no such unit, or
            both ways of mixing are given.

    Reference: as of the torch function.
    """
    name = "sample_audio_params"
    rules = audio_rules(
        name,
        shift=shift,
        shift_unit=shift_unit,
        shift_p=shift_p,
        gain_db=gain_db,
        gain_p=gain_p,
        polarity_p=polarity_p,
        noise_snr_db=noise_snr_db,
        noise_p=noise_p,
        mix_snr_db=mix_snr_db,
        mix_ratio=mix_ratio,
        mix_length=mix_length,
        mix_p=mix_p,
    )
    rows = _check.integer(name, "rows", rows, 0)
    length = _check.integer(name, "length", length, 0, MOST_SAMPLES)
    bank = (0, 0)
    if noise_bank_shape is not None:
        bank = _check.grid(name, "noise_bank_shape", noise_bank_shape, "(K, Tn)", MOST_SAMPLES)  # type: ignore[assignment]
    check_bank_is_used(name, "noise_bank_shape", noise_bank_shape, noise_snr_db)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, rows)
    return _host.audio_augment_params(
        _arguments.seed_bits(name, seed),
        sample_ids,
        _arguments.row_lengths(name, lengths, rows, length),
        rows,
        length,
        *rules,
        *bank,
        row_offset,
        _arguments.threads(name, threads),
    )


def apply_audio_params(
    waves: NDArray[Any],
    params: NDArray[np.float64],
    *,
    lengths: NDArray[Any] | None = None,
    noise_bank: NDArray[Any] | None = None,
    rollover: bool = True,
    threads: int = 1,
) -> NDArray[Any]:
    """Makes what ``params`` describes: :func:`sslfast.augment.apply_audio_params` in NumPy, said there in full.

    Args:
        waves: shape (N, T) or (N, C, T), float32, float16 or float64, any strides; T below 2^31.
        params: float64 (N, 13), columns named by ``AUDIO_PARAMS``.
        lengths: integer (N,): the samples of each row before its padding, which comes out as zero; in [0, T]. Default:
            None, all T.
        noise_bank: C-contiguous (K, Tn) of the dtype of ``waves``. Default: None, noise is white.
        rollover: what is shifted out comes in at the other end of the row's samples; else zeros do. Default: True.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        A new array of the shape and dtype of ``waves``.

    Raises:
        TypeError: an array has another dtype, or ``rollover`` is not a bool.
        ValueError: a shape or length is out of range, or ``noise_bank`` is empty or not contiguous.
    """
    name = "apply_audio_params"
    if not isinstance(waves, np.ndarray) or waves.dtype not in (np.float32, np.float16, np.float64):
        got = waves.dtype if isinstance(waves, np.ndarray) else type(waves).__name__
        raise TypeError(f"{name}: waves must be a float32, float16 or float64 array, got {got}")
    if waves.ndim not in (2, 3) or waves.shape[-1] > MOST_SAMPLES:
        raise ValueError(f"{name}: waves must have shape (N, T) or (N, C, T), T < 2^31, got {waves.shape}")
    rows = waves.shape[0]
    if not isinstance(params, np.ndarray) or params.dtype != np.float64:
        got = params.dtype if isinstance(params, np.ndarray) else type(params).__name__
        raise TypeError(f"{name}: params must be a float64 array, got {got}")
    if params.shape != (rows, len(AUDIO_PARAMS)):
        raise ValueError(f"{name}: params must have shape ({rows}, {len(AUDIO_PARAMS)}), got {params.shape}")
    if noise_bank is not None:
        if not isinstance(noise_bank, np.ndarray) or noise_bank.dtype != waves.dtype:
            got = noise_bank.dtype if isinstance(noise_bank, np.ndarray) else type(noise_bank).__name__
            raise TypeError(f"{name}: noise_bank must be a {waves.dtype} array, like waves, got {got}")
        if noise_bank.ndim != 2 or noise_bank.size == 0 or noise_bank.shape[1] > MOST_SAMPLES:
            raise ValueError(f"{name}: noise_bank must have shape (K, Tn), not empty, got {noise_bank.shape}")
        if not noise_bank.flags.c_contiguous or not noise_bank.flags.aligned:
            raise ValueError(f"{name}: noise_bank must be contiguous, got strides {noise_bank.strides}")
    rollover = _check.boolean(name, "rollover", rollover)
    three = waves[:, None] if waves.ndim == 2 else waves
    if not three.flags.aligned or any(stride % three.itemsize for stride in three.strides):
        three = three.copy()
    out = np.empty(three.shape, three.dtype)
    _host.audio_augment(
        three,
        out,
        np.ascontiguousarray(params),
        _arguments.row_lengths(name, lengths, rows, waves.shape[-1]),
        noise_bank,
        rollover,
        True,
        _arguments.threads(name, threads),
    )
    return out.reshape(waves.shape)
