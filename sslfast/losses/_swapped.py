"""Crops that predict the assignments of other crops: the losses and the gradients of all from one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslfast import ops
from sslfast._autograd import distinct, traced_once
from sslfast.losses._inputs import without_autocast
from sslfast.losses._soft_targets import led_back, lift_of, prototype_rows


class _Settings(NamedTuple):
    """How many crops assign, what divides predictions and assignments, and what the losses are multiplied by."""

    large: int
    temperature: float
    epsilon: float
    factor: float
    grad_enabled: bool


def swapped_prediction(
    crops: Sequence[Tensor], potentials: Sequence[Tensor], temperature: float, epsilon: float, factor: float
) -> Tensor:
    """``factor`` times the sum of the cross-entropies of every crop with the assignments of the large ones but itself.

    An assignment is ``softmax(scores / epsilon + potentials)``, the softmax of a teacher with the center
    ``-epsilon * potentials``: neither assignments nor logits are kept for the gradient, which is made in forward.

    Args:
        crops: (N, K) each, of one dtype; the large ones first, and at least two in all.
        potentials: (K,) of each large crop.
        temperature: divides the scores of the predictions.
        epsilon: divides the scores of the assignments.
        factor: of the sum.
    """
    settings = _Settings(len(potentials), temperature, epsilon, factor, torch.is_grad_enabled())
    wide = torch.float64 if crops[0].dtype == torch.float64 else torch.float32
    centers = torch.stack([p.to(wide) * -epsilon for p in potentials])
    total: Tensor = _SwappedPrediction.apply(settings, centers, *distinct(*crops))
    return total


class _SwappedPrediction(torch.autograd.Function):
    """Where a second derivative may follow, the gradients are made again, as functions of the crops."""

    @staticmethod
    def forward(ctx, settings, centers, *crops):  # type: ignore[no-untyped-def]
        large, temperature, epsilon, factor, grad_enabled = settings
        needs = ctx.needs_input_grad[2:]
        rows = [prototype_rows(crop) for crop in crops]
        ctx.first = large if large == 1 else 0  # the only large crop has nothing to predict
        lift = lift_of(crops[0].dtype, factor * large / temperature)
        losses, grads, _ = ops.soft_cross_entropy(
            rows[ctx.first :],
            rows[:large],
            centers,
            None,
            1 / temperature,
            1 / epsilon,
            factor * lift / temperature,
            large > 1,
            grad_enabled and any(needs[ctx.first :]),
            False,
        )
        ctx.save_for_backward(centers, grads, *crops)
        ctx.settings, ctx.lift = settings, lift
        return losses.sum() * factor

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        centers, grads, *crops = ctx.saved_tensors
        needs = ctx.needs_input_grad[2 + ctx.first :]
        if torch.is_grad_enabled():
            with without_autocast(grad):
                found = _in_torch(crops, centers, needs, ctx.settings, ctx.first, grad)
        else:
            found = led_back(grads, crops[ctx.first :], needs, grad, ctx.lift)
        return None, None, *[None] * ctx.first, *found


def _in_torch(
    crops: Sequence[Tensor], centers: Tensor, needs: Sequence[bool], settings: _Settings, first: int, grad: Tensor
) -> list[Tensor | None]:
    """The gradients of the predicting crops, which can be differentiated; the assignments are constants."""
    temperature, epsilon, factor = settings[1:4]
    codes = [((z.detach().to(c.dtype) - c) / epsilon).softmax(dim=1) for z, c in zip(crops, centers, strict=False)]
    found: list[Tensor | None] = []
    for v, (crop, needed) in enumerate(zip(crops[first:], needs, strict=True), first):
        targets = codes[:v] + codes[v + 1 :]
        share = (crop.to(centers.dtype) / temperature).softmax(dim=1)
        prediction = len(targets) * share - torch.stack(targets).sum(dim=0)
        found.append((prediction * (grad * factor / temperature)).to(crop.dtype) if needed else None)
    return found
