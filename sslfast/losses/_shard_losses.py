"""Losses of rows whose classes lie on several ranks, each of which multiplies with its own."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sslfast import ops
from sslfast._autograd import first_order_only, product_side
from sslfast.losses._class_inputs import Options
from sslfast.losses._class_shards import added_up, rank_in, told_by_all


def shard_losses(
    function: str,
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    classes: int,
    options: Options,
    dtype: torch.dtype,
    metrics: bool,
    group: dist.ProcessGroup | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The losses of all rows, the same on every rank, with gradients of the rows and of this rank's classes.

    Forward and backward communicate.

    Args:
        function: the name that errors begin with.
        rows: (R, D), the same on every rank.
        weight: (V_rank, D), this rank's classes.
        bias: (V_rank,) or None.
        targets: (R,) int64, classes of this rank, V_rank for one of another's, V_rank + 1 for none of any rank, or -1.
        classes: of all ranks.
        options: what the losses have.
        dtype: of the products.
        metrics: whether it is asked if the target's logit is the largest.
        group: the ranks that share the classes; None, all.

    Returns:
        ``(losses, nll, lse, correct)``, (R,) each: the losses, and without a gradient their negative log-likelihoods,
        the log-sum-exps over all classes, and, with ``metrics``, whether the target's logit is the largest.
    """
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _ShardLosses.apply(
        function, rows, weight, bias, targets, classes, options, dtype, metrics, group
    )
    return found


class _ShardLosses(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, function, rows, weight, bias, targets, classes, options, dtype, metrics, group
    ):
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        # Nobody else's classes, at first.
        alone = rows.new_full((2, len(rows)), -torch.inf, dtype=wide)
        nll, lse, sums, own, top, *_ = _run(
            rows, weight, bias, targets, None, options, dtype, (False, False, False), alone, classes
        )
        here = (targets >= 0) & (targets < len(weight))
        # The others' log-sum-exp beside a target here: of a small loss nothing is lost.
        rest = torch.where(here, lse + (-torch.expm1(-nll)).log(), lse)
        numbers = [rest, torch.where(here, own, -torch.inf)]
        numbers += [sums] if options.label_smoothing else []
        numbers += [top] if metrics else []
        rests, owns, *more = told_by_all(torch.stack(numbers), group).unbind(1)
        mine = torch.arange(len(rests), device=rests.device) == rank_in(group)
        others = rests.masked_fill(mine.unsqueeze(1), -torch.inf).logsumexp(0)
        rest, own = rests.logsumexp(0), owns.amax(0).masked_fill_(targets > len(weight), torch.nan)
        has = targets >= 0
        nll, lse = (
            torch.where(has, z, 0.0) for z in (F.softplus(rest - own, threshold=50.0), torch.logaddexp(rest, own))
        )
        losses = nll.clone()
        if options.label_smoothing:
            mean = more[0].sum(0) / classes
            losses = (1.0 - options.label_smoothing) * nll + options.label_smoothing * (lse - mean)
        if options.z_loss:
            losses = losses + options.z_loss * lse.square()
        correct = has & (own > more[-1].amax(0)) if metrics else has
        ctx.save_for_backward(rows, weight, bias, targets, torch.stack([others, own]))
        ctx.function, ctx.classes, ctx.options, ctx.dtype, ctx.group = function, classes, options, dtype, group
        ctx.mark_non_differentiable(nll, lse, correct)
        return losses, nll, lse, correct

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        rows, weight, bias, targets, elsewhere = ctx.saved_tensors
        needs = tuple(ctx.needs_input_grad[1:4])
        inputs = [z for z in (rows, weight, bias) if z is not None]
        with torch.no_grad():
            made = _run(
                *(rows, weight, bias, targets, grad.contiguous()),
                *(ctx.options, ctx.dtype, needs, elsewhere, ctx.classes),
            )
            d_rows, d_weight, d_bias = made[5:]
            if needs[0]:
                added_up(d_rows, ctx.group)  # each rank has its classes' part of it
            sides = zip((d_rows, d_weight, d_bias), (rows, weight, bias), needs, strict=True)
            found = [g.to(z.dtype) if need else None for g, z, need in sides]
        kept = (None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found)
        return None, *kept, *[None] * 6


def _run(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    grad: Tensor | None,
    options: Options,
    dtype: torch.dtype,
    needs: tuple[bool, ...],
    elsewhere: Tensor,
    classes: int,
) -> tuple[Tensor, ...]:
    sides = product_side(rows.detach(), dtype), product_side(weight.detach(), dtype)
    bias = None if bias is None else bias.detach().to(elsewhere.dtype).contiguous()
    # A GPU would be waited for to count the rows with a target: it takes all.
    index = torch.arange(len(rows), device=rows.device) if rows.is_cuda else None
    numbers = (options.label_smoothing, options.softcap, options.z_loss)
    results: tuple[Tensor, ...] = ops.linear_cross_entropy(
        *sides, targets, index, bias, grad, grad, None, *numbers, *needs, elsewhere, classes
    )
    return results
