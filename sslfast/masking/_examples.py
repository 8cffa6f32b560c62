"""What collators take: lists of examples, stacked where they are no rows of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate


def check_examples(function: str, examples: Sequence[Any], name: str = "examples") -> None:
    """Refuses what is no list of examples.

    Raises:
        TypeError: if it is one example, or has no length.
        ValueError: if there is no example.
    """
    if isinstance(examples, (Mapping, str, bytes)) or not hasattr(examples, "__len__"):
        raise TypeError(f"{function}: {name} must be a list of examples, got {type(examples).__name__}")
    if isinstance(examples, Tensor) and examples.dim() == 0:
        raise TypeError(f"{function}: {name} must be a list of examples, got a tensor of shape ()")
    if len(examples) == 0:
        raise ValueError(f"{function}: {name} must not be empty, got {examples!r:.60}")


def collated(function: str, examples: Sequence[Any]) -> Any:
    """The examples by ``torch.utils.data.default_collate``.

    Raises:
        KeyError: if an example has not a key of the first.
        TypeError: if examples hold what makes no batch.
        ValueError: if they differ in shape or length.
    """
    try:
        return default_collate(list(examples))
    except KeyError as error:
        raise KeyError(f"{function}: an example has no {error}, which the first has") from None
    except TypeError as error:
        expected = "must hold tensors, arrays, numbers, mappings or lists alike"
        raise TypeError(f"{function}: examples {expected}, got {_first_line(error)}") from None
    except RuntimeError as error:
        raise ValueError(f"{function}: examples must have one shape, got {_first_line(error)}") from None


def stacked(function: str, name: str, tensors: Sequence[Any]) -> Tensor:
    """The tensors as one, with a dimension in front.

    Raises:
        TypeError: if one is no tensor.
        ValueError: if they differ in shape.
    """
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{function}: {name} must be tensors, got {type(tensor).__name__}")
        if tensor.shape != tensors[0].shape:
            expected = f"must have one shape, {tuple(tensors[0].shape)} like the first"
            raise ValueError(f"{function}: {name} {expected}, got {tuple(tensor.shape)}")
    return torch.stack(list(tensors))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].removeprefix("default_collate: ")
