"""Batches that wait for the calls around their products: loss and gradients in one operator, on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast.losses._in_one_call import in_one_call, tensor_or_number

ROWS, TWO_WAYS, SIGMOID = 0, 1, 2  # kinds of losses
_MOST = 512  # rows, and 2 * 512 * 512 logits: 2 MiB in float32, which tiles may keep, too
MOST_READ_ONCE = 2**18  # logits with a queue or further columns of all rows, which tiles read once
_MOST_WIDENED = 256  # rows of bfloat16, of which more are multiplied sooner as they are
_MOST_COLUMNS = 2**15  # of the operator
_MOST_SAMPLES = 256  # whose views are four times as many logits as their pairs
_MOST_HALF = 2**15  # numbers of a view: more bfloat16 ones are multiplied sooner as they are than widened


class Options(NamedTuple):
    """What losses may have, as the operator takes it. Positives go with ``ROWS`` alone; ``SIGMOID`` has smoothing, a
    margin and ids.

    Args:
        smoothing: share of the target that is spread over all columns that ids and margin leave a row, and of kind
            ``TWO_WAYS`` over all rows that they leave a column; of kind ``SIGMOID`` over both labels of a pair.
        margin: what is more similar to a row, or of kind ``TWO_WAYS`` to a column, than its positive by this much is
            left out; or None.
        tau_plus: share of positives among the negatives, taken out of their sums; of unit rows.
        factors: (N,), of the losses of every row and its positive, in the dtype of the loss; or None for 1.
        positives: (N,) int64, the column of every row, of M columns; None for N in order.
        row_ids: (N,) int64: rows and columns of the same id are no candidates of each other; or None.
        col_ids: (M,) int64.
    """

    smoothing: float = 0.0
    margin: float | None = None
    tau_plus: float = 0.0
    factors: Tensor | None = None
    positives: Tensor | None = None
    row_ids: Tensor | None = None
    col_ids: Tensor | None = None


NO_OPTIONS = Options()


def options_of(
    smoothing: float,
    margin: float | None,
    tau_plus: float = 0.0,
    weights: Tensor | None = None,
    positives: Tensor | None = None,
    ids: tuple[Tensor, Tensor] | None = None,
) -> Options:
    """The options of a loss, the weights for factors."""
    if smoothing == tau_plus == 0.0 and margin is weights is positives is ids is None:
        return NO_OPTIONS
    return Options(smoothing, margin, tau_plus, weights, positives, *(ids or (None, None)))


def reduced(options: Options, count: int, reduction: str, wide: torch.dtype) -> tuple[Options, float]:
    """The options with factors, from weights of any type, that make the reduction's sum; and the share of a loss in it.

    Args:
        options: with the weights of the losses for factors.
        count: of the losses.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        wide: dtype of the sums.
    """
    factors = options.factors
    if factors is None:
        return options, 1.0 / count if reduction == "mean" else 1.0
    if reduction == "mean":  # float64, for sums that float32 cannot hold, or whose inverse it cannot
        factors = factors.double() / factors.double().sum()
    return options._replace(factors=factors.to(wide).contiguous()), 1.0


def few(rows: Tensor, columns: Tensor, further: int = 0, *, in_passes: bool = False) -> bool:
    """Whether :func:`few_pairs` is the fastest way of these rows, columns and so many further ones, on the CPU alone.

    A compiled or traced graph takes the operators in tiles, which it may ask for other sizes, too.

    Args:
        in_passes: whether what tiles would make is several passes, as :func:`takes_passes` has it.
    """
    count = rows.shape[0]
    width = columns.shape[0] + further
    most = min(_MOST, _MOST_WIDENED) if _are_halves(rows, columns) and not in_passes else _MOST
    return (
        rows.is_cpu
        and columns.is_cpu
        and count <= most
        and width <= _MOST_COLUMNS
        and count * further <= MOST_READ_ONCE
        and count * width <= 2 * most**2
        and not _is_graph()
    )


def takes_passes(options: Options, symmetric: bool) -> bool:
    """Whether what smoothing reads of both directions takes tiles passes of its own: without a margin, whose one pass
    makes it, too.
    """
    return symmetric and options.smoothing > 0.0 and options.margin is None


def few_samples(z0: Tensor, z1: Tensor) -> bool:
    """Whether :func:`few_views` is the fastest way of these samples, up to as many as pairs are :func:`few`."""
    halves = _are_halves(z0, z1)
    return z0.shape[0] <= _MOST_SAMPLES and few(z0, z1) and not (halves and z0.numel() > _MOST_HALF)


def beside_queue(query: Tensor) -> bool:
    """Whether :func:`queue_pairs` is the fastest way of queries and a queue: on the CPU, at any size."""
    return query.is_cpu and not _is_graph()


def few_pairs(
    function: str,
    kind: int,
    share: float,
    rows: Tensor,
    columns: Tensor,
    scale: float | Tensor,
    bias: float | Tensor = 0.0,
    *,
    normalize: bool,
    options: Options = NO_OPTIONS,
) -> Tensor:
    """A share of the sum of the losses of N pairs, each of a row and a column, by default that of its number.

    What :mod:`._cross`, :mod:`._one_way` and :class:`SigLIPLoss` make of tiles: all logits are held at once, and the
    gradients are made in forward, where one is wanted; backward multiplies them by its own.

    Args:
        function: the name that errors begin with.
        kind: ``ROWS``, softmax losses of the rows; ``TWO_WAYS``, of rows and columns; ``SIGMOID``, those of all pairs.
        share: what the sum is multiplied by, above 0.
        rows: (N, D), on the CPU, checked by the caller.
        columns: (N, D), or (M, D) with positives, or of kind ``TWO_WAYS``, for M - N further negatives of the rows.
        scale: factor of the similarities, a number or a tensor of one.
        bias: of kind ``SIGMOID``, added to the logits, a number or a tensor of one. Default: 0.
        normalize: divide rows and columns by their norms first, as F.normalize does.
        options: what the losses have. Default: none.

    Returns:
        A scalar, float32, or float64 if a side is.
    """
    given_scale, known_scale = tensor_or_number(scale)
    given_bias, known_bias = tensor_or_number(bias)
    constants = (given_scale, given_bias, known_scale, known_bias, kind, share, normalize)
    # Defaults that are passed cost about a microsecond.
    rest = () if options is NO_OPTIONS else options
    return in_one_call(function, ops.few_pairs, rows, columns, constants, (scale, bias), rest)


def few_views(
    function: str,
    z0: Tensor,
    z1: Tensor,
    scale: float,
    *,
    decoupled: bool = False,
    weights: Tensor | None = None,
    sigma: float | None = None,
) -> Tensor:
    """The mean of the losses of two views of N samples, each view of which has the other for a positive.

    What :class:`NTXentLoss` and :class:`DCLLoss` make of tiles, as :func:`few_pairs` does.

    Args:
        function: the name that errors begin with.
        z0: (N, D), on the CPU, checked by the caller.
        z1: (N, D).
        scale: factor of the cosine similarities.
        decoupled: leave the positive out of the sum of its row. Default: NT-Xent.
        weights: of ``decoupled`` losses, (2N,) floating-point numbers, of the positives' logits. Default: None, 1 each.
        sigma: in the place of ``weights``, those of :func:`negative_mises_fisher_weights`, without a gradient.

    Returns:
        A scalar, float32, or float64 if a view is.
    """
    return in_one_call(function, ops.few_views, z0, z1, (weights, scale, sigma, decoupled), (weights,))


def queue_pairs(
    function: str,
    share: float,
    query: Tensor,
    keys: Tensor,
    queue: Tensor,
    scale: float | Tensor,
    *,
    normalize: bool,
) -> Tensor:
    """A share of the sum of the softmax losses of N queries, each with a positive key and a queue for negatives.

    What :mod:`._queue` makes of tiles, with the positives' logits and the losses in the same call, and the gradients,
    where one is wanted; backward multiplies them by its own. The queue may change before that.

    Args:
        function: the name that errors begin with.
        share: what the sum is multiplied by, above 0.
        query: (N, D), on the CPU, checked by the caller.
        keys: (N, D), the positive of every query.
        queue: (K, D), taken as it is; gets no gradient.
        scale: factor of the similarities, a number or a tensor of one.
        normalize: divide queries and keys by their norms first, as F.normalize does.

    Returns:
        A scalar, float32, or float64 if ``query`` or ``keys`` is.
    """
    given, known = tensor_or_number(scale)
    query = query if query.is_contiguous() else query.contiguous()
    constants = (queue if queue.is_contiguous() else queue.contiguous(), given, known, share, normalize)
    return in_one_call(function, ops.queue_pairs, query, keys, constants, (scale,))


def _are_halves(rows: Tensor, columns: Tensor) -> bool:
    return rows.dtype is columns.dtype is torch.bfloat16


def _is_graph() -> bool:
    # torch.jit.trace knows the tensors that are arguments of an autograd function; a queue is none.
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
