"""Cross-entropy against the classes of a linear layer, differentiated in forward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, first_order_only, is_last, is_last_plain, product_side
from sslfast.losses._class_inputs import ClassificationOutput, Options
from sslfast.losses._inputs import autocast_is_on


def mean_of(total: Tensor, items: Tensor | float) -> Tensor:
    """``total / items``, 0 where a tensor of items is 0, in the dtype of ``total``."""
    if not isinstance(items, Tensor):
        return total / items
    items = items.detach().reshape(()).to(total.dtype)
    return total * torch.where(items == 0, 0.0, items.reciprocal())


class Results(NamedTuple):
    """What the operators give of rows and targets.

    Attributes:
        loss: the weighted sum or mean, or (R,) for ``reduction="none"``: the one that has a graph.
        nll: (R,) negative log-likelihoods, 0 where there is no target.
        lse: (R,) log-sum-exps, 0 where there is no target.
        correct: (R,) bool, whether the target's logit is the largest, alone.
        has: (R,) bool, whether there is a target.
        own: (R,) class weights of the targets, or None.
    """

    loss: Tensor
    nll: Tensor
    lse: Tensor
    correct: Tensor
    has: Tensor
    own: Tensor | None

    @property
    def items(self) -> Tensor:
        """The sum of the weights of the targets."""
        return self.has.sum() if self.own is None else self.own.sum()


def class_results(
    function: str,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    index: Tensor | None,
    class_weights: Tensor | None,
    options: Options,
    num_items: Tensor | float | None = None,
) -> Results:
    """The losses of rows of ``hidden`` (T, D) that have a target.

    Args:
        function: the name that errors begin with.
        targets: (R,) int64, -1 for none.
        index: (R,) int64, the row of ``hidden`` that belongs to a target, -1 for none. None: its own number.
        num_items: what a mean is divided by. None: the sum of the weights of the targets.
    """
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if autocast_is_on(hidden.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden.device.type)
    has = targets >= 0 if index is None else (targets >= 0) & (index >= 0)
    own = None
    if class_weights is not None:
        class_weights = class_weights.detach().to(wide).contiguous()
        own = has * class_weights[targets.clamp(0, len(class_weights) - 1)]
    hidden, weight, bias = distinct(hidden, weight, bias)
    items: Tensor | float | None = None
    if options.reduction == "mean":
        items = num_items if num_items is not None else has.sum() if own is None else own.sum()
    losses = _RowLosses if options.reduction == "none" else _TotalLoss
    loss, nll, lse, own_logits, others = losses.apply(
        function,
        hidden,
        weight,
        bias,
        targets,
        index,
        own,
        None,
        class_weights,
        options,
        dtype,
        torch.is_grad_enabled(),
        items,
    )
    return Results(loss, nll, lse, own_logits > others, has, own)


def class_loss(
    function: str,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    index: Tensor | None,
    class_weights: Tensor | None,
    options: Options,
    num_items: Tensor | float | None,
    metrics: bool,
) -> Tensor | ClassificationOutput:
    """The loss of :func:`class_results`, alone or, where ``metrics`` are wanted, with what falls out of it."""
    found = class_results(function, hidden, weight, bias, targets, index, class_weights, options, num_items)
    loss, nll, lse, correct, has, _ = found
    if not metrics:
        return loss
    with torch.no_grad():
        targets_seen = has.sum()
        some = targets_seen.clamp_min(1)
        z_loss = lse.new_zeros(()) if options.reduction == "none" else options.z_loss * lse.square().sum()
        if options.reduction == "mean":
            z_loss = mean_of(z_loss, found.items if num_items is None else num_items)
        return ClassificationOutput(loss, correct.sum() / some, (nll.sum() / some).exp(), z_loss, targets_seen)


def shaped_like(targets: Tensor, found: Tensor | ClassificationOutput) -> Tensor | ClassificationOutput:
    """Losses of rows in the shape of their targets."""
    if isinstance(found, Tensor):
        return found.view(targets.shape)
    return found._replace(loss=found.loss.view(targets.shape))


def _run(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rest: tuple[Tensor | None, ...],
    options: Options,
    dtype: torch.dtype,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor, ...]:
    targets, index, own, others, class_weights = rest
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sides = product_side(hidden.detach(), dtype), product_side(weight.detach(), dtype)
    bias = None if bias is None else bias.detach().to(wide).contiguous()
    numbers = (options.label_smoothing, options.softcap, options.z_loss)
    results: tuple[Tensor, ...] = ops.linear_cross_entropy(
        *sides, targets, index, bias, own, others, class_weights, *numbers, *needs
    )
    return results


def _losses(
    nll: Tensor, lse: Tensor, sums: Tensor, rest: tuple[Tensor | None, ...], options: Options, classes: int
) -> Tensor:
    """(R,) losses, times the weights of the rows."""
    _, _, own, _, class_weights = rest
    losses = nll.clone() if own is None else nll * own
    if options.label_smoothing:
        total = classes if class_weights is None else class_weights.sum()
        losses = (1.0 - options.label_smoothing) * losses + options.label_smoothing / classes * (total * lse - sums)
    if options.z_loss:
        losses = losses + options.z_loss * lse.square()
    return losses


class _TotalLoss(torch.autograd.Function):
    """The sum of the weighted losses, or their mean over items; forward makes the gradients, too.

    They are the mean's: a pass over the weight's gradient, to divide it in backward, is saved.
    """

    @staticmethod
    def forward(ctx, function, hidden, weight, bias, *args):  # type: ignore[no-untyped-def]
        *tensors, options, dtype, grad_enabled, items = args
        rest, needs = tuple(tensors), tuple(grad_enabled and needed for needed in ctx.needs_input_grad[1:4])
        shared = rest
        if any(needs) and items is not None:
            targets, index, own, others, class_weights = rest
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            one = mean_of(torch.ones(targets.shape, dtype=wide, device=targets.device), items)
            others = one if options.label_smoothing or options.z_loss else None
            shared = targets, index, one if own is None else own * one, others, class_weights
        nll, lse, sums, positive, top, *grads = _run(hidden, weight, bias, shared, options, dtype, needs)
        kept = [g if need else None for g, need in zip(grads, needs, strict=True)]
        ctx.save_for_backward(hidden, weight, bias, *kept)
        ctx.function = function
        ctx.mark_non_differentiable(nll, lse, positive, top)
        loss = _losses(nll, lse, sums, rest, options, len(weight)).sum()
        return loss if items is None else mean_of(loss, items), nll, lse, positive, top

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        hidden, weight, bias, *kept = ctx.saved_tensors
        inputs = [x for x in (hidden, weight, bias) if x is not None]
        with torch.no_grad():
            if not is_last_plain(grad):
                in_place = is_last(grad)
                kept = [None if g is None else g.mul_(grad) if in_place else g * grad for g in kept]
            found = [None if g is None else g.to(x.dtype) for g, x in zip(kept, (hidden, weight, bias), strict=True)]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 9,
        )


class _RowLosses(torch.autograd.Function):
    """The losses of the rows; their gradients are made in backward, where the derivatives of the rows are known."""

    @staticmethod
    def forward(ctx, function, hidden, weight, bias, *args):  # type: ignore[no-untyped-def]
        *tensors, options, dtype, _, _ = args
        rest = tuple(tensors)
        nll, lse, sums, own, top, *_ = _run(hidden, weight, bias, rest, options, dtype, (False, False, False))
        ctx.save_for_backward(hidden, weight, bias, *rest)
        ctx.function, ctx.options, ctx.dtype = function, options, dtype
        ctx.mark_non_differentiable(nll, lse, own, top)
        return _losses(nll, lse, sums, rest, options, len(weight)), nll, lse, own, top

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        hidden, weight, bias, targets, index, own, _, class_weights = ctx.saved_tensors
        inputs = [x for x in (hidden, weight, bias) if x is not None]
        needs = tuple(ctx.needs_input_grad[1:4])
        with torch.no_grad():
            grad = grad.contiguous()
            rest = (targets, index, grad if own is None else own * grad, grad, class_weights)
            made = _run(hidden, weight, bias, rest, ctx.options, ctx.dtype, needs)[5:]
            sides = (hidden, weight, bias)
            found = [g.to(x.dtype) if need else None for g, x, need in zip(made, sides, needs, strict=True)]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 9,
        )
