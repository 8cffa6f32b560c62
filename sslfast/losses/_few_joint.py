"""InfoNCE of few queries with all kinds of negatives and options: all similarities at once, on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._autograd import first_order_only
from sslfast.losses._few_pairs import (
    MOST_READ_ONCE,
    NO_OPTIONS,
    Options,
    few,
    reduced,
    takes_passes,
)
from sslfast.losses._in_one_call import tensor_or_number
from sslfast.losses._inputs import without_autocast
from sslfast.losses._joint_products import Columns, Kept, Request, gradients_of, losses_of
from sslfast.losses._negative_kinds import Hardness, Kinds

_MOST = 2**16  # similarities, 256 KiB in float32, which stay in the L2 cache with their weights
_MOST_BOTH_WAYS = 2**19  # where a margin or smoothing costs tiles more calls


def joint_info_nce(
    function: str,
    query: Tensor,
    keys: Tensor,
    kinds: Kinds,
    hardness: Hardness,
    scale: float | Tensor,
    reduction: str,
    symmetric: bool,
    normalize: bool,
    options: Options,
) -> Tensor | None:
    """The losses, one by one or reduced, of few queries among all their negatives; None where there are more.

    What :mod:`._negatives` makes of tiles, group by group: the calls around these take few queries longer than all
    arithmetic. Here one product makes all similarities with the queries, another those with the positive keys, and one
    operator losses and weights of them, which backward multiplies with both sides.

    Args:
        function: the name that errors begin with.
        query: (N, D), checked by the caller, as all that follows.
        keys: (M, D).
        kinds: of the negatives.
        hardness: of the negatives.
        scale: factor of the similarities, a number or a tensor of one.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        symmetric: average with the losses of the keys.
        normalize: divide all but the queue by their norms.
        options: of the losses, the weights of the queries, of any type, for factors.

    Returns:
        Scalar or (N,), float32, or float64 if ``query`` or ``keys`` is.
    """
    n, m, others, queue = len(query), len(keys), kinds.negative_keys, kinds.queue
    further, own = (0, False) if others is None else (others.shape[-2], others.dim() == 3)
    columns = Columns(
        n * (kinds.key_to_query_negatives or symmetric),
        m * kinds.key_negatives,
        n * kinds.query_negatives,
        m * kinds.in_batch,
        0 if own else further,
        0 if queue is None else len(queue),
        further if own else 0,
    )
    of_all = columns.others + columns.queue
    of_little = n * of_all <= MOST_READ_ONCE
    further_kinds = options.row_ids is not None or sum(columns) > n + m
    in_passes = takes_passes(options, symmetric) and further_kinds and of_little
    both_ways = in_passes or (symmetric and options.margin is not None and of_little)
    if n * sum(columns) > (_MOST_BOTH_WAYS if both_ways else _MOST) or not few(query, keys, in_passes=in_passes):
        return None
    wide = torch.float64 if torch.float64 in (query.dtype, keys.dtype) else torch.float32
    options, share = reduced(options, n, reduction, wide)
    given, known = tensor_or_number(scale)
    request = Request(
        function,
        columns,
        (kinds.key_to_query_negatives, symmetric, kinds.key_negatives, kinds.query_negatives, kinds.in_batch),
        (*columns.harder(hardness), hardness.strength),
        queue,
        wide,
        normalize,
        reduction == "none",
        known,
        share,
        options,
        torch.is_grad_enabled(),
    )
    losses: Tensor = _Joint.apply(request, query, keys, others, given)
    return losses


class _Joint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, r, query, keys, others, scale):  # type: ignore[no-untyped-def]
        needs = ctx.needs_input_grad[1:] if r.grad_enabled else (False,) * 4
        with without_autocast(query):
            losses, kept = losses_of(r, query, keys, others, scale, needs)
        if any(needs):
            given = (z if need else None for z, need in zip((query, keys, others, scale), needs, strict=True))
            ctx.save_for_backward(*given, *kept[4:])
            kept_all = r.queue is None and r.options is NO_OPTIONS
            ctx.request = r if kept_all else r._replace(queue=None, options=NO_OPTIONS)
        return losses

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        kept = Kept(*ctx.saved_tensors)
        with torch.no_grad(), without_autocast(grad):
            found = gradients_of(ctx.request, kept, grad)
        if torch.is_grad_enabled():
            inputs = [z for z in kept[:4] if z is not None]
            found = [None if g is None else first_order_only(ctx.request.function, g, *inputs, grad) for g in found]
        return None, *found
