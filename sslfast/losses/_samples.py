"""Samples that are more than a row of numbers: one tensor (N, ...), or several of the same N, such as (x, z) pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast import ops
from sslfast.losses._inputs import check_floating, widened

Samples = Tensor | Sequence[Tensor]


def sample_parts(function: str, name: str, samples: Samples) -> list[tuple[str, Tensor]]:
    """Every tensor of the samples, after its name in an error.

    Raises:
        TypeError: if one is not a floating-point tensor.
        ValueError: if there is none, one has no element, or they differ in N.
    """
    parts: list[tuple[str, Tensor]]
    if isinstance(samples, (list, tuple)):
        parts = [(f"{name}[{index}]", x) for index, x in enumerate(samples)]
    else:
        parts = [(name, samples)]  # type: ignore[list-item]
    if not parts:
        raise ValueError(f"{function}: {name} must have at least one tensor, got none")
    for part, x in parts:
        check_floating(function, part, x)
        if x.dim() == 0 or x.numel() == 0:
            raise ValueError(f"{function}: {part} must have shape (N, ...) with all sizes >= 1, got {tuple(x.shape)}")
        if len(x) != len(parts[0][1]):
            expected = f"{len(parts[0][1])} samples, like {parts[0][0]}"
            raise ValueError(f"{function}: {part} must have {expected}, got {len(x)}")
    return parts


def flat_rows(tensors: Sequence[Tensor]) -> Tensor:
    """(N, D) in the dtype of accumulation: all numbers of a sample side by side."""
    rows = [z.flatten(1) if z.dim() > 1 else z.unsqueeze(1) for z in widened(*tensors)]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def uniform_rows(like: Tensor, seed: Tensor, stream: int, rows: int, count: int, row_offset: int) -> Tensor:
    """(rows, count) float32 uniform in (0, 1), on the device of ``like``: odd multiples of 2^-24."""
    words = ops.philox_words(like, seed, stream, rows, -(-count // 4), row_offset).view(rows, -1)[:, :count]
    return (((words >> 9) & 0x7FFFFF).float() + 0.5) * 2.0**-23
