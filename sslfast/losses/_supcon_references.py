"""Rows against references of the same labels: the supervised contrastive loss with rows of its own to compare with."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, is_last_plain, unit_of, unit_rows_backward, unit_side
from sslfast.losses._cross import input_gradients, once
from sslfast.losses._inputs import kernel_integers, widened, without_autocast
from sslfast.losses._label_means import label_means
from sslfast.losses._one_way import in_one_pass


def supcon_against_references(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor,
    labels: Tensor,
    ref_labels: Tensor,
    copies: Tensor | None,
    scale: float,
) -> Tensor:
    """The loss; arguments as checked by :func:`supcon_loss`."""
    inputs = distinct(embeddings, ref_emb, labels, ref_labels, copies)
    dtype = torch.promote_types(embeddings.dtype, ref_emb.dtype)
    way = _InOnePass if in_one_pass(embeddings, ref_emb, dtype) else _InTwoPasses
    with without_autocast(embeddings):
        loss: Tensor = way.apply(function, *inputs, scale, torch.is_grad_enabled())
    return loss


class _Problem(NamedTuple):
    """With C_i the sum over the references of i's label, n_i of them, and w_i = g / anchors, where there are some,

    loss = sum_i w_i (lse_i - scale z_i C_i / n_i); the weight of reference j in the gradient of row i, and of i in that
    of j, is w_i (exp(S_ij - lse_i) - [j of i's label] / n_i), a small difference late in training, taken off entry by
    entry.

    A row with a single positive is NT-Xent's, as in the loss without references; but not with copies, which take the
    place of the positive that is left out of the sum.

    Attributes:
        row_side, col_side, row_norm, col_norm, row_factors, col_factors: of embeddings and references, as
            :func:`unit_side` gives them.
        number: the scale, as operators take it.
        left_out: (N,) int64, the reference that is not in the sum of a row, or -1.
        single: (N,) bool, whether that is the only positive.
        mean: (N,), of the logits of a row's positives.
        row_classes, col_classes: as of :class:`LabelGroups`.
        share: (N,), 1 / anchors for rows with a positive, else 0.
        label_weights: (N,), what each positive of several takes off.
        poison: NaN if a number of either side is, else 0: a NaN reaches the loss from a reference that no row is
            compared with, too.
    """

    row_side: Tensor
    col_side: Tensor
    row_norm: Tensor
    col_norm: Tensor
    row_factors: Tensor | None
    col_factors: Tensor | None
    number: Tensor
    left_out: Tensor
    single: Tensor
    mean: Tensor
    row_classes: Tensor
    col_classes: Tensor
    share: Tensor
    label_weights: Tensor
    poison: Tensor

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        return self.row_side, self.col_side

    @property
    def norms(self) -> tuple[Tensor, Tensor]:
        return self.row_norm, self.col_norm

    @property
    def factors(self) -> tuple[Tensor | None, Tensor | None]:
        return self.row_factors, self.col_factors

    @property
    def classes(self) -> tuple[Tensor, Tensor]:
        return self.row_classes, self.col_classes

    def loss(self, lse: Tensor, single_losses: Tensor, share: Tensor) -> Tensor:
        terms = torch.where(self.single, single_losses, lse - self.mean)
        return torch.where(share > 0, terms * share, 0.0).sum() + self.poison


def _problem(
    embeddings: Tensor, ref_emb: Tensor, labels: Tensor, ref_labels: Tensor, copies: Tensor | None, scale: float
) -> _Problem:
    dtype = torch.promote_types(embeddings.dtype, ref_emb.dtype)
    inputs = widened(embeddings, ref_emb) if dtype == torch.float64 else (embeddings, ref_emb)
    sides, norms, factors = zip(*(unit_side(z, dtype) for z in inputs), strict=True)
    rows, columns = (unit_of(*side).to(norms[0].dtype) for side in zip(sides, factors, strict=True))
    number = norms[0].new_full((1,), scale)
    found = label_means(rows, columns, labels, ref_labels, copies, scale)
    left_out = found.partners if copies is None else kernel_integers(copies)
    answers = (number, left_out, found.partners >= 0, found.mean, found.row_classes, found.col_classes)
    return _Problem._make((*sides, *norms, *factors, *answers, found.share, found.label_weights, found.poison))


class _InOnePass(torch.autograd.Function):
    """The similarities are made once, and the gradients of a loss with gradient 1 in forward."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, labels, ref_labels, copies, scale, grad_enabled
    ):
        p = _problem(embeddings, ref_emb, labels, ref_labels, copies, scale)
        needs = [grad_enabled and needed for needed in ctx.needs_input_grad[1:3]]
        share = p.share
        # A copy is left out, but is no positive: its logit is as good as none.
        none = None if copies is None else torch.full_like(share, -torch.inf)
        losses, lse, _, *products = ops.one_way_softmax(
            *p.sides,
            p.left_out,
            p.number,
            *(None, None, None, None, none, share, *needs),
            *(*p.factors, *p.classes, p.label_weights),
        )
        parts = zip(products, p.sides, p.factors, p.norms, needs, strict=True)
        grads = [
            unit_rows_backward(product.mul_(p.number), unit_of(side, factors), norm) if needed else None
            for product, side, factors, norm, needed in parts
        ]
        ctx.save_for_backward(embeddings, ref_emb, *grads)
        ctx.function = function
        return p.loss(lse, losses, share)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        *inputs, d_rows, d_columns = ctx.saved_tensors
        with torch.no_grad():
            as_it_is = is_last_plain(grad)
            found = [d if d is None or as_it_is else d * grad for d in (d_rows, d_columns)]
        return None, *once(ctx.function, found, inputs, grad), *[None] * 5


class _InTwoPasses(torch.autograd.Function):
    """Backward makes the similarities again: on a GPU, where a strip of them would leave its cache."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, labels, ref_labels, copies, scale, grad_enabled
    ):
        p = _problem(embeddings, ref_emb, labels, ref_labels, copies, scale)
        lse, _, positive_logits, kept = ops.cross_softmax_forward(
            *p.sides, p.left_out, p.number, None, None, None, 1.0, False, 0, *p.factors
        )
        margin, share = lse - positive_logits, p.share
        ctx.save_for_backward(embeddings, ref_emb, lse, kept, margin, *p)
        ctx.function = function
        return p.loss(lse, F.softplus(margin, threshold=50.0), share)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        inputs, (lse, kept, margin, *problem) = ctx.saved_tensors[:2], ctx.saved_tensors[2:]
        p, needs = _Problem(*problem), ctx.needs_input_grad[1:3]
        with torch.no_grad():
            share = p.share * grad
            grad_row = torch.where(p.single, torch.sigmoid(margin) * share, share)
            products = ops.cross_softmax_backward(
                *p.sides,
                *(p.left_out, lse, lse[:0], grad_row, lse[:0], torch.where(p.single, -grad_row, 0.0), p.number),
                *(None, None, None, kept, *needs, *p.factors, *p.classes, p.label_weights * grad),
            )
            found = input_gradients(
                products,
                p.number,
                [unit_of(*side) for side in zip(p.sides, p.factors, strict=True)],
                p.norms,
                inputs,
                needs,
            )
        return None, *once(ctx.function, found, inputs, grad), *[None] * 5
