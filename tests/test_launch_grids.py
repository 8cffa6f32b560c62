"""Grids of the Triton launchers for millions of columns: CUDA has 2^31 - 1 programs in the first dimension, and 65,535
in the others. Nothing is launched.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

COLUMNS, D = 4_200_000, 4  # more than 65,535 blocks of 64
NUMBERS = torch.tensor([1.0]), torch.tensor([0.0])
NOBODY = torch.tensor([-1])


class Recorder:
    """Stands for a kernel: keeps the grids of its launches, and does nothing."""

    def __init__(self) -> None:
        self.grids: list[tuple[int, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        self.grids.append(grid)
        return lambda *args, **options: None


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    import sslfast.kernels
    from sslfast.kernels import _launch

    monkeypatch.setattr(_launch, "REGISTERS", False)
    found: dict[str, Recorder] = {}
    for module in pkgutil.iter_modules(sslfast.kernels.__path__, "sslfast.kernels."):
        loaded = importlib.import_module(module.name)
        for name in [name for name in vars(loaded) if name.endswith("_kernel")]:
            monkeypatch.setattr(loaded, name, found.setdefault(name, Recorder()))
    return found


def one_way(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.one_way_softmax import one_way_softmax

    one_way_softmax(rows, columns, NOBODY, NUMBERS[0], *[None] * 6, True, True)


def both_ways(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.cross_softmax import forward

    forward(rows, columns, NOBODY, NUMBERS[0], None, None, None, 1.0, True, 0)


def sigmoids(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.sigmoid_pairs import sigmoid_pairs

    sigmoid_pairs(rows, columns, NOBODY, *NUMBERS, 1.0, False, False)


def queue(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.queue_softmax import queue_softmax

    queue_softmax(rows, columns, NUMBERS[0], None, None, None, None, True)


def classes(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.linear_cross_entropy import linear_cross_entropy

    linear_cross_entropy(rows, columns, torch.tensor([0]), *[None] * 5, 0.0, 0.0, 0.0, True, True, False)


def cluster_shares(rows: torch.Tensor, columns: torch.Tensor) -> None:
    from sslfast.kernels.msn import rows as msn_rows

    logits = columns[:, 0].reshape(1, -1)
    msn_rows(logits, logits, 1.0, True)


LAUNCHERS: list[Callable[[Any, Any], None]] = [one_way, both_ways, sigmoids, queue, classes, cluster_shares]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_millions_of_columns(launcher: Callable[[Any, Any], None], kernels: dict[str, Recorder]) -> None:
    launcher(torch.zeros(1, D), torch.zeros(COLUMNS, D))
    grids = [(name, *grid) for name, kernel in kernels.items() for grid in kernel.grids]
    assert grids
    beyond = [grid for grid in grids if not 0 < grid[1] < 2**31 or max(grid[2:], default=1) > 65_535]
    assert beyond == []
