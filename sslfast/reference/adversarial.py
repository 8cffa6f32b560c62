"""Projected gradient ascent by definition (Madry et al., 2018, section 2.1), a sample at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def perturb(
    loss_fn: Callable[[Tensor], Tensor],
    x: Tensor,
    epsilon: float,
    norm: str,
    step_size: float,
    steps: int,
    clamp: tuple[float, float] | None = None,
    targeted: bool = False,
    start: Tensor | None = None,
) -> Tensor:
    """From the samples themselves, or from ``start``."""
    low, high = clamp or (-torch.inf, torch.inf)
    x_adv = x if start is None else start
    for _ in range(steps):
        leaf = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(loss_fn(leaf), leaf)
        moved = []
        for origin, at, g in zip(x, x_adv, -grad if targeted else grad, strict=True):
            if norm == "linf":
                at = torch.minimum(torch.maximum(at + step_size * g.sign(), origin - epsilon), origin + epsilon)
            else:
                delta = at - origin + (step_size * g / g.norm() if g.any() else 0)
                at = origin + (delta * epsilon / delta.norm() if delta.norm() > epsilon else delta)
            moved.append(at.clamp(low, high))
        x_adv = torch.stack(moved)
    return x_adv
