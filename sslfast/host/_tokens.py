"""Arguments that every rule over token ids takes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslfast import _check
from sslfast.host import _arguments


class Replacement(NamedTuple):
    """What a masked token becomes, as the kernels take it."""

    mask_token_id: int
    vocab_size: int
    mask_replace_prob: float
    random_replace_prob: float
    random_token_ids: NDArray[np.int64] | None


def token_ids(function: str, ids: NDArray[Any]) -> NDArray[Any]:
    """Returns ids as (N, L).

    Raises:
        TypeError: if they are no array of int64, int32 or int16.
        ValueError: if they are neither (N, L) nor (L,).
    """
    if not isinstance(ids, np.ndarray):
        raise TypeError(f"{function}: ids must be an array, got {type(ids).__name__}")
    if ids.dtype not in (np.int64, np.int32, np.int16):
        raise TypeError(f"{function}: ids must be int64, int32 or int16, whose labels hold -100, got {ids.dtype}")
    if ids.ndim not in (1, 2):
        raise ValueError(f"{function}: ids must have shape (N, L) or (L,), got {ids.shape}")
    return np.atleast_2d(np.require(ids, requirements="A"))  # strides of a packed record are no whole elements: copied


def like_ids(
    function: str, name: str, value: NDArray[Any], ids: NDArray[Any], *, kind: str = "integer", last: int = 0
) -> NDArray[Any]:
    """Returns what is given for each token as (N, L), or (N, L, last).

    Raises:
        TypeError: if it is no array of integers, or of bool where ``kind`` says so.
        ValueError: if it has not the shape of ``ids``.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in ("iu" if kind == "integer" else "biu"):
        got = str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{function}: {name} must be {'an' if kind == 'integer' else 'a'} {kind} array, got {got}")
    expected = (*ids.shape, last) if last else ids.shape
    if value.shape != expected:
        like = "like ids" if not last else "ids' and the two ends"
        raise ValueError(f"{function}: {name} must have shape {expected}, {like}, got {value.shape}")
    return value if ids.ndim == 2 else value[None]


def replacement(
    function: str,
    ids: NDArray[Any],
    mask_token_id: int,
    vocab_size: int,
    mask_replace_prob: float,
    random_replace_prob: float,
    random_token_ids: NDArray[np.int64] | None,
) -> Replacement:
    """Returns the checked arguments.

    Raises:
        TypeError: if a number or ``random_token_ids`` has the wrong type.
        ValueError: if a number is out of range, the two shares exceed 1, or ``random_token_ids`` is not (R,), is
            empty, or has an id outside [0, ``vocab_size``).
    """
    bits = 8 * ids.itemsize
    vocab_size = _check.integer(function, "vocab_size", vocab_size, 1, 2 ** min(bits - 1, 32))
    mask_token_id = _check.integer(function, "mask_token_id", mask_token_id, 0, vocab_size - 1)
    mask_replace_prob = _check.probability(function, "mask_replace_prob", mask_replace_prob)
    random_replace_prob = _check.probability(function, "random_replace_prob", random_replace_prob)
    if mask_replace_prob + random_replace_prob > 1:
        shares = f"{mask_replace_prob} + {random_replace_prob}"
        raise ValueError(f"{function}: mask_replace_prob + random_replace_prob must be at most 1, got {shares}")
    if random_token_ids is not None:
        table = random_token_ids
        if not isinstance(table, np.ndarray) or table.dtype != np.int64:
            got = table.dtype if isinstance(table, np.ndarray) else type(table).__name__
            raise TypeError(f"{function}: random_token_ids must be an int64 array, got {got}")
        if table.ndim != 1 or not 1 <= table.size <= 2**32:
            raise ValueError(f"{function}: random_token_ids must have shape (R,), at least one id, got {table.shape}")
        _arguments.in_range(function, "random_token_ids", table, 0, vocab_size - 1)
        random_token_ids = np.ascontiguousarray(table)
    return Replacement(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
