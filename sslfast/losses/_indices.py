"""Pairs and triplets of rows, as a miner lists them: what of them is checked, and one made of the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast._arguments import strided
from sslfast.losses._inputs import check_device


def given_rows(function: str, rows: Sequence[Tensor], embeddings: Tensor, *, pairs: bool) -> list[Tensor]:
    """What :func:`listed_rows` gives as four vectors of ``pairs``, or as three of triplets."""
    found = listed_rows(function, rows, embeddings)
    return as_pairs(found) if pairs else as_triplets(found)


def listed_rows(function: str, rows: Sequence[Tensor], embeddings: Tensor) -> list[Tensor]:
    """Rows of anchors, positives and negatives; or of anchors and positives, and of anchors and negatives.

    Raises:
        TypeError: if they are not three int64 vectors of one length, or four in pairs of one length.
        ValueError: if they are on another device.
    """
    expected = "int64 vectors, four in pairs of one length or three of one length"
    if not isinstance(rows, (list, tuple)) or not all(isinstance(t, Tensor) for t in rows):
        raise TypeError(f"{function}: indices_tuple must be {expected}, got {type(rows).__name__}")
    found = [strided(function, "indices_tuple", t) for t in rows]
    groups = [found[:2], found[2:]] if len(found) == 4 else [found]
    right = len(found) in (3, 4) and all(t.dim() == 1 and t.dtype == torch.int64 for t in found)
    if not right or any(t.shape != group[0].shape for group in groups for t in group):
        got = ", ".join(f"{t.dtype} {tuple(t.shape)}" for t in rows)
        raise TypeError(f"{function}: indices_tuple must be {expected}, got {got}")
    for t in rows:
        check_device(function, "embeddings", embeddings, "indices_tuple", t)
    return found


def as_pairs(rows: list[Tensor]) -> list[Tensor]:
    """Of a triplet its anchor with the positive, and with the negative."""
    return rows if len(rows) == 4 else [*rows[:2], rows[0].view_as(rows[0]), rows[2]]


def as_triplets(rows: list[Tensor]) -> list[Tensor]:
    """Of pairs every positive one with every negative one of its anchor, in their order; a GPU is waited for."""
    if len(rows) == 3:
        return rows
    anchors, positives, others, negatives = rows
    ordered, order = torch.sort(others, stable=True)
    first = torch.searchsorted(ordered, anchors)
    counts = torch.searchsorted(ordered, anchors, right=True) - first
    pair = torch.repeat_interleave(counts)
    place = torch.arange(len(pair), device=pair.device) - (counts.cumsum(0) - counts)[pair]
    return [anchors[pair], positives[pair], negatives[order[first[pair] + place]]]


def check_rows_exist(function: str, rows: Tensor, name: str, count: int) -> None:
    """On the CPU, that rows of the tensor of that name, which has ``count``, exist.

    Raises:
        IndexError: if one does not.
    """
    if not rows.is_cpu or not len(rows) or torch.compiler.is_compiling():
        return
    low, high = (int(end) for end in rows.aminmax())
    if low < 0 or high >= count:
        got = low if low < 0 else high
        raise IndexError(f"{function}: indices_tuple must be in [0, {count - 1}], rows of {name}, got {got}")
