"""Sequences of ids, one a sample, as one tensor."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check, host


def id_tensor(function: str, sequence: Any) -> Tensor:
    """One sample's ids, int64 of shape (length,): from a list or tuple of ints, an array or a tensor.

    Raises:
        TypeError: if it is none of these, or holds anything but integers.
        ValueError: if it has more than one dimension.
    """
    if isinstance(sequence, (list, tuple)):
        try:
            flat = array("q", sequence)
            if any(_check.is_boolean(item) or getattr(item, "dtype", None) == torch.bool for item in sequence):
                raise TypeError
        except (TypeError, OverflowError):
            raise TypeError(f"{function}: ids must be ints of 64 bits, got {sequence!r:.60}") from None
        return torch.frombuffer(flat, dtype=torch.int64) if flat else torch.zeros(0, dtype=torch.int64)
    if not isinstance(sequence, Tensor) and not hasattr(sequence, "__array__"):
        raise TypeError(f"{function}: ids must be a list, an array or a tensor, got {type(sequence).__name__}")
    ids = torch.as_tensor(sequence)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{function}: ids must be integers, got {ids.dtype}")
    if ids.dim() != 1:
        raise ValueError(f"{function}: ids of one sample must have shape (length,), got {tuple(ids.shape)}")
    return ids.to(torch.int64)


def sample_ids_of(function: str, example: Any, key: str) -> Any:
    """The ids of one example: what a mapping has under ``key``, or the example itself.

    Raises:
        KeyError: if a mapping has no such key.
    """
    if isinstance(example, Mapping):
        if key not in example:
            raise KeyError(f"{function}: an example has no {key!r}")
        return example[key]
    return example


def padded(
    function: str,
    rows: Sequence[Any],
    length: int | None,
    fill: int,
    *,
    keep: str = "first",
    left: bool = False,
) -> tuple[Tensor, Tensor]:
    """One sample's ids a row, by default as long as the longest, as int64 (N, ``length``), and how many each row has.

    Of longer rows the first or last ids are kept. Rows are read by :func:`sslfast.host.pad_sequences`, and only those
    that it refuses turned into tensors one by one, which says what is wrong with them, or brings them from a GPU.

    Raises:
        TypeError, ValueError: as :func:`id_tensor`.
    """
    options: dict[str, Any] = {"side": "left" if left else "right", "bools": False}
    if length is not None:
        options |= {"length": length, "keep": keep}
    try:
        ids = host.pad_sequences(rows, padding_value=fill, **options)
    except (TypeError, ValueError):
        rows = [id_tensor(function, row).cpu() for row in rows]
        ids = host.pad_sequences(rows, padding_value=fill, **options)
    if ids.ndim != 2:  # rows of pairs
        rows = [id_tensor(function, row) for row in rows]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return torch.from_numpy(ids), lengths if length is None else lengths.clamp_(max=length)
