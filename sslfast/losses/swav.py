"""SwAV: swapped prediction of cluster assignments, and the Sinkhorn-Knopp iteration that makes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._verdict import JointChecks
from sslfast.distributed import sum_over_ranks
from sslfast.losses._inputs import (
    check_floating,
    check_kernel_dtype,
    check_like,
    divisor,
)
from sslfast.losses._sinkhorn import agree_on_prototypes, first_view, sharing, sinkhorn_potentials
from sslfast.losses._soft_targets import common_dtype, prototype_rows
from sslfast.losses._swapped import swapped_prediction


class SwAVLoss(nn.Module):
    """SwAV as a module; see :func:`swav_loss`.

    Args:
        temperature: divides the scores of the predictions. Default: 0.1.
        sinkhorn_iterations: iterations of Sinkhorn-Knopp. Default: 3.
        sinkhorn_epsilon: divides the scores of the assignments. Default: 0.05.
        sinkhorn_gather_distributed: assign over the samples of all ranks. Default: False.

    Raises:
        TypeError: if ``temperature`` or ``sinkhorn_epsilon`` is not a number, or ``sinkhorn_iterations`` not an int.
        ValueError: if ``temperature`` or ``sinkhorn_epsilon`` is below 1e-8 or infinite, or ``sinkhorn_iterations``
            is below 1.

    Example:
        >>> criterion = SwAVLoss()
        >>> loss = criterion([scores0, scores1], [scores2, scores3])  # of 2 large and 2 small crops
        >>> loss.backward()
    """

    def __init__(
        self,
        temperature: float = 0.1,
        sinkhorn_iterations: int = 3,
        sinkhorn_epsilon: float = 0.05,
        sinkhorn_gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        name = "SwAVLoss"
        self.temperature = divisor(name, "temperature", temperature)
        self.sinkhorn_iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 1)
        self.sinkhorn_epsilon = divisor(name, "sinkhorn_epsilon", sinkhorn_epsilon)
        self.sinkhorn_gather_distributed = _check.boolean(
            name, "sinkhorn_gather_distributed", sinkhorn_gather_distributed
        )

    def forward(
        self,
        high_resolution_outputs: Sequence[Tensor],
        low_resolution_outputs: Sequence[Tensor],
        queue_outputs: Sequence[Tensor] | None = None,
    ) -> Tensor:
        return swav_loss(
            high_resolution_outputs,
            low_resolution_outputs,
            queue_outputs,
            temperature=self.temperature,
            sinkhorn_iterations=self.sinkhorn_iterations,
            sinkhorn_epsilon=self.sinkhorn_epsilon,
            sinkhorn_gather_distributed=self.sinkhorn_gather_distributed,
        )

    def extra_repr(self) -> str:
        sinkhorn = f"sinkhorn_iterations={self.sinkhorn_iterations}, sinkhorn_epsilon={self.sinkhorn_epsilon}"
        gather = f"sinkhorn_gather_distributed={self.sinkhorn_gather_distributed}"
        return f"temperature={self.temperature}, {sinkhorn}, {gather}"


def swav_loss(
    high_resolution_outputs: Sequence[Tensor],
    low_resolution_outputs: Sequence[Tensor],
    queue_outputs: Sequence[Tensor] | None = None,
    *,
    temperature: float = 0.1,
    sinkhorn_iterations: int = 3,
    sinkhorn_epsilon: float = 0.05,
    sinkhorn_gather_distributed: bool = False,
) -> Tensor:
    """Every crop has to predict the assignments to prototypes that the large crops of the same images have.

    With ``q_i = sinkhorn_knopp(torch.cat([high[i], queue[i]]))[:N]``, a constant, and ``z`` over the scores of all
    crops: the mean over i of the mean over the crops v != i of ``F.cross_entropy(z_v / temperature, q_i)``.

    Value and gradients are those of lightly's ``SwaVLoss``, as a scalar where that one has shape (1,). Cross entropy
    is linear in its target, so a crop meets the sum of its targets in one cross entropy instead of each by itself; one
    operator makes the targets, the losses and the gradients, and keeps the gradients alone. Accumulates in float32
    (float64 inputs in float64). Twice differentiable.

    Args:
        high_resolution_outputs: scores of the large crops, each (N, K): similarities of the samples with the
            prototypes, floating point, any strides, on one device.
        low_resolution_outputs: scores of the small crops, each (N, K); may be empty.
        queue_outputs: scores of earlier samples, one tensor (Q, K) per large crop, which take part in its assignments
            and not in the loss. Default: None.
        temperature: divides the scores of the predictions. Default: 0.1.
        sinkhorn_iterations: iterations of Sinkhorn-Knopp. Default: 3.
        sinkhorn_epsilon: divides the scores of the assignments. Default: 0.05.
        sinkhorn_gather_distributed: with torch.distributed initialised, assign over the samples of all ranks, and
            return the mean loss of all of them, the same on every rank, with gradients that are right under
            DistributedDataParallel's averaging; shards may differ in size. Only sums travel: K numbers an iteration.
            (lightly returns the rank's own mean, whose mean over equal shards this is.) Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if one of the three is not a sequence of floating-point tensors, or float64 on a GPU, ``temperature``
            or ``sinkhorn_epsilon`` is not a number, or ``sinkhorn_iterations`` not an int.
        ValueError: if there is no large crop or fewer than two crops, the first is not (N, K) with N, K >= 1, another
            crop differs in shape or device, the queue has not one tensor (Q, K) on that device per large crop,
            ``temperature`` or ``sinkhorn_epsilon`` is below 1e-8 or infinite, or ``sinkhorn_iterations`` is below 1;
            over several ranks on all of them, if one raises, or they differ in K, in the number of crops, in an option,
            or in whether the crops or a queue are float64.

    Reference: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS
    2020.
    """
    name = "swav_loss"
    strategy = sharing(sinkhorn_gather_distributed)
    with JointChecks(name, sinkhorn_gather_distributed, first_view(high_resolution_outputs)):
        _check_crops(name, high_resolution_outputs, low_resolution_outputs)
        first = high_resolution_outputs[0]
        if queue_outputs is not None:
            _check_queue(name, queue_outputs, len(high_resolution_outputs), first)
        check_kernel_dtype(name, *high_resolution_outputs, *low_resolution_outputs, *(queue_outputs or ()))
        temperature = divisor(name, "temperature", temperature)
        iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 1)
        epsilon = divisor(name, "sinkhorn_epsilon", sinkhorn_epsilon, *high_resolution_outputs)
        gather = _check.boolean(name, "sinkhorn_gather_distributed", sinkhorn_gather_distributed)
    outputs = [*high_resolution_outputs, *low_resolution_outputs]
    dtype = common_dtype(outputs)
    balanced = queue_outputs or high_resolution_outputs
    dtypes = [dtype, *(torch.promote_types(dtype, each.dtype) for each in balanced)]
    same = {
        "sinkhorn_iterations": iterations,
        "sinkhorn_epsilon": epsilon,
        "temperature": temperature,
        "len(high_resolution_outputs)": len(high_resolution_outputs),
        "len(low_resolution_outputs)": len(low_resolution_outputs),
        "whether there are queue_outputs": queue_outputs is not None,
    }
    agree_on_prototypes(name, strategy, first.shape[1], dtypes, same, first.device)
    crops = [crop.to(dtype) for crop in outputs]
    potentials = []
    for i, crop in enumerate(crops[: len(high_resolution_outputs)]):
        scores = crop.detach()
        if queue_outputs is not None:
            with_queue = torch.promote_types(dtype, queue_outputs[i].dtype)
            scores = torch.cat([scores.to(with_queue), queue_outputs[i].detach().to(with_queue)])
        potentials.append(sinkhorn_potentials(prototype_rows(scores), epsilon, iterations, gather))
    factor = 1.0 / (len(potentials) * (len(crops) - 1))
    if strategy == "local":
        return swapped_prediction(crops, potentials, temperature, epsilon, factor / len(first))
    losses = swapped_prediction(crops, potentials, temperature, epsilon, factor)
    total, count = sum_over_ranks(torch.stack([losses, losses.new_tensor(len(first))]))
    return total / count


@torch.no_grad()
def sinkhorn_knopp(
    scores: Tensor, iterations: int = 3, epsilon: float = 0.05, gather_distributed: bool = False
) -> Tensor:
    """Soft assignments of samples to prototypes that give every prototype about the same mass.

    ``Q = torch.exp((scores - scores.max()) / epsilon)``, then ``iterations`` times: ``Q /= Q.sum(0)``;
    ``Q /= Q.sum(1, keepdim=True)``

    equal to lightly's ``sinkhorn`` and, with ``Q.sum(0)`` as it is, DINOv2's ``sinkhorn_knopp_teacher``; finite where
    these overflow or lose a sample or a prototype: the maximum of each column comes out of the exponential, then that
    of each row. An iteration is one read of the scores, and changes K potentials, one a prototype: Q is written once,
    at the end. Computes in float32 (float64 input in float64).

    Float32 potentials are as exact as the range of the scores over epsilon is large. An assignment of cosines is off by
    5e-7, one of scores of 1e4, with epsilon 0.05, by 8e-3, and the loss and gradient of :func:`swav_loss` with them by
    1e-3 and 6e-3: give such scores in float64.

    Args:
        scores: similarities of samples with prototypes, shape (N, K), floating point, any strides.
        iterations: how often prototypes and samples are normalised, at least 1. Default: 3.
        epsilon: temperature of the assignments, at least 1e-8. Default: 0.05.
        gather_distributed: with torch.distributed initialised, balance the prototypes over the samples of all ranks.
            Only sums travel: K numbers an iteration. Default: False.

    Returns:
        Q, (N, K), float32, or float64 for float64 scores: rows sum to 1. Without a gradient. A prototype that no
        sample can reach within the range of the dtype gets nothing. A sample without one finite score, or with a NaN,
        has no assignment, and through the balance neither have the others: all is NaN.

    Raises:
        TypeError: if ``scores`` is not a floating-point tensor, ``iterations`` not an int, ``epsilon`` not a number
            or ``gather_distributed`` not a bool.
        ValueError: if ``scores`` is not (N, K) with N, K >= 1, ``iterations`` is below 1, or ``epsilon`` is below
            1e-8 or infinite; over several ranks on all of them, as :func:`swav_loss`.

    Reference: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS
    2020; Cuturi, "Sinkhorn Distances", NeurIPS 2013.
    """
    name = "sinkhorn_knopp"
    strategy = sharing(gather_distributed)
    with JointChecks(name, gather_distributed, scores):
        check_floating(name, "scores", scores)
        if scores.dim() != 2 or 0 in scores.shape:
            raise ValueError(f"{name}: scores must have shape (N, K) with N, K >= 1, got {tuple(scores.shape)}")
        iterations = _check.integer(name, "iterations", iterations, 1)
        epsilon = divisor(name, "epsilon", epsilon, scores)
        gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)
        check_kernel_dtype(name, scores)
    same = {"iterations": iterations, "epsilon": epsilon}
    agree_on_prototypes(name, strategy, scores.shape[1], [scores.dtype], same, scores.device)
    return _assignments(scores.detach(), len(scores), iterations, epsilon, gather_distributed)


def _assignments(scores: Tensor, count: int, iterations: int, epsilon: float, gather_distributed: bool) -> Tensor:
    """The assignments of the first ``count`` samples."""
    rows = prototype_rows(scores)
    potentials = sinkhorn_potentials(rows, epsilon, iterations, gather_distributed)
    assigned: Tensor = ops.sinkhorn_assign(rows, potentials, 1 / epsilon, count)
    return assigned


def _check_crops(function: str, high: Sequence[Tensor], low: Sequence[Tensor]) -> None:
    _check_sequence(function, "high_resolution_outputs", high)
    _check_sequence(function, "low_resolution_outputs", low)
    if not high:
        raise ValueError(f"{function}: high_resolution_outputs must hold at least 1 tensor, got 0")
    if len(high) + len(low) < 2:
        raise ValueError(f"{function}: there must be at least 2 crops, got 1")
    first = "high_resolution_outputs[0]"
    for argument, outputs in (("high_resolution_outputs", high), ("low_resolution_outputs", low)):
        for i, output in enumerate(outputs):
            check_floating(function, f"{argument}[{i}]", output)
    if high[0].dim() != 2 or 0 in high[0].shape:
        raise ValueError(f"{function}: {first} must have shape (N, K) with N, K >= 1, got {tuple(high[0].shape)}")
    for argument, outputs in (("high_resolution_outputs", high), ("low_resolution_outputs", low)):
        for i, output in enumerate(outputs):
            check_like(function, first, high[0], f"{argument}[{i}]", output)


def _check_queue(function: str, queue: Sequence[Tensor], high: int, first: Tensor) -> None:
    _check_sequence(function, "queue_outputs", queue)
    if len(queue) != high:
        expected = f"one tensor per high-resolution crop, {high}"
        raise ValueError(f"{function}: queue_outputs must hold {expected}, got {len(queue)}")
    for i, output in enumerate(queue):
        name = f"queue_outputs[{i}]"
        check_floating(function, name, output)
        if output.dim() != 2 or output.shape[1] != first.shape[1]:
            got = f"got {tuple(output.shape)}"
            raise ValueError(f"{function}: {name} must have shape (Q, {first.shape[1]}), {got}")
        if output.device != first.device:
            raise ValueError(f"{function}: {name} must be on {first.device}, like the crops, got {output.device}")


def _check_sequence(function: str, name: str, outputs: Sequence[Tensor]) -> None:
    if not isinstance(outputs, (list, tuple)):
        raise TypeError(f"{function}: {name} must be a list or tuple of tensors, got {type(outputs).__name__}")
