"""Losses with labels of few rows on the CPU: loss and gradient from one operator, that makes the whole square of them.

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


def are_few(rows: Tensor, *, supcon: bool = False) -> bool:
    """Whether these are so few rows; not in a graph that is compiled, which would be one for each side of the bound."""
    most = MOST_ROWS_SUPCON if supcon else MOST_ROWS
    return len(rows) <= most and rows.is_cpu and not torch.compiler.is_compiling()


def softmax_of_few(function: str, embeddings: Tensor, labels: Tensor, scale: float, each_positive: bool) -> Tensor:
    """The loss of :func:`supcon_loss`, or of :func:`multi_positive_nt_xent_loss`, arguments as checked by them."""
    loss: Tensor = _FewRows.apply(
        function, embeddings, ops.label_softmax, True, labels, (scale, each_positive), torch.is_grad_enabled()
    )
    return loss


def distances_of_few(
    function: str,
    embeddings: Tensor,
    labels: Tensor,
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
    loss: Tensor = _FewRows.apply(
        function, embeddings, ops.label_distances, normalize, labels, options, torch.is_grad_enabled()
    )
    return loss


class _FewRows(torch.autograd.Function):
    """The gradient of a loss with gradient 1 is made in forward, in the dtype of accumulation."""

    @staticmethod
    def forward(ctx, function, embeddings, operator, normalized, labels, options, grad_enabled):  # type: ignore[no-untyped-def]
        (rows,) = (embeddings,) if normalized else widened(embeddings)
        if rows.stride(1) != 1 or not normalized:
            rows = rows.contiguous()
        loss, grad = operator(rows, kernel_integers(labels), *options, grad_enabled and ctx.needs_input_grad[1])
        ctx.save_for_backward(embeddings, grad)
        ctx.function = function
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        embeddings, found = ctx.saved_tensors
        with torch.no_grad():
            found = (found if is_last_plain(grad) else found * grad).to(embeddings.dtype)
        return None, first_order_only(ctx.function, found, embeddings, grad), *[None] * 5
