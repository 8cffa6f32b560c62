"""ELECTRA's replacements over NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments


def sample_replacements(
    logits: NDArray[Any],
    *,
    temperature: float = 1.0,
    positions: NDArray[np.int64] | None = None,
    mode: str = "exact",
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[np.int64]:
    """Samples one id from every row of logits: :func:`sslfast.masking.sample_replacements` over NumPy arrays.

    Args:
        logits: shape (R, V) with V >= 1, float32 or float16, any strides.
        temperature: divides the logits, positive. Default: 1.0.
        positions: int64 (R,): rows below 0 are not sampled. Default: None, all are.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (R,), the number of each row in the draws. Default: None, ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        int64 (R,): an id in [0, V), or -1 for a row that is not sampled or has no distribution.

    Raises:
        TypeError: an array has another dtype, or a number the wrong type.
        ValueError: a shape or number is out of range, or there is no such mode.

    Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020.
    """
    name = "sample_replacements"
    if not isinstance(logits, np.ndarray):
        raise TypeError(f"{name}: logits must be an array, got {type(logits).__name__}")
    if logits.dtype not in (np.float32, np.float16):
        raise TypeError(f"{name}: logits must be float32 or float16, got {logits.dtype}")
    if logits.ndim != 2 or not 1 <= logits.shape[1] <= 2**32:
        raise ValueError(f"{name}: logits must have shape (R, V) with V >= 1, got {logits.shape}")
    temperature = check_temperature(name, temperature)
    _check.mode_is_exact(name, mode)
    if positions is not None:
        if not isinstance(positions, np.ndarray) or positions.dtype != np.int64:
            got = str(positions.dtype) if isinstance(positions, np.ndarray) else type(positions).__name__
            raise TypeError(f"{name}: positions must be an int64 array, got {got}")
        if positions.shape != logits.shape[:1]:
            raise ValueError(f"{name}: positions must have shape ({len(logits)},), one a row, got {positions.shape}")
        positions = np.ascontiguousarray(positions)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(logits))
    return _host.gumbel_sample(
        np.require(logits, requirements="A"),  # strides of a packed record are no whole elements: copied
        logits.dtype == np.float16,
        positions,
        _arguments.seed_bits(name, seed),
        sample_ids,
        temperature,
        row_offset,
        _arguments.threads(name, threads),
    )


def electra_inputs(
    ids: NDArray[Any], masked: NDArray[Any], sampled: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What ELECTRA's discriminator reads and predicts: :func:`sslfast.masking.electra_inputs` over NumPy arrays.

    Args:
        ids: the original token ids, shape (N, L), int64 or int32. Not changed.
        masked: where the generator's input was masked: int64 (R,), flat positions in [0, N * L) or -1, such as the
            third result of :func:`mask_tokens`; or bool (N, L).
        sampled: the generator's samples, int64 or int32, one for each of ``masked``: (R,), or (N, L) for a bool mask.
            Those where ``masked`` is -1 or False are not used.

    Returns:
        ``(corrupted, is_replaced)``: shape and dtype of ``ids``; bool (N, L), True where ``corrupted`` differs from
        ``ids``.

    Raises:
        TypeError: an array has another dtype than above.
        ValueError: a shape does not fit, or a position of ``masked`` is out of range.

    Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020,
    section 2.
    """
    name = "electra_inputs"
    integers = (np.int64, np.int32)
    for what, given, dtypes, kind in (
        ("ids", ids, integers, "an int64 or int32"),
        ("masked", masked, (np.int64, np.bool_), "an int64 or bool"),
        ("sampled", sampled, integers, "an int64 or int32"),
    ):
        if not isinstance(given, np.ndarray) or given.dtype not in dtypes:
            got = str(given.dtype) if isinstance(given, np.ndarray) else type(given).__name__
            raise TypeError(f"{name}: {what} must be {kind} array, got {got}")
    if ids.ndim != 2:
        raise ValueError(f"{name}: ids must have shape (N, L), got {ids.shape}")
    if masked.dtype == np.bool_:
        if masked.shape != ids.shape:
            raise ValueError(f"{name}: masked must have shape {ids.shape}, like ids, got {masked.shape}")
    elif masked.ndim != 1:
        raise ValueError(f"{name}: masked must have shape (R,), got {masked.shape}")
    if sampled.shape != masked.shape:
        raise ValueError(f"{name}: sampled must have shape {masked.shape}, like masked, got {sampled.shape}")
    if masked.dtype != np.bool_:
        _arguments.in_range(name, "masked", masked, -1, ids.size - 1)
    corrupted = np.array(ids, order="C")
    used = masked if masked.dtype == np.bool_ else masked >= 0
    places = used.reshape(-1) if masked.dtype == np.bool_ else masked[used]
    corrupted.reshape(-1)[places] = sampled[used].astype(ids.dtype)
    return corrupted, corrupted != ids


def check_temperature(function: str, temperature: float) -> float:
    """The temperature as a float.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not positive, or its inverse is not finite.
    """
    number = _check.real(function, "temperature", temperature)
    if number < 1e-30:
        raise ValueError(f"{function}: temperature must be at least 1e-30, got {temperature}")
    return number
