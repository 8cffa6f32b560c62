"""Losses of N pairs among N rows and N columns, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.cross_softmax import cross_softmax
from sslfast.reference.sigmoid_pairs import sigmoid_pairs


def few_pairs(
    rows: Tensor, columns: Tensor, scale: float | Tensor, bias: float | Tensor, kind: int, share: float, normalize: bool
) -> Tensor:
    """``share`` times the sum of the losses of the pairs (row i, column i).

    Args:
        rows: (N, D), any floating dtype.
        columns: (N, D).
        scale: factor of the inner products.
        bias: added to them, where ``kind`` is 2.
        kind: 0, the cross-entropy of every row picking its column; 1, of every column picking its row, too; 2, the
            logistic losses of all rows with all columns.
        share: of a loss in the result.
        normalize: divide rows and columns by their norms first.

    Returns:
        Scalar.
    """
    if normalize:
        rows, columns = F.normalize(rows, dim=1), F.normalize(columns, dim=1)
    own = torch.arange(len(rows), device=rows.device)
    if kind == 2:
        return share * sigmoid_pairs(rows, columns, own, scale, bias)
    row_lse, col_lse, positive = cross_softmax(rows, columns, own, scale)
    losses = -F.logsigmoid(positive - row_lse)  # exact where the loss is tiny, too
    return share * (losses if kind == 0 else losses - F.logsigmoid(positive - col_lse)).sum()
