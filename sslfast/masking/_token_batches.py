"""Examples of tokenised text as one batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking._vocabulary import Vocabulary

TOKEN_KEYS = ("attention_mask", "token_type_ids", "special_tokens_mask", "word_ids", "offset_mapping")


def padded_batch(
    function: str, examples: Sequence[Any], vocabulary: Vocabulary, multiple_of: int | None, without: str | None = None
) -> dict[str, Tensor]:
    """Columns of the examples, (N, L) where they hold a number for each token; ``attention_mask`` is always there.

    Examples are mappings with ``input_ids``, or rows of ids. ``labels`` and the key ``without`` are left out.

    Raises:
        KeyError: if an example has not a key of the first, or the first no ``input_ids``.
        TypeError: if a column holds what makes no tensor, or ``input_ids`` anything but ints.
        ValueError: if there is no example, a column has not as many elements as ``input_ids``, or rows of unequal
            lengths meet no ``pad_token_id``.
    """
    if len(examples) == 0:
        raise ValueError(f"{function}: examples must not be empty, got {examples!r:.60}")
    columns = _columns(function, examples, without)
    rows = columns["input_ids"]
    pads = {
        "input_ids": vocabulary.pad_token_id or 0,
        "token_type_ids": vocabulary.pad_token_type_id,
        "special_tokens_mask": 1,
        "word_ids": -1,
    }
    options: dict[str, Any] = {"multiple_of": multiple_of, "side": vocabulary.padding_side}
    ids = _padded(function, "input_ids", rows, padding_value=pads["input_ids"], bools=False, **options)
    batch = {"input_ids": ids}
    lengths = [len(row) for row in rows]
    width = batch["input_ids"].shape[1]
    if batch["input_ids"].dim() != 2:
        raise ValueError(f"{function}: input_ids of an example must be ints, got rows of them")
    if vocabulary.pad_token_id is None and any(length != width for length in lengths):
        expected = "must be known where rows are padded"
        raise ValueError(f"{function}: pad_token_id {expected}, got None and lengths {min(lengths)} to {width}")
    for key, column in columns.items():
        if key == "input_ids":
            continue
        if key in TOKEN_KEYS or _is_for_each_token(column, lengths):
            for i, (row, length) in enumerate(zip(column, lengths, strict=True)):
                if not hasattr(row, "__len__") or len(row) != length:
                    got = len(row) if hasattr(row, "__len__") else type(row).__name__
                    expected = f"must have {length} elements, like input_ids"
                    raise ValueError(f"{function}: {key} of examples[{i}] {expected}, got {got}")
            none_value = -1 if key == "word_ids" else None
            value = pads.get(key, 0)
            try:
                batch[key] = _padded(function, key, column, padding_value=value, none_value=none_value, **options)
            except TypeError:  # other numbers than ints, which may still make a tensor
                if key in TOKEN_KEYS:
                    raise
                batch[key] = _stacked(function, key, column)
        else:
            batch[key] = _stacked(function, key, column)
    if "attention_mask" not in batch:
        place = torch.arange(width)
        count = torch.tensor(lengths)[:, None]
        inside = place < count if vocabulary.padding_side == "right" else place >= width - count
        batch["attention_mask"] = inside.to(torch.int64)
    return batch


def _columns(function: str, examples: Sequence[Any], without: str | None) -> dict[str, list[Any]]:
    first = examples[0]
    if not isinstance(first, Mapping):
        return {"input_ids": list(examples)}
    if "input_ids" not in first:
        raise KeyError(f"{function}: an example must have 'input_ids', got {', '.join(map(repr, first)) or 'nothing'}")
    columns: dict[str, list[Any]] = {}
    for key in first:
        if key not in ("labels", without):
            try:
                columns[key] = [example[key] for example in examples]
            except (KeyError, TypeError, IndexError):
                raise KeyError(f"{function}: an example has no {key!r}, which the first has") from None
    return columns


def _padded(function: str, key: str, column: list[Any], **options: Any) -> Tensor:
    try:
        return torch.from_numpy(host.pad_sequences(column, **options))
    except (TypeError, ValueError) as error:
        text = str(error).removeprefix("pad_sequences: ").replace("sequences[", "examples[", 1)
        raise type(error)(f"{function}: {key} of {text}") from None


def _is_for_each_token(column: list[Any], lengths: list[int]) -> bool:
    return (
        all(
            hasattr(row, "__len__") and not isinstance(row, (str, bytes, Mapping)) and getattr(row, "ndim", 1) > 0
            for row in column
        )
        and [len(row) for row in column] == lengths
    )


def _stacked(function: str, key: str, column: list[Any]) -> Tensor:
    try:
        return torch.stack([torch.as_tensor(value) for value in column])
    except (TypeError, ValueError, RuntimeError):
        expected = "must be an int for each token, or numbers of one shape"
        raise TypeError(f"{function}: {key} of an example {expected}, got {type(column[0]).__name__}") from None
