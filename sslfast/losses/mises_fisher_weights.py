"""Weights of positives for decoupled contrastive learning, from von Mises-Fisher densities."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._verdict import JointChecks, spelled
from sslfast.distributed import gather_rows, strategy_of
from sslfast.losses._inputs import check_views, temperature_of, widened


def negative_mises_fisher_weights(
    z0: Tensor, z1: Tensor, sigma: float = 0.5, *, gather_distributed: bool | str = False
) -> Tensor:
    """Weights that let pairs far apart count more: ``2 - N * softmax(<z0_i, z1_i> / sigma)``, without a gradient.

    Args:
        z0: (N, D), normalised.
        z1: (N, D), normalised.
        sigma: divides the similarities. Default: 0.5.
        gather_distributed: softmax and N are those of all ranks, as in :func:`dcl_loss`; what travels are the
            similarities. Default: False.

    Returns:
        Tensor (N,), float32, or float64 if an input is.

    Raises:
        TypeError: if z0 or z1 is not a floating-point tensor, or ``sigma`` is not a number.
        ValueError: if z0 is not (N, D) with N, D >= 1, z1 differs in shape or device, ``abs(sigma)`` is below 1e-8 or
            not finite, or ``gather_distributed`` is not one that :func:`dcl_loss` takes.
    """
    return mises_fisher_weights("negative_mises_fisher_weights", z0, z1, sigma, gather_distributed)


def mises_fisher_weights(name: str, z0: Tensor, z1: Tensor, sigma: float, gather_distributed: bool | str) -> Tensor:
    """:func:`negative_mises_fisher_weights` of the function that errors name."""
    with JointChecks(name, gather_distributed, z0):
        strategy = strategy_of(name, gather_distributed)
        check_views(name, "z0", z0, "z1", z1)
        sigma = temperature_of(name, sigma, "sigma")
    sides = widened(z0.detach(), z1.detach())
    similarity = (sides[0] * sides[1]).sum(dim=1) / sigma
    if strategy == "local":
        return 2.0 - len(z0) * torch.softmax(similarity, dim=0)
    everyone = gather_rows(similarity, name, spelled(sigma=sigma))
    return 2.0 - len(everyone) * (similarity - everyone.logsumexp(dim=0)).exp()
