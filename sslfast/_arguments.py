"""Arguments that rules over rows of a batch take, whatever they do with them."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check


def strided(function: str, name: str, value: Tensor) -> Tensor:
    """Returns a tensor of elements in memory, of any strides, which is what the operators read.

    Raises:
        TypeError: if it is no tensor, or sparse, quantised or nested.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(value).__name__}")
    if torch.compiler.is_compiling():  # which knows no other tensors here, and not how to ask in a backward
        return value
    if value.layout != torch.strided or value.is_nested or value.is_quantized:
        if value.is_nested:
            got = "a nested one"
        else:
            got = f"a quantised one, {value.dtype}" if value.is_quantized else f"one of {value.layout}"
        raise TypeError(f"{function}: {name} must be a plain strided tensor, got {got}")
    return value


def of_dtype(function: str, name: str, value: object, dtype: torch.dtype) -> Tensor:
    """Returns a strided tensor of ``dtype``, which is bool or int64.

    Raises:
        TypeError: if it is something else.
    """
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        expected = "a bool" if dtype == torch.bool else "an int64"
        raise TypeError(f"{function}: {name} must be {expected} tensor, got {got}")
    return strided(function, name, value)


def numbered_rows(
    function: str, sample_ids: Tensor | None, row_offset: int, rows: int, device: torch.device
) -> tuple[Tensor | None, int]:
    """Returns how the operators take the rows' numbers: ids, or None and the number of row 0.

    Raises:
        TypeError: if ``sample_ids`` is no int64 tensor, or ``row_offset`` no integer.
        ValueError: if ``sample_ids`` has another shape than (rows,), is on another device, or both are given.
    """
    if sample_ids is None and type(row_offset) is int and 0 <= row_offset < 2**63:
        return None, row_offset  # as nearly always
    row_offset = _check.integer(function, "row_offset", row_offset, 0)
    if sample_ids is None:
        return None, row_offset
    of_dtype(function, "sample_ids", sample_ids, torch.int64)
    if sample_ids.shape != (rows,):
        raise ValueError(f"{function}: sample_ids must have shape ({rows},), one a row, got {tuple(sample_ids.shape)}")
    if sample_ids.device != device:
        raise ValueError(f"{function}: sample_ids must be on {device}, got {sample_ids.device}")
    if row_offset != 0:
        raise ValueError(f"{function}: row_offset must be 0 beside sample_ids, got {row_offset}")
    return sample_ids.contiguous(), 0


def row_lengths(function: str, lengths: Tensor | None, rows: int, device: torch.device, longest: int) -> Tensor | None:
    """Returns the rows' lengths as the operators take them, contiguous int64.

    Raises:
        TypeError: if ``lengths`` is no integer tensor.
        ValueError: if ``lengths`` has another shape than (rows,), is on another device, or, where :func:`in_range`
            looks, is outside [0, ``longest``].
    """
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor) or lengths.dtype not in _INTEGERS:
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"{function}: lengths must be an integer tensor, got {got}")
    strided(function, "lengths", lengths)
    if lengths.shape != (rows,):
        raise ValueError(f"{function}: lengths must have shape ({rows},), one a row, got {tuple(lengths.shape)}")
    if lengths.device != device:
        raise ValueError(f"{function}: lengths must be on {device}, got {lengths.device}")
    lengths = lengths.to(torch.int64).contiguous()
    in_range(function, "lengths", lengths, 0, longest)
    return lengths


def in_range(function: str, name: str, values: Tensor, low: int, high: int) -> None:
    """Checks that integers on the CPU are in [``low``, ``high``].

    Those on a GPU are not looked at, since the host would have to wait for them, and neither are those of
    torch.compile, which cannot branch on them: the operators take what is outside as the nearest that is inside.

    Raises:
        ValueError: if one is not.
    """
    if values.device.type != "cpu" or values.numel() == 0 or torch.compiler.is_compiling():
        return
    least, greatest = (int(end) for end in values.aminmax())
    if least < low or greatest > high:
        got = least if least < low else greatest
        raise ValueError(f"{function}: {name} must be in [{low}, {high}], got {got}")


def each_once(function: str, name: str, positions: Tensor, size: int) -> None:
    """Checks that positions in [0, ``size``) on the CPU name none of them twice; -1, for none, may come often.

    Positions are in range already: see :func:`in_range`, which says where neither looks.

    Raises:
        ValueError: if one comes twice.
    """
    if positions.device.type != "cpu" or positions.numel() < 2 or torch.compiler.is_compiling():
        return
    seen = torch.zeros(size + 1, dtype=torch.bool)
    seen[positions.flatten()] = True  # -1 is the last
    if int(seen[:size].count_nonzero()) == int((positions >= 0).count_nonzero()):
        return
    ordered = positions.flatten().sort().values
    twice = ordered[1:][(ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)]
    raise ValueError(f"{function}: {name} must have every position once, got {int(twice[0])} twice or more")


def like_ids(function: str, name: str, value: Tensor, ids: Tensor, *, kind: str = "integer", last: int = 0) -> Tensor:
    """Returns what is given for each token as (N, L), or (N, L, last).

    Raises:
        TypeError: if it is no tensor, or of floating point, or bool where ``kind`` is "integer".
        ValueError: if it has not the shape of ``ids``, or is on another device.
    """
    bad = not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex()
    if bad or (kind == "integer" and value.dtype == torch.bool):
        got: object = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{function}: {name} must be {'an' if kind == 'integer' else 'a'} {kind} tensor, got {got}")
    strided(function, name, value)
    expected = (*ids.shape, last) if last else tuple(ids.shape)
    if value.shape != expected:
        like = "like ids" if not last else "ids' and the two ends"
        raise ValueError(f"{function}: {name} must have shape {tuple(expected)}, {like}, got {tuple(value.shape)}")
    if value.device != ids.device:
        raise ValueError(f"{function}: {name} must be on {ids.device}, like ids, got {value.device}")
    return value if ids.dim() == 2 else value[None]


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
