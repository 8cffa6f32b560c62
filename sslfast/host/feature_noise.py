"""Noise of tabular features over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def add_feature_noise(
    x: NDArray[Any],
    scale: float | NDArray[Any] = 0.1,
    *,
    std: NDArray[Any] | None = None,
    noise: str = "gaussian",
    probability: float = 1.0,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[Any]:
    """Adds noise to features: :func:`sslfast.augment.add_feature_noise` over NumPy arrays.

    Args:
        x: shape (N, D), float16, float32 or float64, any strides. Not changed.
        scale: of the noise, one number, or one for each feature (D,). Default: 0.1.
        std: (D,), what ``scale`` is in units of. Default: None, absolute.
        noise: ``"gaussian"`` or ``"uniform"``. Default: ``"gaussian"``.
        probability: of each cell to get noise. Default: 1.0.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        Shape and type of ``x``.

    Raises:
        TypeError: an array or number has the wrong type.
        ValueError: a shape, number or name is out of range.
    """
    name = "add_feature_noise"
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name}: x must be an array, got {type(x).__name__}")
    if x.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{name}: x must be float16, float32 or float64, got {x.dtype}")
    if x.ndim != 2:
        raise ValueError(f"{name}: x must have shape (N, D), got {x.shape}")
    wide = np.float64 if x.dtype == np.float64 else np.float32
    factors = None
    number = 1.0
    if isinstance(scale, np.ndarray):
        factors = _factors(name, "scale", scale, x.shape[1], wide)
    else:
        number = check_scale(name, scale)
    if std is not None:
        given = _factors(name, "std", std, x.shape[1], wide)
        factors = given if factors is None else factors * given
    gaussian, probability = check_noise(name, noise, probability)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(x))
    return _host.feature_noise(
        np.require(x, requirements="A"),
        factors,
        _arguments.seed_bits(name, seed),
        sample_ids,
        number,
        probability,
        gaussian,
        row_offset,
        _arguments.threads(name, threads),
    )


def _factors(function: str, name: str, value: NDArray[Any], features: int, dtype: Any) -> NDArray[Any]:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{function}: {name} must be a floating-point array, got {got}")
    if value.shape != (features,):
        raise ValueError(f"{function}: {name} must have shape ({features},), one a feature, got {value.shape}")
    return np.ascontiguousarray(value, dtype)


def check_scale(function: str, scale: float) -> float:
    """Returns a scale that is one number.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is negative, or not finite.
    """
    number = _check.real(function, "scale", scale)
    if number < 0:
        raise ValueError(f"{function}: scale must be at least 0, got {scale}")
    return number


def check_noise(function: str, noise: str, probability: float) -> tuple[bool, float]:
    """Whether the noise is Gaussian, and the probability, as the kernels take them.

    Raises:
        TypeError: if the probability is not a number.
        ValueError: if it is out of range, or there is no such noise.
    """
    _check.one_of(function, "noise", noise, ("gaussian", "uniform"))
    return noise == "gaussian", _check.probability(function, "probability", probability)
