"""Rows against references of the same labels: the supervised contrastive loss with rows of its own to compare with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, unit_of, unit_side
from sslfast.losses._cross import input_gradients, once
from sslfast.losses._inputs import kernel_integers, widened, without_autocast
from sslfast.losses._kept import kept_logits
from sslfast.losses._labels import LabelGroups


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
    with without_autocast(embeddings):
        loss: Tensor = _SupConReferences.apply(function, *inputs, scale)
    return loss


class _SupConReferences(torch.autograd.Function):
    """With C_i the sum over the references of i's label, n_i of them, and w_i = g / anchors, where there are some,

    loss = sum_i w_i (lse_i - scale z_i C_i / n_i); the weight of reference j in the gradient of row i, and of i in that
    of j, is w_i (exp(S_ij - lse_i) - [j of i's label] / n_i), a small difference late in training.

    A row with a single positive is NT-Xent's, as in the loss without references; but not with copies, which take the
    place of the positive that is left out of the sum.
    """

    @staticmethod
    def forward(ctx, function, embeddings, ref_emb, labels, ref_labels, copies, scale):  # type: ignore[no-untyped-def]
        dtype = torch.promote_types(embeddings.dtype, ref_emb.dtype)
        inputs = widened(embeddings, ref_emb) if dtype == torch.float64 else (embeddings, ref_emb)
        sides, norms, factors = zip(*(unit_side(z, dtype) for z in inputs), strict=True)
        units = [unit_of(*side).to(norms[0].dtype) for side in zip(sides, factors, strict=True)]
        number = norms[0].new_full((1,), scale)
        groups = LabelGroups(labels, ref_labels)
        sums, counts = groups.sums(units[1]), groups.counts
        if copies is None:
            partners = left_out = groups.partners()
        else:
            copies = kernel_integers(copies)
            partners, left_out = torch.full_like(copies, -1), copies
            copied = (copies >= 0) & (ref_labels[copies.clamp_min(0)] == labels)  # other copies are no positives
            sums.addcmul_(units[1][copies.clamp_min(0)], copied.unsqueeze(1).to(sums.dtype), value=-1.0)
            counts = counts - copied.long()
        logits, needed = len(embeddings) * len(ref_emb), any(ctx.needs_input_grad)
        keep = kept_logits(None, logits, number.element_size(), *sides) if needed else 0
        lse, _, positive_logits, kept = ops.cross_softmax_forward(
            *sides, left_out, number, None, None, None, 1.0, False, keep, *factors
        )
        has = counts > 0
        anchors = has.sum().clamp_min(1)
        margin = lse - positive_logits
        mean = scale * (units[0] * sums).sum(dim=1) / counts.clamp_min(1)
        classes = groups.classes()
        ctx.save_for_backward(
            *(embeddings, ref_emb, *sides, *norms, *factors),
            *(left_out, partners, number, lse, kept, margin, *classes, counts, has, anchors),
        )
        ctx.function = function
        terms = torch.where(partners >= 0, F.softplus(margin, threshold=50.0), lse - mean)
        loss = torch.where(has, terms, 0.0).sum() / anchors
        # A NaN reaches the loss from a reference that no row is compared with, too.
        return loss + 0.0 * sum(unit.sum() for unit in units)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        inputs, sides, norms, factors = (saved[k : k + 2] for k in range(0, 8, 2))
        left_out, partners, number, lse, kept, margin, *classes, counts, has, anchors = saved[8:]
        needs = ctx.needs_input_grad[1:3]
        with torch.no_grad():
            single = partners >= 0
            share = torch.where(has, torch.where(single, torch.sigmoid(margin), 1.0) * (grad / anchors), 0.0)
            products = ops.cross_softmax_backward(
                *sides,
                *(left_out, lse, lse[:0], share, lse[:0], torch.where(single, -share, 0.0), number),
                *(None, None, None, kept, *needs, *factors, *classes),
                torch.where(single, 0.0, share / counts.clamp_min(1)),
            )
            units = [unit_of(*side) for side in zip(sides, factors, strict=True)]
            found = input_gradients(products, number, units, norms, inputs, needs)
        return None, *once(ctx.function, found, inputs, grad), *[None] * 4
