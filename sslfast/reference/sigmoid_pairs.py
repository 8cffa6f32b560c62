"""Sigmoid losses of all pairs of rows and columns, by definition (Zhai et al., 2023, equation 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_pairs(
    rows: Tensor,
    columns: Tensor,
    positives: Tensor,
    scale: float | Tensor,
    bias: float | Tensor,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Sum over all pairs of ``-log(sigmoid(label * (scale * <row, column> + bias)))``.

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D).
        positives: (N,) int64, the column for which a row's label is 1, none twice, or -1 for none; all other labels
            are -1.
        scale: factor of the inner products.
        bias: added to them.
        row_ids: (N,) integers; pairs of the same id are left out, but positives.
        col_ids: (M,) integers.
        row_limits: (N,); pairs whose inner product is above that of their row are left out, but positives.
        smoothing: share e of the targets 1 and 0 that is spread over both, so that they are 1 - e / 2 and e / 2.

    Returns:
        Scalar; SigLIP's loss is this divided by N, with ``positives = torch.arange(N)``.
    """
    logits = scale * rows @ columns.T + bias
    has = positives >= 0
    labels = -torch.ones_like(logits)
    labels[torch.arange(len(rows), device=rows.device)[has], positives[has]] = 1.0
    left_out = torch.zeros_like(labels, dtype=torch.bool)
    if row_ids is not None and col_ids is not None:
        left_out |= row_ids.unsqueeze(1) == col_ids
    if row_limits is not None:
        left_out |= rows @ columns.T > row_limits.unsqueeze(1)
    losses = smoothing / 2 * labels * logits - F.logsigmoid(labels * logits)
    return losses.masked_fill(left_out & (labels < 0), 0.0).sum()
