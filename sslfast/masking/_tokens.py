"""Arguments that every rule over token ids takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import _check
from sslfast._arguments import in_range, strided
from sslfast._arguments import like_ids as like_ids


class Replacement(NamedTuple):
    """What a masked token becomes, as the operators take it."""

    mask_token_id: int
    vocab_size: int
    mask_replace_prob: float
    random_replace_prob: float
    random_token_ids: Tensor | None


def token_ids(function: str, ids: Tensor) -> Tensor:
    """Returns ids as (N, L).

    Raises:
        TypeError: if they are no tensor of int64, int32 or int16.
        ValueError: if they are neither (N, L) nor (L,).
    """
    strided(function, "ids", ids)
    if ids.dtype not in (torch.int64, torch.int32, torch.int16):
        raise TypeError(f"{function}: ids must be int64, int32 or int16, whose labels hold -100, got {ids.dtype}")
    if ids.dim() not in (1, 2):
        raise ValueError(f"{function}: ids must have shape (N, L) or (L,), got {tuple(ids.shape)}")
    return ids if ids.dim() == 2 else ids[None]


def replacement(
    function: str,
    ids: Tensor,
    mask_token_id: int,
    vocab_size: int,
    mask_replace_prob: float,
    random_replace_prob: float,
    random_token_ids: Tensor | None,
) -> Replacement:
    """Returns the checked arguments.

    Raises:
        TypeError: if a number or ``random_token_ids`` has the wrong type.
        ValueError: if a number is out of range, the two shares exceed 1, or ``random_token_ids`` is not (R,), empty,
            on another device or, on the CPU, outside [0, ``vocab_size``).
    """
    bits = 8 * ids.element_size()
    vocab_size = _check.integer(function, "vocab_size", vocab_size, 1, 2 ** min(bits - 1, 32))
    mask_token_id = _check.integer(function, "mask_token_id", mask_token_id, 0, vocab_size - 1)
    mask_replace_prob = _check.probability(function, "mask_replace_prob", mask_replace_prob)
    random_replace_prob = _check.probability(function, "random_replace_prob", random_replace_prob)
    if mask_replace_prob + random_replace_prob > 1:
        shares = f"{mask_replace_prob} + {random_replace_prob}"
        raise ValueError(f"{function}: mask_replace_prob + random_replace_prob must be at most 1, got {shares}")
    if random_token_ids is not None:
        if not isinstance(random_token_ids, Tensor) or random_token_ids.dtype != torch.int64:
            table = random_token_ids
            got: object = table.dtype if isinstance(table, Tensor) else type(table).__name__
            raise TypeError(f"{function}: random_token_ids must be an int64 tensor, got {got}")
        if random_token_ids.dim() != 1 or not 1 <= random_token_ids.numel() <= 2**32:
            shape = tuple(random_token_ids.shape)
            raise ValueError(f"{function}: random_token_ids must have shape (R,), at least one id, got {shape}")
        if random_token_ids.device != ids.device:
            expected = f"must be on {ids.device}, like ids"
            raise ValueError(f"{function}: random_token_ids {expected}, got {random_token_ids.device}")
        random_token_ids = random_token_ids.contiguous()
        in_range(function, "random_token_ids", random_token_ids, 0, vocab_size - 1)
    return Replacement(mask_token_id, vocab_size, mask_replace_prob, random_replace_prob, random_token_ids)
