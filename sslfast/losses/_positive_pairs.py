"""The positive pairs of multi-positive NT-Xent, each against the log-sum-exp over the negatives of its anchor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast._autograd import first_order_only
from sslfast.losses._labels import LabelGroups, readable, without_own
from sslfast.losses._strips import in_strips, parts_of_pairs, rows_at_once


def positive_pairs_mean(
    function: str,
    units: list[Tensor],
    negatives: Tensor,
    row_ids: Tensor,
    ref_ids: Tensor | None,
    copies: Tensor | None,
    scale: float,
) -> Tensor:
    """The mean of softplus(n_i - S_ip) over the positive pairs (i, p); 0 of none.

    Args:
        function: the name that errors begin with.
        units: the unit rows (N, D), and those of references (M, D) where there are any, in the dtype of accumulation.
        negatives: (N,), n.
        row_ids: (N,) int64.
        ref_ids: (M,) int64, of the references; None without.
        copies: (N,) int64, the reference that is a copy of each row, or -1; None of none.
        scale: factor of the similarities.
    """
    ref_emb = units[1] if len(units) > 1 else None
    loss: Tensor = _PositivePairs.apply(function, units[0], ref_emb, negatives, row_ids, ref_ids, copies, scale)
    return loss


class PositivePairs:
    """The terms softplus(n_i - S_ip) of rows i and their positives p among some columns after others.

    Their derivatives are a = sigmoid(n_i - S_ip) in n_i and -a in S_ip, exact however small a term is.

    Args:
        rows: (N, D), unit vectors.
        row_ids: (N,) int64.
        negatives: (N,), n.
        scale: factor of the similarities.
        needed: whether gradients are.

    Attributes:
        total: the sum of the terms, float64.
        count: their number, int64.
        grad_rows: the gradient of ``total`` in the rows, and
        grad_negatives: in n; 0 where none is needed.
    """

    def __init__(self, rows: Tensor, row_ids: Tensor, negatives: Tensor, scale: float, needed: bool) -> None:
        self._rows, self._ids, self._negatives, self._scale, self._needed = rows, row_ids, negatives, scale, needed
        self.total = torch.zeros((), dtype=torch.float64, device=rows.device)
        self.count = torch.zeros((), dtype=torch.int64, device=rows.device)
        self.grad_rows = torch.zeros_like(rows) if needed else rows.new_zeros(())
        self.grad_negatives = torch.zeros_like(negatives)

    def add(
        self,
        columns: Tensor,
        col_ids: Tensor,
        own: Tensor | None,
        *,
        col_negatives: Tensor | None = None,
        grad_columns: Tensor | None = None,
    ) -> None:
        """The pairs with these columns.

        Args:
            columns: (M, D), unit vectors.
            col_ids: (M,) int64.
            own: (N,) int64, the column that is the row itself or its copy, or -1; None of none.
            col_negatives: (M,), n of the columns where these are rows, too, here or on another rank: the reverse of
                a pair then adds to the gradient of its row here, and a column needs none.
            grad_columns: what the gradient of the columns is added to. Default: None, they need none.
        """
        groups = LabelGroups(self._ids, col_ids, own) if readable(col_ids) else None
        size = None if groups is None else groups.number()
        if groups is None or size is None or in_strips(size, len(self._rows), len(columns)):
            step = rows_at_once(self._rows, len(columns))
            for start in range(0, len(self._rows), step):
                positive = without_own(self._ids[start : start + step, None] == col_ids, own, start)
                self._add_strip(start, positive, columns, col_negatives, grad_columns)
            return
        for some in parts_of_pairs(size):
            self._add_pairs(*groups.pairs(some.start, some.stop), columns, col_negatives, grad_columns)

    def _add_strip(
        self, start: int, positive: Tensor, columns: Tensor, col_negatives: Tensor | None, grad_columns: Tensor | None
    ) -> None:
        part, scale = slice(start, start + len(positive)), self._scale
        rows = self._rows[part]
        logits = (rows @ columns.T).mul_(scale)
        margin = self._negatives[part, None] - logits
        self.total += torch.where(positive, F.softplus(margin, threshold=50.0), 0.0).sum()
        self.count += positive.sum()
        if not self._needed:
            return
        slope = torch.where(positive, margin.sigmoid_(), 0.0)
        self.grad_negatives[part] += slope.sum(dim=1)
        if col_negatives is not None:
            slope += torch.where(positive, torch.sub(col_negatives, logits, out=logits).sigmoid_(), 0.0)
        self.grad_rows[part].addmm_(slope, columns, alpha=-scale)
        if grad_columns is not None:
            grad_columns.addmm_(slope.T, rows, alpha=-scale)

    def _add_pairs(
        self,
        anchors: Tensor,
        others: Tensor,
        columns: Tensor,
        col_negatives: Tensor | None,
        grad_columns: Tensor | None,
    ) -> None:
        a, p = self._rows.index_select(0, anchors), columns.index_select(0, others)
        logits = self._scale * (a * p).sum(dim=1)
        margin = self._negatives.index_select(0, anchors) - logits
        self.total += F.softplus(margin, threshold=50.0).sum()
        self.count += len(anchors)
        if not self._needed:
            return
        slope = margin.sigmoid_()
        self.grad_negatives.index_add_(0, anchors, slope)
        if col_negatives is not None:
            slope = slope + (col_negatives.index_select(0, others) - logits).sigmoid_()
        slope = (-self._scale * slope).unsqueeze(1)
        self.grad_rows.index_add_(0, anchors, p.mul_(slope))
        if grad_columns is not None:
            grad_columns.index_add_(0, others, a.mul_(slope))


class _PositivePairs(torch.autograd.Function):
    """Derivatives are made together with the loss."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, negatives, row_ids, ref_ids, copies, scale
    ):
        pairs = PositivePairs(embeddings, row_ids, negatives, scale, any(ctx.needs_input_grad[1:4]))
        grad_references = None
        if ref_emb is None:
            own = torch.arange(len(embeddings), device=embeddings.device)
            pairs.add(embeddings, row_ids, own, col_negatives=negatives)
        else:
            grad_references = torch.zeros_like(ref_emb) if ctx.needs_input_grad[2] else None
            pairs.add(ref_emb, ref_ids, copies, grad_columns=grad_references)
        share = pairs.count.clamp_min(1).to(pairs.total.dtype).reciprocal()
        # A NaN reaches the loss from rows without a pair, too.
        poison = 0.0 * sum(unit.sum() for unit in (embeddings, ref_emb) if unit is not None)
        loss = (pairs.total * share).to(negatives.dtype) + poison
        found = (pairs.grad_rows, grad_references, pairs.grad_negatives)
        grads = [None if grad is None else grad.mul_(share) for grad in found]
        ctx.save_for_backward(embeddings, ref_emb, negatives, *grads)
        ctx.function = function
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        inputs, products = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        inputs = [z for z in inputs if z is not None]
        found: list[Tensor | None] = []
        for product, needed in zip(products, ctx.needs_input_grad[1:4], strict=True):
            if not needed:
                found.append(None)
                continue
            with torch.no_grad():
                scaled = product * grad
            found.append(first_order_only(ctx.function, scaled, *inputs, grad))
        return None, *found, *[None] * 4
