"""Losses of N pairs among N rows and M columns, by definition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast.reference.cross_softmax import left_out
from sslfast.reference.sigmoid_pairs import sigmoid_pairs


def few_pairs(
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    bias: float | Tensor,
    kind: int,
    share: float,
    normalize: bool,
    smoothing: float = 0.0,
    margin: float | None = None,
    tau_plus: float = 0.0,
    factors: Tensor | None = None,
    positives: Tensor | None = None,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    each: bool = False,
) -> Tensor:
    """``share`` times the sum of the losses of the pairs (row i, column ``positives[i]``).

    Args:
        rows: (N, D), any floating dtype.
        columns: (M, D); of kind 1 those beyond N are negatives of the rows alone.
        scale: factor of the inner products.
        bias: added to them, where ``kind`` is 2.
        kind: 0, the cross-entropy of every row picking its column; 1, of every column picking its row, too; 2, the
            logistic losses of all rows with all columns.
        share: of a loss in the result.
        normalize: divide rows and columns by their norms first.
        smoothing: share of the target that is spread over what is not left out; of kind 2 over both labels.
        margin: a column, or of kind 1 a row, with a larger inner product than the positive's plus this is left out.
        tau_plus: share of positives among the negatives, taken out of their sums (Chuang et al., 2020, equation 8); not
            of kind 2.
        factors: (N,), of the losses of every pair; not of kind 2.
        positives: (N,) int64; by default the column of the row's number.
        row_ids: (N,); rows and columns of the same id are left out of each other's sums.
        col_ids: (M,).
        each: give ``share`` times every loss, and not their sum; not of kind 2, nor with smoothing.

    Returns:
        Scalar, or (N,) with ``each``.
    """
    if normalize:
        rows, columns = F.normalize(rows, dim=1), F.normalize(columns, dim=1)
    own = torch.arange(len(rows), device=rows.device) if positives is None else positives
    products = rows @ columns.T
    positive = products.gather(1, own.unsqueeze(1))
    limits = None if margin is None else (positive + margin).detach().flatten()
    if kind == 2:
        return share * sigmoid_pairs(rows, columns, own, scale, bias, row_ids, col_ids, limits, smoothing)
    positive = scale * positive.flatten()
    limits = None if limits is None else scale * limits

    def picking(logits: Tensor, row_ids: Tensor | None, col_ids: Tensor | None) -> Tensor:
        """Of every row its positive, which is left to it."""
        excluded = left_out(logits, own, row_ids, col_ids, limits)
        others = logits.masked_fill(excluded, -torch.inf)
        lse, count = torch.logsumexp(others, dim=1), logits.shape[1] - 1
        lse = _debiased(lse, positive, count, tau_plus, scale) if tau_plus > 0.0 else lse
        losses = -F.logsigmoid(positive - lse)  # exact where the loss is tiny, too
        if smoothing == 0.0:
            return losses
        mean = (positive + logits.masked_fill(excluded, 0.0).sum(dim=1)) / (1 + (~excluded).sum(dim=1))
        return losses + smoothing * (positive - mean)

    losses = picking(scale * products, row_ids, col_ids)
    if kind == 1:
        n = len(rows)
        losses = losses + picking(scale * products[:, :n].T, None if col_ids is None else col_ids[:n], row_ids)
    losses = share * (losses if factors is None else losses * factors)
    return losses if each else losses.sum()


def _debiased(lse: Tensor, positive: Tensor, count: int, tau_plus: float, scale: float | Tensor) -> Tensor:
    left = (lse.exp() - tau_plus * count * positive.exp()) / (1 - tau_plus)
    return torch.maximum(left, count * torch.exp(-torch.as_tensor(scale, dtype=lse.dtype).abs())).log()
