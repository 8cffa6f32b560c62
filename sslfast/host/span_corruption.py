"""T5 span corruption over NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check, _host
from sslfast.host import _arguments
from sslfast.host.mask_indices import compact


class CorruptedSpans(NamedTuple):
    """What the encoder reads and the decoder predicts: ``sslfast.masking.CorruptedSpans`` in NumPy arrays.

    Attributes:
        inputs: (N, input length), dtype of the ids: the kept tokens, each noise span replaced by its sentinel.
        targets: (N, target length), dtype of the ids: each sentinel and the noise that it stands for.
        input_lengths: int64 (N,), how many of a row's inputs are not padding.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    input_lengths: NDArray[np.int64]


class CountedTargets(NamedTuple):
    """Targets with their compact form: ``sslfast.masking.CountedTargets`` in NumPy arrays.

    Attributes:
        inputs, targets, input_lengths: as of :class:`CorruptedSpans`.
        indices: int64 (N * target length,), the flat positions with a target in ascending order, then -1: those that
            are not ``ignore_index``.
        counts: int64 (N,), how many of each row.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    input_lengths: NDArray[np.int64]
    indices: NDArray[np.int64]
    counts: NDArray[np.int64]


def t5_lengths(inputs_length: int, noise_density: float = 0.15, mean_noise_span_length: float = 3.0) -> tuple[int, int]:
    """How many tokens fill an encoder of ``inputs_length`` after span corruption, and how many the decoder gets.

    The numbers of ``compute_input_and_target_lengths`` in transformers and of ``random_spans_helper`` in T5: 568 and
    114 for 512. Both outputs end with EOS.

    Args:
        inputs_length: length of the inputs, at least 4.
        noise_density: share of the tokens that is noise, in (0, 1). Default: 0.15.
        mean_noise_span_length: mean length of a span, at least 1. Default: 3.0.

    Returns:
        ``(tokens_length, targets_length)``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.

    Reference: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
    2020, section 3.1.4.
    """
    name = "t5_lengths"
    inputs_length = _check.integer(name, "inputs_length", inputs_length, 4)
    noise_density, mean = check_density(name, noise_density, mean_noise_span_length)

    def sizes(tokens: int) -> tuple[int, int]:
        noise, spans = span_counts(tokens, noise_density, mean, "compat")
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = 2  # its inputs are never longer than 4
    low, high = 2, 2
    while sizes(high)[0] <= inputs_length:  # inputs grow with the tokens
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sizes(middle)[0] <= inputs_length else (low, middle)
    tokens = low
    targets_length = sizes(tokens)[1]
    if noise_density == 0.5 and targets_length > inputs_length:  # T5 makes the two equal
        tokens, targets_length = tokens - 1, targets_length - 1
    return tokens, targets_length


def corrupt_spans(
    ids: NDArray[Any],
    *,
    sentinel_id: int,
    eos_token_id: int | None = 1,
    pad_token_id: int = 0,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    descending: bool = True,
    ignore_index: int = -100,
    lengths: NDArray[Any] | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    seed: int,
    row_offset: int = 0,
    sample_ids: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> CorruptedSpans | Any:
    """Replaces spans by sentinels as T5 does: :func:`sslfast.masking.corrupt_spans` over NumPy arrays.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides. Not changed.
        sentinel_id: the id of the first span's sentinel (``<extra_id_0>``).
        eos_token_id: ends inputs and targets. Default: 1; None leaves it out.
        pad_token_id: fills up the inputs. Default: 0.
        noise_density: share of the tokens that is noise, in (0, 1). Default: 0.15.
        mean_noise_span_length: mean length of a span, at least 1. Default: 3.0.
        descending: whether the second sentinel is ``sentinel_id - 1``, as in T5, or one more. Default: True.
        ignore_index: fills up the targets. Default: -100.
        lengths: integer (N,), the tokens of each row that count, in [0, L]. Default: None, all
            L.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where targets are too. Default: False.
        seed: 64-bit signed seed, what the torch function takes as ``generator=seed``.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.
        threads: OpenMP threads; the result is the same for any number. Default: 1, right for a DataLoader worker.

    Returns:
        ``CorruptedSpans(inputs, targets, input_lengths)``; with ``return_counts``
        ``CountedTargets(inputs, targets, input_lengths, indices, counts)``.

    Raises:
        TypeError: an array has another dtype, or a number the wrong type.
        ValueError: a shape, number or mode is out of range, there are fewer ids below ``sentinel_id`` than spans, or
            ``eos_token_id``, ``pad_token_id`` or ``ignore_index`` is one of the sentinels.

    Reference: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
    2020, section 3.1.4.
    """
    name = "corrupt_spans"
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{name}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.ndim != 2:
        raise ValueError(f"{name}: ids must have shape (N, L), got {ids.shape}")
    lengths = _arguments.row_lengths(name, lengths, len(ids), ids.shape[1])
    numbers = check_numbers(
        name,
        ids.shape[1],
        32 if ids.dtype == np.int32 else 64,
        sentinel_id,
        eos_token_id,
        pad_token_id,
        noise_density,
        mean_noise_span_length,
        descending,
        ignore_index,
        mode,
    )
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = _arguments.numbered_rows(name, sample_ids, row_offset, len(ids))
    threads = _arguments.threads(name, threads)
    kernel = _host.span_corruption_int32 if ids.dtype == np.int32 else _host.span_corruption_int64
    out = CorruptedSpans(
        *kernel(
            np.require(ids, requirements="A"),  # strides of a packed record are no whole elements: copied
            lengths,
            _arguments.seed_bits(name, seed),
            sample_ids,
            *numbers,
            row_offset,
            threads,
        )
    )
    return CountedTargets(*out, *compact(out.targets != ignore_index, threads=threads)) if return_counts else out


def span_counts(length: int, noise_density: float, mean: float, mode: str) -> tuple[int, int]:
    """Tokens of noise in a row, and spans that they fall into: csrc/shared/span_corruption_walk.h in Python."""
    if length < 2:
        return 0, 0
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = min(max(round(noise / mean), 1), noise)
    return noise, min(spans, length - noise + (mode == "exact"))


def check_density(function: str, noise_density: float, mean_noise_span_length: float) -> tuple[float, float]:
    """The two numbers that shape the noise.

    Raises:
        TypeError: one is not a number.
        ValueError: one is out of range.
    """
    density = _check.real(function, "noise_density", noise_density)
    if not 0.0 < density < 1.0:
        raise ValueError(f"{function}: noise_density must be in (0, 1), got {noise_density}")
    mean = _check.real(function, "mean_noise_span_length", mean_noise_span_length)
    if mean < 1.0:
        raise ValueError(f"{function}: mean_noise_span_length must be at least 1, got {mean_noise_span_length}")
    return density, mean


def check_numbers(
    function: str,
    length: int,
    bits: int,
    sentinel_id: int,
    eos_token_id: int | None,
    pad_token_id: int,
    noise_density: float,
    mean_noise_span_length: float,
    descending: bool,
    ignore_index: int,
    mode: str,
) -> tuple[Any, ...]:
    """The numbers as the kernels take them, with the lengths of the outputs last.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: a number or the mode is out of range, or another id is one of a full row's sentinels.
    """
    density, mean = check_density(function, noise_density, mean_noise_span_length)
    exact = _check.mode_is_exact(function, mode)
    descending = _check.boolean(function, "descending", descending)
    high = 2 ** (bits - 1) - 1
    sentinel_id = _check.integer(function, "sentinel_id", sentinel_id, 0, high)
    if eos_token_id is not None:
        eos_token_id = _check.integer(function, "eos_token_id", eos_token_id, 0, high)
    pad_token_id = _check.integer(function, "pad_token_id", pad_token_id, -high, high)
    ignore_index = _check.integer(function, "ignore_index", ignore_index, -high, high)
    noise, spans = span_counts(length, density, mean, mode)
    last = sentinel_id - spans + 1 if descending else sentinel_id + spans - 1
    if spans > 0 and not 0 <= last <= high:
        raise ValueError(f"{function}: sentinel_id must leave room for {spans} sentinels, got {sentinel_id}")
    for name, other in (("eos_token_id", eos_token_id), ("pad_token_id", pad_token_id), ("ignore_index", ignore_index)):
        if other is not None and spans > 0 and min(sentinel_id, last) <= other <= max(sentinel_id, last):
            expected = f"must be none of the {spans} sentinels from {sentinel_id} to {last}"
            raise ValueError(f"{function}: {name} {expected}, got {other}")
    ends = 0 if eos_token_id is None else 1
    sizes = (length - noise + spans + ends, noise + spans + ends)
    step = -1 if descending else 1
    return density, mean, exact, sentinel_id, step, eos_token_id, pad_token_id, ignore_index, *sizes
