"""What the supervised contrastive loss has to know of labels: how many positives a row has, and their mean logit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast.losses._inputs import kernel_integers
from sslfast.losses._labels import LabelGroups


class LabelMeans(NamedTuple):
    """Of rows and the columns of their label, their positives.

    Attributes:
        mean: (N,), of ``scale * <row, positive>``; 0 without a positive.
        counts: (N,) int64, how many positives a row has.
        partners: (N,) int64, the only one, or -1; -1 with copies.
        row_classes, col_classes: as of :class:`LabelGroups`.
        share: (N,), 1 / anchors for rows with a positive, else 0.
        label_weights: (N,), share / counts for rows with positives and no partner, else 0.
        poison: NaN if a number of either side is, else 0.
    """

    mean: Tensor
    counts: Tensor
    partners: Tensor
    row_classes: Tensor
    col_classes: Tensor
    share: Tensor
    label_weights: Tensor
    poison: Tensor


def label_means(
    rows: Tensor, columns: Tensor, labels: Tensor, ref_labels: Tensor | None, copies: Tensor | None, scale: float
) -> LabelMeans:
    """Rows against columns and their labels.

    Args:
        rows: (N, D), contiguous, in the dtype of accumulation.
        columns: (M, D); the rows where ``ref_labels`` is None.
        labels: (N,) integers.
        ref_labels: (M,) integers, or None: a row is no positive of its own.
        copies: (N,) int64, the column that is a copy of a row, and no positive of it, or -1; None of none.
        scale: of the products.
    """
    own = kernel_integers(labels)
    others = own if ref_labels is None else kernel_integers(ref_labels)
    copies = None if copies is None else kernel_integers(copies)
    return LabelMeans(*ops.label_means(rows, columns, own, others, copies, ref_labels is None, scale))


def _in_torch(
    rows: Tensor,
    columns: Tensor,
    labels: Tensor,
    ref_labels: Tensor,
    copies: Tensor | None,
    itself: bool,
    scale: float,
) -> tuple[Tensor, ...]:
    """``ops.label_means`` in plain torch: what a GPU runs."""
    groups = LabelGroups(labels, None if itself else ref_labels)
    sums, counts = groups.sums(columns), groups.counts
    if itself:
        sums.sub_(rows)
        counts = counts - 1
    if copies is None:
        partners = groups.partners()
    else:
        partners = torch.full_like(counts, -1)
        place = copies.clamp_min(0)
        copied = (copies >= 0) & (ref_labels[place] == labels)  # other copies are no positives
        sums.addcmul_(columns[place], copied.unsqueeze(1).to(sums.dtype), value=-1.0)
        counts = counts - copied.long()
    has, divisor = counts > 0, counts.clamp_min(1)
    share = has.to(rows.dtype) / has.sum().clamp_min(1)
    return (
        scale * (rows * sums).sum(dim=1) / divisor,
        counts,
        partners,
        *groups.classes(),
        share,
        torch.where(partners < 0, share / divisor, 0.0),
        (rows.sum() + columns.sum()) * 0.0,
    )


ops.triton_library.impl("label_means", _in_torch)
