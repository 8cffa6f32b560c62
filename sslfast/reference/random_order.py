"""A random order of n numbers, each place by itself: the specification of csrc/shared/random_order.h."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.reference.philox import philox

SHUFFLED = 64  # at most so many are shuffled
REACH = 2**24


def random_order(n: int, seed: int, stream: int, row: int, first: int = 0) -> Tensor:
    """int64 (n,): the numbers below ``n`` by their places.

    Up to ``SHUFFLED`` numbers, Fisher and Yates' shuffle from the end. Beyond, a Feistel network over a rectangle whose
    columns and rows are shifted in turn, ``half_rounds`` times; what falls beyond ``n`` goes through it again.
    """
    if n <= SHUFFLED:
        steps = _words(seed, stream, row, first + torch.arange(-(-n // 4))).flatten().tolist()
        order = list(range(n))
        for last, word in zip(range(n - 1, 0, -1), steps, strict=False):
            other = word * (last + 1) >> 32
            order[last], order[other] = order[other], order[last]
        return torch.tensor(order, dtype=torch.int64)
    height, width, half_rounds = rectangle(n)
    shifts = []
    for h in range(half_rounds):
        words = _words(seed, stream, row, first + h // 4 * height + torch.arange(height))[:, h % 4]
        shifts.append(words * (width if h % 2 else height) >> 32)
    numbers = torch.arange(n)
    beyond = torch.ones(n, dtype=torch.bool)
    while beyond.any():
        rows, columns = numbers // width, numbers % width
        for h in range(half_rounds):
            if h % 2:
                columns = (columns + shifts[h][rows]) % width
            else:
                rows = (rows + shifts[h][columns]) % height
        numbers = torch.where(beyond, rows * width + columns, numbers)
        beyond = numbers >= n
    return numbers


def rectangle(n: int) -> tuple[int, int, int]:
    """``(height, width, half_rounds)``: an even height of at least sqrt(n), and REACH <= width^(half_rounds // 2)."""
    height = int(n**0.5)
    while height * height < n:
        height += 1
    height += height % 2
    width = -(-n // height)
    rounds, reach = 0, 1
    while reach < REACH:
        rounds, reach = rounds + 1, reach * width
    return height, width, 2 * rounds + 1


def _words(seed: int, stream: int, row: int, elements: Tensor) -> Tensor:
    return philox(seed, stream, torch.tensor(row), elements)
