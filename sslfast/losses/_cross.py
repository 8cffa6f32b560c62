"""Rows against columns, the part that CLIP and InfoNCE share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import (
    distinct,
    first_order_only,
    pair_sides,
    scale_gradient,
    scaled_,
    unit_of,
    unit_rows_backward,
)
from sslfast.losses._kept import kept_logits


def cross_softmax(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    positives: Tensor,
    *,
    two_way: bool,
    normalize: bool,
    max_similarity: float = math.inf,
    row_ids: Tensor | None = None,
    col_ids: Tensor | None = None,
    row_limits: Tensor | None = None,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    sides: tuple[Tensor | None, ...] = (None,) * 4,
    strength: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp over the negatives of every row and of every column, and the logit of every row's positive.

    S = scale * rows @ columns.T is never stored where it would be large, and one pass serves rows and columns. The
    gradients of all three results in rows, columns and scale are exact; what needs none costs nothing.
    ``softplus(lse - positive)`` is a row's softmax cross-entropy, with its relative precision however small it is.

    Args:
        function: the name that errors begin with.
        rows: (N, D), checked by the caller.
        columns: (M, D), on the same device.
        scale: factor of the similarities; a tensor of one number may require a gradient and is not waited for.
        positives: (N,) int64, a column or -1, without repetition if ``two_way``.
        two_way: whether the columns' log-sum-exps are wanted.
        normalize: divide rows and columns by their norms first, as F.normalize does.
        max_similarity: what no similarity exceeds in absolute value, if known; 1 with ``normalize``. Default: infinity.
        row_ids: (N,) int64; entries whose row and column have the same id are no negatives. Default: None.
        col_ids: (M,) int64, given if ``row_ids`` is.
        row_limits: (N,) of the results' dtype, if not ``two_way``; logits above that of their row are no negatives.
            Default: None.
        dtype: what the products are made in where the device has them in half types. Default: None, the inputs'.
        memory_budget: bytes of logits that may be kept for the gradient. Default: None, see :mod:`._kept`.
        sides: without ``normalize``, what rows are made of and their factors, and the columns', as :func:`unit_side`
            gives them, where they are multiplied without rounding. Default: None of them.
        strength: times the similarity is added to the logit of every negative, as a constant for the gradient.
            Default: 0.

    Returns:
        ``(row_lse, col_lse, positive_logits)``, (N,), (M,) or (0,), and (N,); float32, or float64 if an input is.
    """
    if not isinstance(scale, Tensor):
        scale = rows.new_full((), scale, dtype=torch.float64)
    rows, columns, row_ids, col_ids, *exact = distinct(rows, columns, row_ids, col_ids, *sides)
    results: tuple[Tensor, Tensor, Tensor] = _CrossSoftmax.apply(
        function,
        rows,
        columns,
        scale,
        positives,
        two_way,
        normalize,
        max_similarity,
        dtype,
        memory_budget,
        strength,
        row_ids,
        col_ids,
        row_limits,
        *exact,
    )
    return results


def two_way_mean(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    *,
    normalize: bool,
    memory_budget: int | None = None,
) -> Tensor:
    """The mean softmax cross-entropy of all rows and all columns, whose positives are those of their own number.

    What :func:`cross_softmax` and a few operations behind it make, as one function of autograd: these are what a small
    batch waits for. Arguments as there, with as many columns as rows.

    Returns:
        A scalar, float32, or float64 if an input is.
    """
    if not isinstance(scale, Tensor):
        scale = rows.new_full((), scale, dtype=torch.float64)
    rows, columns = distinct(rows, columns)
    loss: Tensor = _TwoWayMean.apply(function, rows, columns, scale, normalize, memory_budget)
    return loss


def input_gradients(
    products: Sequence[Tensor | None],
    number: Tensor,
    units: Sequence[Tensor | None],
    norms: Sequence[Tensor | None],
    inputs: Sequence[Tensor],
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of rows and of columns, in their dtypes, from the products of the weights; in place of these.

    Args:
        products: the weights times the other side, without the scale.
        number: the scale.
        units: the unit rows of a side where it was normalised.
        norms: the factors that normalised it, or None.
        inputs: rows and columns.
        needs: which of them need a gradient.
    """
    found: list[Tensor | None] = []
    for product, unit, norm, z, needed in zip(products, units, norms, inputs, needs, strict=True):
        if not needed or product is None:
            found.append(None)
            continue
        if unit is None or norm is None:
            found.append(scaled_(product, number, z.dtype))
        else:
            found.append(unit_rows_backward(product.mul_(number), unit, norm).to(z.dtype))
    return found


def once(
    function: str, found: Sequence[Tensor | None], inputs: Sequence[Tensor], *incoming: Tensor
) -> list[Tensor | None]:
    """Gradients of inputs in the inputs' dtypes and shapes, which raise if they are differentiated."""
    return [
        None if g is None else first_order_only(function, g.to(z.dtype).reshape(z.shape), *inputs, *incoming)
        for g, z in zip(found, inputs, strict=True)
    ]


def split_saved(saved):  # type: ignore[no-untyped-def]
    """Rows, columns and scale; sides; norms; factors; and what else was saved after them."""
    return saved[:3], saved[3:5], saved[5:7], saved[7:9], saved[9:]


def _results(ctx, inputs, positives, two_way, normalize, max_similarity, dtype, budget, strength, excluded, exact):  # type: ignore[no-untyped-def]
    """Log-sum-exps of rows and columns and the positives' logits; and what :func:`_gradients` needs of them."""
    rows, columns, scale = inputs
    dtype = dtype or torch.promote_types(rows.dtype, columns.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sides, norms, factors = pair_sides(rows, columns, dtype, normalize, exact)
    number = scale.detach().to(wide).reshape(1)
    bound = 1.0 if normalize else max_similarity
    needed = any(ctx.needs_input_grad)
    keep = kept_logits(budget if needed else 0, len(rows) * len(columns), sides[0].dtype, *sides)
    logit_scale = number if strength == 0.0 else number + strength
    row_lse, col_lse, positive_logits, kept = ops.cross_softmax_forward(
        *sides, positives, logit_scale, *excluded, bound, two_way, keep.numbers, *factors, keep.packed
    )
    if strength != 0.0:
        positive_logits = positive_logits * (number / logit_scale)
    vectors = (positives, number, logit_scale, row_lse, col_lse, kept, *excluded)
    saved = (*inputs, *sides, *norms, *factors, *vectors)
    return (row_lse, col_lse, positive_logits), saved


def _gradients(ctx, saved, grads):  # type: ignore[no-untyped-def]
    """Gradients of rows, columns and scale from those of the results."""
    inputs, sides, norms, factors, rest = split_saved(saved)
    positives, number, logit_scale, row_lse, col_lse, kept, *excluded = rest
    _, need_rows, need_columns, need_scale, *_ = ctx.needs_input_grad
    products = ops.cross_softmax_backward(
        *sides,
        positives,
        row_lse,
        col_lse,
        *grads,
        logit_scale,
        *excluded,
        kept,
        need_rows or need_scale,
        need_columns,
        *factors,
    )
    # d loss / d scale = sum_ij G_ij <q_i, k_j>, where the product with the columns has been taken.
    grad_scale = scale_gradient(products[0], sides[0], factors[0]) if need_scale else None
    units = [None if n is None else unit_of(*side) for n, *side in zip(norms, sides, factors, strict=True)]
    needs = (need_rows, need_columns)
    return (*input_gradients(products, number, units, norms, inputs[:2], needs), grad_scale)


class _CrossSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        function,
        rows,
        columns,
        scale,
        positives,
        two_way,
        normalize,
        max_similarity,
        dtype,
        budget,
        strength,
        *others,
    ):
        inputs, excluded, exact = (rows, columns, scale), others[:3], others[3:]
        results, saved = _results(
            ctx, inputs, positives, two_way, normalize, max_similarity, dtype, budget, strength, excluded, exact
        )
        ctx.save_for_backward(*saved)
        ctx.function = function
        return results

    @staticmethod
    def backward(ctx, grad_row, grad_col, grad_positive):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        with torch.no_grad():
            found = _gradients(ctx, saved, [g.contiguous() for g in (grad_row, grad_col, grad_positive)])
        return None, *once(ctx.function, found, saved[:3], grad_row, grad_col, grad_positive), *[None] * 14


class _TwoWayMean(torch.autograd.Function):
    """The mean of softplus(n - s), n the log-sum-exp over the negatives of a row or column and s its positive's logit.

    Its derivatives are a = sigmoid(n - s) in n and -a in s, exact however small the loss is.
    """

    @staticmethod
    def forward(ctx, function, rows, columns, scale, normalize, budget):  # type: ignore[no-untyped-def]
        positives = torch.arange(len(rows), device=rows.device)
        (row_lse, col_lse, positive), saved = _results(
            ctx, (rows, columns, scale), positives, True, normalize, math.inf, None, budget, 0.0, [None] * 3, [None] * 4
        )
        margins = torch.stack([row_lse, col_lse]).sub_(positive)
        ctx.save_for_backward(margins, *saved)
        ctx.function = function
        # An infinite feature may make nothing infinite but its own pair's logit, which would count as a perfect pair.
        return torch.add(F.softplus(margins, threshold=50.0), positive, alpha=0.0).mean()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        margins, *saved = ctx.saved_tensors
        with torch.no_grad():
            shares = torch.sigmoid(margins).mul_(grad / margins.numel())
            found = _gradients(ctx, saved, (shares[0], shares[1], shares.sum(dim=0).neg_()))
        return None, *once(ctx.function, found, saved[:3], grad), None, None
