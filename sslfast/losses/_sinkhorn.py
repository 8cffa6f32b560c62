"""The potentials of prototypes, which is all that Sinkhorn-Knopp's iterations change, and who shares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check, ops
from sslfast._verdict import hear_all, spelled
from sslfast.distributed import world_size


def sharing(*wanted: bool) -> str:
    """The strategy of a loss over prototypes: ``"local"``, or, if sums over several ranks are wanted, ``"all_gather"``.

    Args:
        wanted: arguments that ask for such sums, not checked yet; what is no bool asks for none.
    """
    asked = any(_check.is_boolean(each) and each for each in wanted)
    return "all_gather" if asked and world_size() > 1 else "local"


def first_view(views: object) -> object:
    """The first of several views, whose rows are what ranks speak of; what is no sequence of views is itself."""
    return views[0] if isinstance(views, (list, tuple)) and views else views


def agree_on_prototypes(
    function: str,
    strategy: str,
    width: int,
    dtypes: Sequence[torch.dtype],
    options: Mapping[str, object],
    device: torch.device,
) -> None:
    """What ranks that share sums over prototypes begin with; a GPU is waited for once.

    In a graph of torch.compile, which what the ranks hear would break, nothing is asked.

    Args:
        function: the name that errors begin with.
        strategy: of :func:`sharing`; with ``"local"`` nothing is asked.
        width: the number of prototypes.
        dtypes: of what this rank's sums are made of, one after the other; float64 or another.
        options: whatever else has to be the same, under the name in errors.
        device: what the inputs are on.

    Raises:
        ValueError: on every rank, if they differ in one of these, in a dtype only where it is float64 on some, or if
            :class:`~sslfast._verdict.JointChecks` has found something wrong on one.
    """
    if strategy == "local" or torch.compiler.is_compiling():
        return
    sums = ["float64" if dtype == torch.float64 else "float32" for dtype in dtypes]
    same = {"the number of prototypes": width, **options, "the dtypes of sums": sums}
    hear_all(function, [], device, spelled(**same))


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
