"""Losses with labels of few rows on the CPU: loss and gradient from one operator, that makes the whole square of them,
or the whole matrix of rows and references.

Of some hundred rows the calls of an implementation by tiles or strips take longer than the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, is_last_plain
from sslfast.losses._inputs import kernel_integers, widened

MOST_ROWS = 512  # the square is 1 MiB of float32, and stays in L2
MOST_ROWS_SUPCON = 256  # half of the tiles are fewer FLOPs: beyond it that counts
_TERMS = ("pairs", "batch_hard", "batch_all", "semi_hard")
_DISTANCES = ("euclidean", "squared_euclidean", "cosine")
_REDUCTIONS = ("mean_nonzero", "mean", "sum")


def are_few(rows: Tensor, ref_emb: Tensor | None = None, *, supcon: bool = False) -> bool:
    """Whether these are so few rows, or no more pairs of a row and a reference than so many rows have among themselves.

    Not in a graph that is compiled, which would be one for each side of the bound.
    """
    if ref_emb is not None:
        few = len(rows) * len(ref_emb) <= MOST_ROWS**2
    else:
        few = len(rows) <= (MOST_ROWS_SUPCON if supcon else MOST_ROWS)
    return few and rows.is_cpu and not torch.compiler.is_compiling()


def softmax_of_few(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
    scale: float,
    each_positive: bool,
    *,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    copies: Tensor | None = None,
) -> Tensor:
    """The loss of :func:`supcon_loss`, or of :func:`multi_positive_nt_xent_loss`, arguments as checked by them.

    References are for the second.
    """
    sides = (embeddings, ref_emb, labels, ref_labels, copies)
    options = (scale, each_positive)
    loss: Tensor = _FewRows.apply(function, *sides, ops.label_softmax, True, options, torch.is_grad_enabled())
    return loss


def distances_of_few(
    function: str,
    embeddings: Tensor,
    ref_emb: Tensor | None,
    labels: Tensor,
    ref_labels: Tensor | None,
    copies: Tensor | None,
    terms: str,
    distance: str,
    normalize: bool,
    reduction: str,
    *,
    margin: float,
    neg_margin: float = 0.0,
    squared: bool = False,
    swap: bool = False,
    smooth: bool = False,
) -> Tensor:
    """The loss of :func:`contrastive_loss`, of ``"pairs"``, or of :func:`triplet_loss`, arguments as checked by them.

    A swap and a soft margin are for ``"batch_hard"``.
    """
    numbers = _TERMS.index(terms), _DISTANCES.index(distance), _REDUCTIONS.index(reduction)
    options = (*numbers, normalize, margin, neg_margin, squared, swap, smooth)
    sides = (embeddings, ref_emb, labels, ref_labels, copies)
    loss: Tensor = _FewRows.apply(function, *sides, ops.label_distances, normalize, options, torch.is_grad_enabled())
    return loss


class _FewRows(torch.autograd.Function):
    """The gradient of a loss with gradient 1 is made in forward, in the dtype of accumulation."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, embeddings, ref_emb, labels, ref_labels, copies, operator, normalized, options, grad_enabled
    ):
        sides = [embeddings] if ref_emb is None else [embeddings, ref_emb]
        if not normalized or (ref_emb is not None and ref_emb.dtype != embeddings.dtype):
            sides = widened(*sides)
        sides = [z.contiguous() if z.stride(1) != 1 or not normalized else z for z in sides]
        _, need, need_ref, *_ = ctx.needs_input_grad
        arguments = (sides[0], kernel_integers(labels), *options, grad_enabled and (need or need_ref))
        if ref_emb is None:
            loss, grad = operator(*arguments)
        else:
            own = None if copies is None else kernel_integers(copies)
            loss, grad = operator(*arguments, sides[1], kernel_integers(ref_labels), own, grad_enabled and need_ref)
        # Sides without a gradient are not held: a memory may be written over before backward.
        ctx.save_for_backward(embeddings if need else None, ref_emb if need_ref else None, grad)
        ctx.function, ctx.rows = function, len(embeddings)
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        *inputs, found = ctx.saved_tensors
        parts = [found, None] if len(found) == ctx.rows else [found[: ctx.rows], found[ctx.rows :]]
        learning = [z for z in inputs if z is not None]
        plain = is_last_plain(grad)
        grads: list[Tensor | None] = [None, None]
        for i, (z, part) in enumerate(zip(inputs, parts, strict=True)):
            if z is not None:
                with torch.no_grad():
                    product = (part if plain else part * grad).to(z.dtype)
                grads[i] = first_order_only(ctx.function, product, *learning, grad)
        return None, *grads, *[None] * 7
