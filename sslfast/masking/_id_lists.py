"""Sequences of ids, one a sample, as one tensor."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def id_tensor(function: str, sequence: Any) -> Tensor:
    """One sample's ids, int64 of shape (length,): from a list or tuple of ints, an array or a tensor.

    Raises:
        TypeError: if it is none of these, or holds anything but integers.
        ValueError: if it has more than one dimension.
    """
    if isinstance(sequence, (list, tuple)):
        try:
            flat = array("q", sequence)
        except (TypeError, OverflowError) as error:
            raise TypeError(f"{function}: ids must be ints of 64 bits, got {sequence!r:.60}") from error
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


def padded(sequences: Sequence[Tensor], length: int, fill: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
    """The sequences, none longer than ``length``, as (N, length), and their lengths."""
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.int64)
    ids = torch.full((len(sequences), length), fill, dtype=torch.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        if left:
            row[length - len(sequence) :] = sequence
        else:
            row[: len(sequence)] = sequence
    return ids, lengths
