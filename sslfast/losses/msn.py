"""MSN: masked views take on the balanced prototypes of the whole view, and all prototypes are used."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._autograd import distinct, is_last_plain, traced_once, unit_rows, unit_rows_backward
from sslfast._verdict import JointChecks
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
from sslfast.losses._sinkhorn import agree_on_prototypes, sharing, sinkhorn_potentials


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
    overflow. The similarities are read for losses and sums of shares, once on the CPU and twice on a GPU, and then for
    the gradient, which takes their place in the forward pass where one is asked for: no share is written. Accumulates
    in float32 (float64 inputs in float64); gradients of half types are rounded once. Twice differentiable.

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
            Only sums travel: K numbers an iteration, and K for the shares. (lightly's balances alike, and its loss
            is the rank's own.) Default: False.

    Returns:
        Scalar loss, float32, or float64 if an input is.

    Raises:
        TypeError: if an input is not a floating-point tensor, or ``targets`` float64 on a GPU, a temperature or
            ``regularization_weight`` is not a number, ``sinkhorn_iterations`` not an int or ``gather_distributed`` not
            a bool.
        ValueError: if ``targets`` is not (N, D) with N, D >= 1, ``anchors`` not (V N, D), ``prototypes`` not (K, D), or
            one of them is on another device; a temperature is below 1e-8 or infinite, or another number is negative;
            over several ranks on all of them, if one raises, or they differ in K, in an option, or in whether an input
            is float64.

    Reference: Assran et al., "Masked Siamese Networks for Label-Efficient Learning", ECCV 2022.
    """
    name = "msn_loss"
    strategy = sharing(gather_distributed)
    with JointChecks(name, gather_distributed, targets):
        for argument, rows in (("anchors", anchors), ("prototypes", prototypes)):
            check_floating(name, argument, rows)
        check_rows(name, "targets", targets)
        size, width = targets.shape
        if anchors.dim() != 2 or len(anchors) == 0 or len(anchors) % size or anchors.shape[1] != width:
            raise ValueError(f"{name}: anchors must have shape (V * {size}, {width}), got {tuple(anchors.shape)}")
        if prototypes.dim() != 2 or len(prototypes) == 0 or prototypes.shape[1] != width:
            raise ValueError(
                f"{name}: prototypes must have shape (K, {width}) with K >= 1, got {tuple(prototypes.shape)}"
            )
        for argument, rows in (("anchors", anchors), ("prototypes", prototypes)):
            check_device(name, "targets", targets, argument, rows)
            check_kernel_dtype(name, rows, targets)
        sharpen = divisor(name, "target_sharpen_temperature", target_sharpen_temperature)
        temperature = divisor(name, "temperature", temperature)
        iterations = _check.integer(name, "sinkhorn_iterations", sinkhorn_iterations, 0)
        weight = not_negative(name, "regularization_weight", regularization_weight, anchors, targets, prototypes)
        _check.boolean(name, "gather_distributed", gather_distributed)
    dtype = torch.float64 if torch.float64 in (anchors.dtype, targets.dtype, prototypes.dtype) else torch.float32
    same = {
        "temperature": temperature,
        "target_sharpen_temperature": sharpen,
        "sinkhorn_iterations": iterations,
        "regularization_weight": weight,
    }
    agree_on_prototypes(name, strategy, len(prototypes), [dtype], same, targets.device)
    settings = _Settings(temperature, sharpen, iterations, weight, strategy != "local", torch.is_grad_enabled())
    loss: Tensor = _MSN.apply(settings, targets.detach(), *distinct(anchors, prototypes))
    return loss


class _Settings(NamedTuple):
    temperature: float
    sharpen: float
    iterations: int
    weight: float  # of the mean entropy
    gather: bool  # over several ranks
    grad_enabled: bool


class _MSN(torch.autograd.Function):
    """The gradient of the logits takes their place in forward, once all shares are summed; backward has two products.

    Where a second derivative may follow, the loss is made again, in torch.
    """

    @staticmethod
    def forward(ctx, settings, targets, anchors, prototypes):  # type: ignore[no-untyped-def]
        a_rows, t_rows, w_rows = widened(anchors, targets, prototypes)
        scale, weight, count = 1 / settings.temperature, settings.weight, len(anchors)
        a, a_inverse = unit_rows(a_rows)
        w, w_inverse = unit_rows(w_rows)
        with without_autocast(anchors):
            assigned = _assigned(unit_rows(t_rows)[0] @ w.T, settings)
            logits = a @ w.T
        losses, stats, shares = ops.msn_rows(logits, assigned, scale, weight > 0)
        total, number = losses.sum(), None
        if settings.gather:
            sums = torch.cat([total.reshape(1), total.new_full((1,), count), shares])
            dist.all_reduce(sums)
            total, number, shares = sums[0], sums[1], sums[2:]
        loss, levels = total / (count if number is None else number), None
        if weight > 0:
            mean = shares / (count if number is None else number)
            # A share that has underflowed is one of no anchor: its logarithm is not asked for.
            log_mean = torch.where(mean == 0, 0.0, mean.log())
            levels = weight * log_mean
            loss = loss + (torch.dot(mean, levels) + weight * math.log(len(w)))
        if settings.grad_enabled and any(ctx.needs_input_grad[2:]):
            ops.msn_gradient_(logits, assigned, stats, levels, scale, scale if number is not None else scale / count)
            ctx.save_for_backward(logits, a, a_inverse, w, w_inverse, assigned, number, anchors, prototypes)
            ctx.settings = settings
        return loss

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        of_logits, a, a_inverse, w, w_inverse, assigned, number, *leaves = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            with without_autocast(grad):
                return None, None, *_again(leaves, needs, assigned, ctx.settings, grad)
        factor = grad if number is None else grad * (world_size() / number)
        found = []
        for needed, leaf, unit, inverse, g, other in zip(
            needs, leaves, (a, w), (a_inverse, w_inverse), (of_logits, of_logits.T), (w, a), strict=True
        ):
            if needed:
                with without_autocast(grad):
                    own = unit_rows_backward(g @ other, unit, inverse)
                if not is_last_plain(factor):
                    own = own * factor
            found.append(own.to(leaf.dtype) if needed else None)
        return None, None, *found


def _again(
    leaves: list[Tensor], needs: tuple[bool, ...], assigned: Tensor, settings: _Settings, grad: Tensor
) -> list[Tensor | None]:
    """The gradients of anchors and prototypes, which can be differentiated; the assignments are constants."""
    wanted = [z for z, needed in zip(leaves, needs, strict=True) if needed]
    a, w = (F.normalize(z.to(assigned.dtype), dim=1) for z in leaves)
    loss = _in_torch(a, w, assigned, settings)
    found = iter(torch.autograd.grad(loss, wanted, grad, create_graph=True))
    return [next(found) if needed else None for needed in needs]


def _in_torch(a: Tensor, w: Tensor, assigned: Tensor, settings: _Settings) -> Tensor:
    """The loss of unit rows, through logarithms of shares: its derivatives of any order are finite."""
    log_p = F.log_softmax(a @ (w / settings.temperature).T, dim=1)
    of_views = log_p.unflatten(0, (-1, len(assigned))).sum(dim=0)  # every view of a sample has the same target
    total = -(assigned * of_views).sum()
    shares = log_p.logsumexp(dim=0) if settings.weight > 0 else None  # logarithms: a sum of shares may underflow
    if settings.gather:
        loss, mean = _over_ranks(total, shares, len(a))
    else:
        loss, mean = total / len(a), None if shares is None else shares - math.log(len(a))
    return loss if mean is None else loss + settings.weight * ((mean.exp() * mean).sum() + math.log(len(w)))


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


def _assigned(products: Tensor, settings: _Settings) -> Tensor:
    """(N, K), rows that sum to 1: the softmax of the targets' products with the prototypes, balanced."""
    scores = products / (settings.temperature * settings.sharpen)
    if not settings.iterations:
        return torch.softmax(scores, dim=1)
    log_q = F.log_softmax(scores, dim=1)  # Sinkhorn-Knopp begins with rows that weigh the same
    potentials = sinkhorn_potentials(log_q, 1.0, settings.iterations, settings.gather)
    assigned: Tensor = ops.sinkhorn_assign(log_q, potentials, 1.0, len(log_q))
    return assigned
