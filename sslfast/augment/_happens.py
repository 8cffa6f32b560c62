"""Transforms that happen or not, and have nothing else to say."""

from __future__ import annotations

from sslfast import _check
from sslfast.augment._transform import Transform


class Happens(Transform):
    """A transform that has a probability and nothing else."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = _check.probability(type(self).__name__, "p", p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
