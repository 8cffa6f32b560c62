"""Objectives and penalties of GANs by definition, in probabilities and one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor, objective: str, smoothing: float = 0.0) -> Tensor:
    """Goodfellow et al. (2014), equation 1, with one-sided smoothing; the hinge; the critics' difference."""
    if objective == "non_saturating":
        yes, no = real.sigmoid(), fake.sigmoid()
        return -((1 - smoothing) * yes.log() + smoothing * (1 - yes).log()).mean() - (1 - no).log().mean()
    if objective == "hinge":
        return (1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean()
    return fake.mean() - real.mean()


def generator_loss(fake: Tensor, objective: str) -> Tensor:
    """The logarithm of the discriminator's mistake, or its score."""
    return -fake.sigmoid().log().mean() if objective == "non_saturating" else -fake.mean()


def bigan_loss(encoder: Tensor, generator: Tensor, objective: str) -> Tensor:
    """The discriminator's loss with its two labels swapped; of scores, their difference."""
    if objective == "non_saturating":
        return discriminator_loss(generator, encoder, objective)
    return encoder.mean() - generator.mean()


def gradient_penalty(
    discriminator: Callable[..., Tensor], points: Sequence[Tensor], weight: float, center: float
) -> Tensor:
    """Gulrajani et al. (2017), equation 3, at given points (one tensor, or one for each part of a pair)."""
    return weight * torch.stack([(g.norm() - center) ** 2 for g in _gradients(discriminator, points)]).mean()


def r1_penalty(discriminator: Callable[..., Tensor], points: Sequence[Tensor], weight: float) -> Tensor:
    """Mescheder et al. (2018), equation 9."""
    return weight / 2 * torch.stack([g.square().sum() for g in _gradients(discriminator, points)]).mean()


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor], match: str) -> Tensor:
    """Mean absolute difference, or the squared distance of the means over the batch; the mean of the layers."""
    if match == "pairs":
        return torch.stack([(f - r.detach()).abs().mean() for r, f in zip(real, fake, strict=True)]).mean()
    means = [(f.mean(0) - r.detach().mean(0)).flatten() for r, f in zip(real, fake, strict=True)]
    return torch.stack([mean @ mean for mean in means]).mean()


def _gradients(discriminator: Callable[..., Tensor], points: Sequence[Tensor]) -> list[Tensor]:
    found = []
    for index in range(len(points[0])):
        sample = [p[index : index + 1].detach().requires_grad_() for p in points]
        grads = torch.autograd.grad(discriminator(*sample).sum(), sample, create_graph=True)
        found.append(torch.cat([g.flatten() for g in grads]))
    return found
