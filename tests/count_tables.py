"""Tables of counts of two samples, for the statistics of masks."""

from __future__ import annotations

import numpy as np
from scipy import stats


def alike(ours: np.ndarray, theirs: np.ndarray) -> float:
    """p-value of two tables of counts being of one distribution; rare cells are one."""
    common = ours + theirs >= 10
    table = [np.append(counts[common], counts[~common].sum()) for counts in (ours, theirs)]
    table = np.stack(table)[:, np.sum(table, axis=0) > 0]
    return float(stats.chi2_contingency(table).pvalue)
