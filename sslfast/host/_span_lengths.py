"""How long spans are: probabilities as the integer thresholds that the kernels compare with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import cast

from sslfast import _check

LAWS = ("geometric", "ngram")
MOST = 64  # lengths


def length_thresholds(
    function: str, length_law: str | Sequence[float], geometric_p: float, min_span: int, max_span: int
) -> list[int]:
    """Cumulative probabilities of the lengths ``min_span`` to ``max_span``, times 2^32, the last 2^32.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range, or a sequence has another number of lengths or no positive sum.
    """
    min_span = _check.integer(function, "min_span", min_span, 1)
    max_span = _check.integer(function, "max_span", max_span, min_span, min_span + MOST - 1)
    spans = range(min_span, max_span + 1)
    if isinstance(length_law, str):
        if length_law not in LAWS:
            expected = "'geometric', 'ngram' or a sequence of probabilities"
            raise ValueError(f"{function}: length_law must be {expected}, got {_check.shown(length_law)}")
        p = _check.real(function, "geometric_p", geometric_p)
        if not 0.0 < p <= 1.0:
            raise ValueError(f"{function}: geometric_p must be in (0, 1], got {geometric_p}")
        weights = [(1.0 - p) ** (n - min_span) if length_law == "geometric" else 1.0 / n for n in spans]
    else:
        if not isinstance(length_law, Sequence):
            expected = "a str or a sequence of probabilities"
            raise TypeError(f"{function}: length_law must be {expected}, got {type(length_law).__name__}")
        if len(length_law) != len(spans):
            expected = f"{len(spans)} probabilities, of the lengths {min_span} to {max_span}"
            raise ValueError(f"{function}: length_law must have {expected}, got {len(length_law)}")
        weights = [_check.real(function, f"length_law[{i}]", cast("float", w)) for i, w in enumerate(length_law)]
        if min(weights) < 0.0 or sum(weights) <= 0.0:
            raise ValueError(
                f"{function}: length_law must hold numbers of at least 0, not all 0, got {_check.shown(length_law)}"
            )
    total = sum(weights)
    return [*(round(c / total * 2**32) for c in accumulate(weights[:-1])), 2**32]
