"""What triplet_loss takes: mining, and the options that go with it."""

from __future__ import annotations

from torch import Tensor

from sslfast import _check
from sslfast.losses._inputs import finite

MINING = ("batch_all", "batch_hard", "semi_hard")


def check_margin(function: str, margin: float, mining: str, *like: Tensor) -> float:
    margin = finite(function, "margin", margin, *like)
    if mining == "semi_hard" and margin <= 0.0:  # which no triplet is within
        raise ValueError(f"{function}: margin must be positive with mining='semi_hard', got {margin:g}")
    return margin


def check_per_anchor(function: str, number: int | str, mining: str) -> int:
    """How many triplets to draw for each anchor; 0 for none."""
    if isinstance(number, str) and number == "all":
        return 0
    if isinstance(number, str):
        raise TypeError(f"{function}: triplets_per_anchor must be an int or 'all', got {number!r}")
    if mining != "batch_all":
        raise ValueError(f"{function}: triplets_per_anchor goes with mining='batch_all', got mining={mining!r}")
    return _check.integer(function, "triplets_per_anchor", number, 1)
