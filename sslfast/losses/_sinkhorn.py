"""The potentials of prototypes, which is all that Sinkhorn-Knopp's iterations change."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import ops
from sslfast.distributed import world_size


@torch.no_grad()
def sinkhorn_potentials(
    scores: Tensor, temperature: float, iterations: int, gather: bool, weights: Tensor | None = None
) -> Tensor:
    """What each prototype's scores are raised by, so that after the samples' softmax all have the same mass.

    An iteration of Sinkhorn-Knopp divides by the masses of the prototypes, then by those of the samples. The second is
    a softmax, which the next read of the scores makes by itself: an iteration is one read, and no matrix is written.

    Args:
        scores: (N, K), rows contiguous; N = 0 on some ranks of several.
        temperature: divides the scores.
        iterations: at least 1.
        gather: over the samples of all ranks.
        weights: (N,) of the dtype of the result; samples of weight 0 do not count. Default: None, all do.

    Returns:
        (K,), float32, or float64 for float64 scores; the largest is 0.
    """
    scale = 1 / temperature
    if not gather or world_size() == 1:
        found: Tensor = ops.sinkhorn_potentials(scores, weights, scale, iterations)
        return found
    tops, masses = ops.sinkhorn_peaks(scores, weights, scale)
    shift = tops.clone()
    dist.all_reduce(shift, dist.ReduceOp.MAX)
    highest = shift.amax()
    shift = torch.where(shift == -torch.inf, highest, shift)
    masses = masses * ((tops - shift) * scale).exp()
    dist.all_reduce(masses)
    potentials = (highest - shift) * scale - _log(masses)
    for _ in range(iterations - 1):
        potentials = potentials - potentials.amax()
        masses = ops.sinkhorn_masses(scores, potentials, weights, scale)
        dist.all_reduce(masses)
        potentials = potentials - _log(masses)
    return potentials - potentials.amax()


def _log(masses: Tensor) -> Tensor:
    """A prototype that no sample reaches within the range of the dtype stays as it is."""
    return torch.where(masses == 0, 0.0, masses.log())
