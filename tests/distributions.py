"""Whether samples have one distribution. Seeds are fixed, so each test passes always or never."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy import stats

ALPHA = 1e-4  # of each test


def alike(ours: Counter, theirs: Counter) -> bool:
    """Whether two samples of the same things are of one distribution: rare things count as one."""
    keys = sorted(ours | theirs, key=str)
    table = np.array([[c[k] for k in keys] for c in (ours, theirs)])
    common = table.sum(0) >= 20
    table = np.column_stack([table[:, common], table[:, ~common].sum(1)])
    table = table[:, table.sum(0) > 0]
    return table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > ALPHA


def follows(numbers: np.ndarray, chances: np.ndarray) -> bool:
    """Whether numbers from 0 on come as often as these chances say, the rest one of them; rare numbers count as one."""
    counts = np.bincount(numbers, minlength=len(chances))
    chances = np.append(chances, np.zeros(len(counts) - len(chances)))
    expected = len(numbers) * chances
    common = expected >= 10
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], len(numbers) - expected[common].sum())
    kept = expected > 1e-6 * len(numbers)
    if counts[~kept].any():
        return False
    return kept.sum() == 1 or stats.chisquare(counts[kept], expected[kept]).pvalue > ALPHA
