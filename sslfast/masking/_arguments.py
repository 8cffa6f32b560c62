"""Arguments that every masking rule takes."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check


def numbered_rows(
    function: str, sample_ids: Tensor | None, row_offset: int, rows: int, device: torch.device
) -> tuple[Tensor | None, int]:
    """Returns how the operators take the rows' numbers: ids, or None and the number of row 0.

    Raises:
        TypeError: if ``sample_ids`` is no int64 tensor, or ``row_offset`` no integer.
        ValueError: if ``sample_ids`` has another shape than (rows,), is on another device, or both are given.
    """
    row_offset = _check.integer(function, "row_offset", row_offset, 0)
    if sample_ids is None:
        return None, row_offset
    if not isinstance(sample_ids, Tensor) or sample_ids.dtype != torch.int64:
        got = sample_ids.dtype if isinstance(sample_ids, Tensor) else type(sample_ids).__name__
        raise TypeError(f"{function}: sample_ids must be an int64 tensor, got {got}")
    if sample_ids.shape != (rows,):
        raise ValueError(f"{function}: sample_ids must have shape ({rows},), one a row, got {tuple(sample_ids.shape)}")
    if sample_ids.device != device:
        raise ValueError(f"{function}: sample_ids must be on {device}, got {sample_ids.device}")
    if row_offset != 0:
        raise ValueError(f"{function}: row_offset must be 0 beside sample_ids, got {row_offset}")
    return sample_ids.contiguous(), 0


def row_lengths(
    function: str, lengths: Tensor | None, rows: int, device: torch.device, longest: int | None
) -> Tensor | None:
    """Returns the rows' lengths as the operators take them, contiguous int64.

    They are looked at on the CPU alone, since a GPU would have to be waited for, and torch.compile cannot.

    Args:
        function: the name that errors begin with.
        lengths: what the caller gave.
        rows: how many there must be.
        device: where they must be.
        longest: the greatest they may be, or None where any number means something.

    Raises:
        TypeError: if ``lengths`` is no integer tensor.
        ValueError: if ``lengths`` has another shape than (rows,), is on another device, or is out of range.
    """
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor) or lengths.dtype not in _INTEGERS:
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"{function}: lengths must be an integer tensor, got {got}")
    if lengths.shape != (rows,):
        raise ValueError(f"{function}: lengths must have shape ({rows},), one a row, got {tuple(lengths.shape)}")
    if lengths.device != device:
        raise ValueError(f"{function}: lengths must be on {device}, got {lengths.device}")
    lengths = lengths.to(torch.int64).contiguous()
    if longest is not None and rows > 0:
        in_range(function, "lengths", lengths, 0, longest)
    return lengths


def in_range(function: str, name: str, values: Tensor, low: int, high: int) -> None:
    """Checks that int64 values on the CPU, at least one, are in [``low``, ``high``]; elsewhere it would have to wait.

    Raises:
        ValueError: if one is not.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return
    least, greatest = (int(end) for end in values.aminmax())
    if least < low or greatest > high:
        got = least if least < low else greatest
        raise ValueError(f"{function}: {name} must be in [{low}, {high}], got {got}")


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
