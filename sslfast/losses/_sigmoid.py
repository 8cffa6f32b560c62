"""The sigmoid losses of all pairs of a batch, of one rank or of all, with their gradients, in tiles."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import ops
from sslfast._autograd import (
    distinct,
    first_order_only,
    pair_sides,
    unit_of,
    unit_rows_backward,
)
from sslfast._verdict import Options
from sslfast.distributed import exchange_shards, world_size
from sslfast.losses._blocks import blocks_over_ranks

_Parts = tuple[Tensor | None, ...]


def sigmoid_mean(
    function: str,
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    normalize: bool,
    strategy: str,
    options: Options | None,
    ids: tuple[Tensor, Tensor] | None = None,
    limits: Tensor | None = None,
    smoothing: float = 0.0,
    dtype: torch.dtype | None = None,
    sides: _Parts = (None,) * 4,
) -> Tensor:
    """The sum of the losses of all pairs by the number of rows; row i and column i are told from the others.

    The gradients of rows, columns, scale and bias are made in forward, so that over several ranks nothing travels in
    backward; those of scale and bias are whole on every rank.

    Args:
        function: the name that errors begin with.
        rows: (N, D), checked by the caller, as all that follows; over several ranks this rank's, of all tensors.
        columns: (N, D).
        scale: factor of the similarities, a tensor of one number.
        bias: added to them, a tensor of one number.
        normalize: divide rows and columns by their norms first, as F.normalize does.
        strategy: ``"local"``, ``"all_gather"`` or ``"ring"``.
        options: what has to be the same on every rank, as :func:`~sslfast._verdict.spelled` gives it, or None.
        ids: of rows and of columns, (N,) int64; pairs off the diagonal whose row and column have the same id are left
            out. Default: None.
        limits: (N,) of the loss's dtype; pairs off the diagonal whose similarity is above that of their row are left
            out. Default: None.
        smoothing: share e of the targets that is spread over both labels, which become 1 - e / 2 and e / 2. Default: 0.
        dtype: what the products are made in where the device has them in half types. Default: None, the inputs'.
        sides: without ``normalize``, what rows are made of and their factors, and the columns', as ``unit_side`` gives
            them, where they are multiplied without rounding. Default: None of them.

    Returns:
        A scalar, float32, or float64 if an input is.
    """
    operands = distinct(rows, columns, scale, bias)
    further = distinct(*(ids or (None, None)), limits, *sides)
    loss: Tensor = _SigmoidMean.apply(
        function, *operands, normalize, strategy, options, smoothing, dtype, torch.is_grad_enabled(), *further
    )
    return loss


class _SigmoidMean(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        function,
        rows,
        columns,
        scale,
        bias,
        normalize,
        strategy,
        options,
        smoothing,
        dtype,
        grad_enabled,
        *further,
    ):
        row_ids, col_ids, row_limits, *exact = further
        dtype = dtype or torch.promote_types(rows.dtype, columns.dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        sides, norms, factors = pair_sides(rows, columns, dtype, normalize, exact)
        numbers = [number.to(wide) for number in (scale, bias)]
        needs = [grad_enabled and needed for needed in ctx.needs_input_grad[1:3]]
        positives = torch.arange(len(rows), device=rows.device)
        excluded = (row_ids, col_ids, row_limits)
        if strategy == "local":
            loss, *products, d_scale, d_bias = ops.sigmoid_pairs(
                *sides, positives, *numbers, 1 / len(rows), *needs, *factors, *excluded, smoothing
            )
        else:
            loss, *products, d_scale, d_bias = _over_ranks(
                function, strategy, options, sides, factors, positives, numbers, needs, excluded, smoothing
            )
        units = sides if normalize else (None, None)  # of no other use in the backward pass
        ctx.save_for_backward(rows, columns, scale, bias, *units, *norms, *factors, *products, d_scale, d_bias)
        ctx.function = function
        # A rank has its features' part of the whole batch's gradient, and averaging divides the sum of the parts.
        ctx.world = 1 if strategy == "local" else world_size()
        return loss

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        saved = ctx.saved_tensors
        inputs, sides, norms, factors = saved[:4], saved[4:6], saved[6:8], saved[8:10]
        products, numbers = saved[10:12], saved[12:]
        needs = ctx.needs_input_grad[1:5]
        with torch.no_grad():
            share = grad if ctx.world == 1 else grad * ctx.world
            found: list[Tensor | None] = []
            parts = zip(inputs, sides, norms, factors, products, needs, strict=False)
            for z, side, norm, factor, product, needed in parts:
                if not needed:
                    found.append(None)
                    continue
                result = product * share
                result = result if norm is None else unit_rows_backward(result, unit_of(side, factor), norm)
                found.append(result.to(z.dtype))
            for number, total, needed in zip(inputs[2:], numbers, needs[2:], strict=True):
                found.append((total * grad).to(number.dtype).reshape(number.shape) if needed else None)
        grads = (None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found)
        return None, *grads, *[None] * 13


def _over_ranks(
    function: str,
    strategy: str,
    options: Options | None,
    sides: tuple[Tensor, Tensor],
    factors: _Parts,
    positives: Tensor,
    numbers: list[Tensor],
    needs: list[bool],
    excluded: _Parts,
    smoothing: float,
) -> tuple[Tensor, ...]:
    """What the operator gives for this rank's rows and columns, of the batch of all ranks; the numbers are sums."""
    rows, columns = sides
    row_ids, col_ids, row_limits = excluded
    shards = exchange_shards(function, columns, options)
    results = numbers[0].expand(columns.shape) if needs[1] else None
    exchange = blocks_over_ranks(strategy, shards, results)
    exchange.post(columns, factors[1], *([] if col_ids is None else [col_ids]))
    nobody = torch.full_like(positives, -1)
    share = 1 / sum(shards.sizes)
    found: list[Tensor] = []
    for distance, _, (block, block_factors, *block_ids) in exchange.blocks():
        picks = nobody if distance else positives
        left_out: tuple[Any, ...] = (row_ids, block_ids[0] if block_ids else None, row_limits)
        loss, d_rows, d_columns, d_scale, d_bias = ops.sigmoid_pairs(
            rows, block, picks, *numbers, share, *needs, factors[0], block_factors, *left_out, smoothing
        )
        part = [torch.stack([loss, d_scale, d_bias]), d_rows]
        found = [a.add_(b) for a, b in zip(found, part, strict=True)] if found else part
        if needs[1]:
            exchange.leave(d_columns)
    sums, d_rows = found
    d_columns = exchange.collect() if needs[1] else rows[:0]
    dist.all_reduce(sums)
    loss, d_scale, d_bias = (total.clone() for total in sums.unbind())
    return loss, d_rows, d_columns, d_scale, d_bias
