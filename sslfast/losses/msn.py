"""MSN: masked views take on the balanced prototypes of the whole view, and all prototypes are used."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast.distributed import sum_over_ranks, world_size
from sslfast.losses._inputs import (
    check_device,
    check_floating,
    check_kernel_dtype,
    check_rows,
    divisor,
    not_negative,
    widened,
    without_autocast,
)
from sslfast.losses._moments import product
from sslfast.losses._sinkhorn import sinkhorn_potentials


class MSNLoss(nn.Module):
    """MSN as a module; see :func:`msn_loss`.

    Args:
        temperature: divides the similarities with the prototypes. Default: 0.1.
        sinkhorn_iterations: iterations of Sinkhorn-Knopp over the targets; 0: none. Default: 3.
        regularization_weight: of the mean entropy. Default: 1.0.
        gather_distributed: the loss of the samples of all ranks, see :func:`msn_loss`. Default: False.

    Raises:
        TypeError: if ``temperature`` or ``regularization_weight`` is not a number, ``sinkhorn_iterations`` not an int
            or ``gather_distributed`` not a bool.
        ValueError: if ``temperature`` is below 1e-8 or infinite, or another number is negative or not finite.

    Example:
        >>> criterion = MSNLoss()
        >>> loss = criterion(student(masked), teacher(images), prototypes)
        >>> loss.backward()
    """

    def __init__(
        self,
        temperature: float = 0.1,
        sinkhorn_iterations: int = 3,
        regularization_weight: float = 1.0,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        name = "MSNLoss"
        self.temperature = divisor(name, "temperature", temperature)
        self.sinkhorn_iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 0)
        self.regularization_weight = not_negative(name, "regularization_weight", regularization_weight)
        self.gather_distributed = _check.boolean(name, "gather_distributed", gather_distributed)

    def forward(
        self, anchors: Tensor, targets: Tensor, prototypes: Tensor, target_sharpen_temperature: float = 0.25
    ) -> Tensor:
        return msn_loss(
            anchors,
            targets,
            prototypes,
            target_sharpen_temperature,
            temperature=self.temperature,
            sinkhorn_iterations=self.sinkhorn_iterations,
            regularization_weight=self.regularization_weight,
            gather_distributed=self.gather_distributed,
        )

    def extra_repr(self) -> str:
        sinkhorn = f"sinkhorn_iterations={self.sinkhorn_iterations}"
        weight = f"regularization_weight={self.regularization_weight}"
        return f"temperature={self.temperature}, {sinkhorn}, {weight}, gather_distributed={self.gather_distributed}"


def msn_loss(
    anchors: Tensor,
    targets: Tensor,
    prototypes: Tensor,
    target_sharpen_temperature: float = 0.25,
    *,
    temperature: float = 0.1,
    sinkhorn_iterations: int = 3,
    regularization_weight: float = 1.0,
    gather_distributed: bool = False,
) -> Tensor:
    """Cross-entropy of masked views with the sharpened, balanced prototypes of the whole view, and mean entropy.

    With unit rows a, t and w of anchors, targets and prototypes, ``p = softmax(a @ w.T / temperature)`` and ``q`` what
    Sinkhorn-Knopp makes of ``softmax(t @ w.T / (temperature * target_sharpen_temperature))``, a constant:
    the mean of ``-(q * p.log()).sum(1)`` over all anchors ``+ regularization_weight * (log K - entropy(p.mean(0)))``.

    Value and gradients are those of lightly's ``MSNLoss``, and finite where its powers of probabilities are 0 or
    overflow: everything is computed of logarithms. Accumulates in float32 (float64 inputs in float64). Twice
    differentiable.

    Args:
        anchors: embeddings of the masked views, (V N, D), view by view, floating point, any strides.
        targets: embeddings of the whole views, (N, D); get no gradient.
        prototypes: (K, D). All three on one device.
        target_sharpen_temperature: what the targets are sharpened by. Default: 0.25.
        temperature: divides the similarities. Default: 0.1.
        sinkhorn_iterations: 0 leaves the targets as they are. Default: 3.
        regularization_weight: of the mean entropy; 0: none. Default: 1.0.
        gather_distributed: with torch.distributed initialised, balance the targets over the samples of all ranks, and
            return the loss of all of them, the same on every rank, whose mean entropy is that of the mean share of all
            anchors, with gradients that are right under DistributedDataParallel's averaging; shards may differ in size.
            Only sums travel: K numbers an iteration, and twice for the shares. (lightly's balances alike, and its loss
            is the rank's own.) Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if an input is not a floating-point tensor, or ``targets`` float64 on a GPU, a temperature or
            ``regularization_weight`` is not a number, ``sinkhorn_iterations`` not an int or ``gather_distributed`` not
            a bool.
        ValueError: if ``targets`` is not (N, D) with N, D >= 1, ``anchors`` not (V N, D), ``prototypes`` not (K, D), or
            one of them is on another device; a temperature is below 1e-8 or infinite, or another number is negative.

    Reference: Assran et al., "Masked Siamese Networks for Label-Efficient Learning", ECCV 2022.
    """
    name = "msn_loss"
    for argument, rows in (("anchors", anchors), ("prototypes", prototypes)):
        check_floating(name, argument, rows)
    check_rows(name, "targets", targets)
    size, width = targets.shape
    if anchors.dim() != 2 or len(anchors) == 0 or len(anchors) % size or anchors.shape[1] != width:
        raise ValueError(f"{name}: anchors must have shape (V * {size}, {width}), got {tuple(anchors.shape)}")
    if prototypes.dim() != 2 or len(prototypes) == 0 or prototypes.shape[1] != width:
        raise ValueError(f"{name}: prototypes must have shape (K, {width}) with K >= 1, got {tuple(prototypes.shape)}")
    for argument, rows in (("anchors", anchors), ("prototypes", prototypes)):
        check_device(name, "targets", targets, argument, rows)
        check_kernel_dtype(name, rows, targets)
    sharpen = divisor(name, "target_sharpen_temperature", target_sharpen_temperature)
    temperature = divisor(name, "temperature", temperature)
    iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 0)
    weight = not_negative(name, "regularization_weight", regularization_weight)
    gather = _check.boolean(name, "gather_distributed", gather_distributed)
    with without_autocast(targets):
        wide = widened(anchors, targets, prototypes)
        a, t, w = (F.normalize(rows, dim=1) for rows in wide)
        assigned = _assigned(t.detach() @ w.detach().T / (temperature * sharpen), iterations, gather)
        log_p = F.log_softmax(product(a.T, (w / temperature).T), dim=1)
        of_views = log_p.unflatten(0, (-1, size)).sum(dim=0)  # every view of a sample has the same target
        total = -(assigned * of_views).sum()
        shares = log_p.logsumexp(dim=0) if weight > 0 else None  # logarithms: a sum of shares may underflow
        if gather and world_size() > 1:
            loss, mean = _over_ranks(total, shares, len(a))
        else:
            loss, mean = total / len(a), None if shares is None else shares - math.log(len(a))
        return loss if mean is None else loss + weight * ((mean.exp() * mean).sum() + math.log(len(w)))


def _over_ranks(total: Tensor, shares: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
    """Of the anchors of all ranks, the mean of their losses and the logarithm of the mean of their shares.

    Args:
        total: the sum of the losses of this rank's anchors.
        shares: (K,), the logarithm of the sum of their shares, or None.
        count: how many there are.
    """
    numbers = torch.stack([total, total.new_full((), count)])
    if shares is None:
        loss, anchors = sum_over_ranks(numbers)
        return loss / anchors, None
    top = shares.detach().clone()
    dist.all_reduce(top, dist.ReduceOp.MAX)
    sums = sum_over_ranks(torch.cat([numbers, (shares - top).exp()]))
    return sums[0] / sums[1], sums[2:].log() + top - sums[1].log()


@torch.no_grad()
def _assigned(scores: Tensor, iterations: int, gather: bool) -> Tensor:
    """(N, K), rows that sum to 1: the softmax of the scores, balanced."""
    if not iterations:
        return torch.softmax(scores, dim=1)
    log_q = F.log_softmax(scores, dim=1)  # Sinkhorn-Knopp begins with rows that weigh the same
    potentials = sinkhorn_potentials(log_q, 1.0, iterations, gather)
    assigned: Tensor = ops.sinkhorn_assign(log_q, potentials, 1.0, len(log_q))
    return assigned
