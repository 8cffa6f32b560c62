"""What the rules of mask_rules.py read: rows that depend on their numbers (N,) alone, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def nothing(numbers: Tensor) -> tuple[Tensor, ...]:
    return ()


def ids(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 60): token ids."""
    return ((numbers[:, None] * 31 + torch.arange(60) * 7) % 1000,)


def ids_and_words(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 60) each: token ids and words of one to five tokens, with some outside of words."""
    (tokens,) = ids(numbers)
    starts = (tokens * 37 % 101) < 40
    return tokens, torch.where(tokens % 11 == 0, -1, starts.cumsum(1))


def ids_and_offsets(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 60) and (N, 60, 2): token ids, and where they lie in a text."""
    tokens, words = ids_and_words(numbers)
    ends = (torch.where(words < 0, 0, tokens % 4 + 1) + (words % 3 == 0)).cumsum(1)
    return tokens, torch.stack([ends - torch.where(words < 0, 0, tokens % 4 + 1), ends], dim=2)


def frames(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N,): lengths of rows of 200 frames."""
    return (50 + numbers * 37 % 151,)


def masked_frames(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 40): masked frames, none of some rows."""
    return ((numbers[:, None] * 13 + torch.arange(40) * 7) % 11 < numbers[:, None] % 5,)


def spectrograms(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 2, 20, 50)."""
    return ((numbers[:, None, None, None] + torch.arange(2000).view(2, 20, 50)) / 7,)


def table(numbers: Tensor) -> tuple[Tensor, ...]:
    """(N, 30): features."""
    return ((numbers[:, None] * 31 + torch.arange(30) * 7) % 101 / 7,)


def graphs(numbers: Tensor, size: int) -> tuple[Tensor, ...]:
    """(N size, 2): the nodes of one graph a row, of ``size`` nodes each, and where they begin."""
    nodes = (numbers[:, None, None] * 31 + torch.arange(2 * size).view(size, 2) * 7) % 101 / 7
    return nodes.flatten(0, 1), torch.arange(len(numbers) + 1) * size
