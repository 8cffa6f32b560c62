"""How far from its definition in float64 a contrastive loss of loss_cases.py may be, and the gradient, in a regime."""

from __future__ import annotations

import torch
from loss_cases import CASES, Inputs, LossCase
from loss_oracle import with_grads
from loss_regimes import Regime, problem
from oracle import assert_no_worse
from torch import Tensor

FLOAT32 = torch.finfo(torch.float32)


def cast(case: LossCase, inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Rows in ``dtype``; in float32 at least what is kept in that: logit_scale, logit_bias, a bank's queue."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    own = len(inputs) - case.constants if case.wide_constants else len(inputs)
    return tuple(z.to(dtype if z.dim() and at < own else wide) for at, z in enumerate(inputs))


def differentiated(function, case: LossCase, inputs: Inputs, temperature: float) -> list[Tensor]:
    """The loss and its gradients in the inputs that take one."""
    count = len(inputs) - case.constants
    return with_grads(lambda *z: function(*z, *inputs[count:], temperature), *inputs[:count])


def scale_of(case: LossCase, temperature: float) -> float:
    return (2 if case.pairwise else 1) / temperature


def relative_bound(case: LossCase, regime: Regime) -> float:
    """Of the errors of a float32 loss and of its gradients, as the L2 norm over a tensor.

    2e-6 down to temperature 0.06. Below, rounding limits every float32 similarity of unit vectors, however it is
    summed: near 1 it is off by 2^-25 itself, as half the last place, and by as much for either row, whose D numbers and
    norm are rounded; the roundings of its sum add as much again: 2^-23 in all. The logit, the weight exp(logit - lse)
    and what they make are off by that times the scale, and only a maximum taken off before S is rounded would help. The
    norms are sums of D squares, whose rounding grows as the root of D: above 512 it is more than the rest. 0.4 to 0.9
    of this is measured late in training.
    """
    scale = scale_of(case, regime.temperature)
    if scale < 15:
        return 2e-6
    return max(2e-6, FLOAT32.eps * scale * (1.0 if regime.dim <= 512 else 2 * (regime.dim / 512) ** 0.5))


def rounding_floor(case: LossCase, regime: Regime, z: Tensor, loss: float, eps: float) -> Tensor:
    """What rounding leaves where the terms of a gradient cancel: (N, 1) for rows, a number for a scalar.

    The gradient of a unit row is a sum of unit rows with weights; that of the row is its part across the row, over the
    norm. A row's weights, by 1 / N, sum to 1 (a softmax) or N (pairs), and to its loss where that is less. Where a row
    has several positives, their softmax, off by the rounding of logits, weighs rows that are d apart; what these add
    to the loss is about the square of the difference of their logits, scale d^2 / 2.
    """
    most = float(regime.rows if case.pairwise else 1)
    # In float64 the definition, the truth itself, is no better than without the loss: it subtracts 1 from exp(-loss).
    if case.infimum and eps == FLOAT32.eps:
        weight = min(most, (2 * scale_of(case, regime.temperature) * max(loss - case.infimum, eps) ** 0.5) ** 0.5)
    else:
        weight = min(loss, most) if case.vanishes and eps == FLOAT32.eps else most
    if not z.dim():
        return torch.tensor(4 * eps * weight, dtype=torch.float64)
    norms = z.double().norm(dim=1, keepdim=True) if case.normalizes else torch.ones(len(z), 1, dtype=torch.float64)
    return 4 * eps * scale_of(case, regime.temperature) * weight / regime.rows / norms


def one_rounding(case: LossCase, regime: Regime, rows: Tensor, z: Tensor) -> float:
    """What rounding a gradient's weights to bfloat16 for a product may add to an element.

    One rounding, 2^-8, of a row's largest element: the weights' errors spread over the row. In the norm over 64 rows
    and more it averages out, and with that of the result stays under 2.5e-3. Fewer have few weights, whose errors may
    all be off the same way: they are not rounded. A scale has the sum of a product with the weights; that of pairs, and
    every bias, come of the weights before they are rounded.
    """
    if rows.dtype != torch.bfloat16 or regime.rows < 64:
        return 0.0
    return 2.0**-8 if z.dim() or not case.pairwise else 0.0


def assert_within_bounds(name: str, regime: Regime, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
    """Loss and gradients of the regime's inputs in ``dtype``, made on ``device``."""
    case = CASES[name]
    inputs = cast(case, problem(name, regime), dtype)
    there = tuple(z.to(device) for z in inputs)
    ours = [z.cpu() for z in differentiated(case.ours, case, there, regime.temperature)]
    same = differentiated(case.reference, case, inputs, regime.temperature)
    truth = differentiated(case.reference, case, tuple(z.double() for z in inputs), regime.temperature)
    loss = truth[0].item()
    if case.vanishes and regime.loss is not None:
        assert 0.5 < (loss - case.infimum) / regime.loss < 2  # of inputs rounded to dtype too

    wide = torch.float64 if dtype == torch.float64 else torch.float32
    eps = torch.finfo(wide).eps
    bound = relative_bound(case, regime) * eps / FLOAT32.eps
    # What is a difference of logits may be 0 by chance.
    size = abs(loss) if case.vanishes and not case.infimum else max(1.0, abs(loss))
    allowed = bound * size + (4 * eps * scale_of(case, regime.temperature) if dtype == torch.float64 else 0.0)
    if case.infimum:  # a difference of logits
        allowed = max(allowed, 2 * eps * scale_of(case, regime.temperature))
    assert ours[0].dtype == wide
    assert_no_worse(ours[0], same[0].to(wide), truth[0], allowed)
    assert abs(ours[0].item() - loss) <= allowed

    plain = (
        same if wide == dtype else differentiated(case.reference, case, cast(case, inputs, wide), regime.temperature)
    )
    for z, f, r, p, g in zip(inputs, ours[1:], same[1:], plain[1:], truth[1:], strict=False):
        assert f.dtype == z.dtype
        floor = rounding_floor(case, regime, z, loss, eps)
        largest = g.abs().amax(dim=1, keepdim=True) if g.dim() else g.abs()
        weights = one_rounding(case, regime, inputs[0], z)
        # Views across from each other pull a row to both sides, and cancel.
        if case.infimum:
            norms = z.double().norm(dim=1, keepdim=True)
            largest = (largest * norms).max() / norms
        rounding, step = 0.0, 0.0
        if z.dtype != wide:  # rounded once, at the end; below the normal numbers in equal steps
            own = torch.finfo(z.dtype)
            rounding, step = 0.505 * own.eps, own.smallest_normal * own.eps
        assert_no_worse(f, r, g, (4 * bound + weights) * largest + floor + step + rounding * g.abs())
        # The roundings of many elements come to half of the largest or a bit more: bfloat16's 2.0e-3.
        once = 2.5e-3 if weights else rounding if g.numel() < 64 else 0.51 * rounding
        rest = floor.expand_as(g).norm()
        if case.infimum and wide == torch.float32:  # a small difference of the softmax and the positives' share
            rest = min(rest, (2 if regime.rows > 3 else 4) * (p.double() - g).norm())
        assert (f.double() - g).norm() <= (bound + once) * g.norm() + rest + step * g.numel() ** 0.5
