"""Sequences of unequal lengths in one padded array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sslfast import _check, _host

_DTYPES = ("int64", "int32", "int16", "uint8")
_LENGTH = 2**32 - 1  # what the rules over tokens take


def pad_sequences(
    sequences: Sequence[Any],
    *,
    padding_value: int,
    length: int | None = None,
    multiple_of: int | None = None,
    dtype: DTypeLike = np.int64,
    side: str = "right",
    none_value: int | None = None,
    keep: str | None = None,
    bools: bool = True,
) -> NDArray[Any]:
    """Puts sequences of ints into one array, padded to one length.

    ``numpy.stack([numpy.pad(row, (0, length - len(row)), constant_values=padding_value) for row in sequences])``, read
    through Python's C API: tokenised text comes as lists of ints, and turning these into arrays one by one is most of
    the time of a collator.

    Args:
        sequences: N rows, each a list or tuple of ints, or a one-dimensional integer or bool array, or whatever NumPy
            makes one of without copying from a GPU, such as a torch tensor. They may be mixed. A row's elements may all
            be lists or tuples of the same number W of ints instead, such as the two ends of ``offset_mapping``, or
            the rows arrays of shape (L, W).
        padding_value: what stands where a row has no element.
        length: length of the result; no row may be longer, unless ``keep`` says what of it is kept. Default: None, that
            of the longest row.
        multiple_of: the longest row's length is rounded up to a multiple of it. Default: None, 1.
        dtype: int64, int32, int16 or uint8. Default: int64.
        side: where the padding goes, "right" or "left". Default: "right".
        none_value: what None stands for in a list, such as -1 in a fast tokenizer's ``word_ids()``. Default: None, an
            error.
        keep: which elements of a row longer than ``length`` are kept, its "first" or its "last"; the others are checked
            all the same. Default: None, an error.
        bools: whether bools count as ints; False refuses them. Default: True.

    Returns:
        A contiguous array of shape (N, length), or (N, length, W).

    Raises:
        TypeError: ``sequences`` is not a sequence, a row not one of the above, an element not an int, or an option has
            the wrong type.
        ValueError: a row is longer than ``length`` or has another W, a number does not fit in ``dtype``, an option is
            out of range, both ``length`` and ``multiple_of`` are given, or ``keep`` without ``length``.
    """
    name = "pad_sequences"
    if isinstance(sequences, (str, bytes, Mapping)) or not hasattr(sequences, "__len__"):
        raise TypeError(f"{name}: sequences must be a sequence of rows, got {type(sequences).__name__}")
    try:
        kind = np.dtype(dtype).name
    except TypeError:
        kind = repr(dtype)
    if kind not in _DTYPES:
        raise TypeError(f"{name}: dtype must be int64, int32, int16 or uint8, got {kind}")
    limits = np.iinfo(kind)
    padding_value = _check.integer(name, "padding_value", padding_value, int(limits.min), int(limits.max))
    if none_value is not None:
        none_value = _check.integer(name, "none_value", none_value, int(limits.min), int(limits.max))
    if length is not None:
        length = _check.integer(name, "length", length, 0, _LENGTH)
        if multiple_of is not None:
            raise ValueError(f"{name}: length must be None beside multiple_of, got {length}")
    multiple = 1 if multiple_of is None else _check.integer(name, "multiple_of", multiple_of, 1, _LENGTH)
    _check.one_of(name, "side", side, ("right", "left"))
    if keep is not None:
        _check.one_of(name, "keep", keep, ("first", "last"))
        if length is None:
            raise ValueError(f"{name}: length must be given beside keep, got None")
    bools = _check.boolean(name, "bools", bools)
    given, left = -1 if length is None else length, side == "left"
    return _host.pad_sequences(sequences, padding_value, given, multiple, kind, left, none_value, keep or "", bools)
