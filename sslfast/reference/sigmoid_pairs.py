"""Sigmoid losses of all pairs of rows and columns, by definition (Zhai et al., 2023, equation 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_pairs(
    rows: Tensor, columns: Tensor, positives: Tensor, scale: float | Tensor, bias: float | Tensor
) -> Tensor:
    """Sum over all pairs of ``-log(sigmoid(label * (scale * <row, column> + bias)))``.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, the column for which a row's label is 1, none twice, or -1 for none; all other labels
            are -1.
        scale: factor of the inner products.
        bias: added to them.

    Returns:
        Scalar; SigLIP's loss is this divided by N, with ``positives = torch.arange(N)``.
    """
    logits = scale * rows @ columns.T + bias
    has = positives >= 0
    labels = -torch.ones_like(logits)
    labels[torch.arange(len(rows), device=rows.device)[has], positives[has]] = 1.0
    return -F.logsigmoid(labels * logits).sum()
