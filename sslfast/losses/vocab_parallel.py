"""Cross-entropy against a vocabulary whose rows lie on several ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sslfast import _check
from sslfast._autograd import multiplies_half
from sslfast.losses._class_inputs import Options, check_layer, check_num_items, options_of
from sslfast.losses._classes import mean_of
from sslfast.losses._cross import cross_softmax
from sslfast.losses._inputs import check_device, check_integers


def vocab_parallel_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    num_items: float | Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """:func:`linear_cross_entropy` with the rows of the weight shared out over the ranks of a process group.

    Every rank has the same ``input`` and ``target`` and a shard of the classes, in order of rank: those of rank 0 come
    first. A rank multiplies with its own classes alone, in tiles that are not stored where they would be large; between
    the ranks travel two numbers a row in forward (three with ``label_smoothing``), and the gradient of the rows with a
    target in backward. Forward and backward communicate: all ranks of the group have to call both. 8 N V D FLOPs for N
    targets, shared by the ranks.

    A GPU is waited for three times a call: for the number of classes of all ranks, for the rows with a target, which
    alone are multiplied, and for the range of the targets. torch.compile breaks its graph there. There is no softcap
    and there are no metrics.

    Args:
        input: (..., D), floating point, the same on every rank of the group.
        linear_weight: (V_rank, D), this rank's classes; shards may differ in size.
        target: (...) integers, the same on every rank: a class in [0, V) of all ranks, or ``ignore_index``.
        linear_bias: (V_rank,), of this rank's classes. Default: None.
        reduction: ``"mean"`` over the targets, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        ignore_index: targets that do not count. Default: -100.
        label_smoothing: share of the uniform distribution over the classes of all ranks, in [0, 1]. Default: 0.
        z_loss: factor of the square of the log-sum-exp, which is added to the loss of each row. Default: 0.
        num_items: what ``"mean"`` is divided by instead of the number of targets. Default: None.
        group: the ranks that share the vocabulary. Default: None, all; without any, one.

    Returns:
        The loss, float32 or float64, the same on every rank; as :func:`linear_cross_entropy` gives it on one. Every
        rank has the whole gradient of ``input``, and that of its own classes.

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``target``), float64 is on a GPU, or a number is
            none.
        ValueError: if a shape, a device or a number is out of what is said above, a target is no class, or a rank has
            no class. Before anything else the ranks tell each other whether they will raise, and then all do: the
            others with a ValueError that names the rank.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism",
    2019, section 3.
    """
    name = "vocab_parallel_cross_entropy"
    wrong: Exception | None = None
    try:
        check_layer(name, ("input", input), ("linear_weight", linear_weight), ("linear_bias", linear_bias))
        check_integers(name, "target", target)
        if target.shape != input.shape[:-1]:
            raise ValueError(f"{name}: target must have shape {tuple(input.shape[:-1])}, got {tuple(target.shape)}")
        check_device(name, "input", input, "target", target)
        options = options_of(name, reduction, label_smoothing, None, z_loss)
        ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
        check_num_items(name, num_items, reduction, input)
    except (TypeError, ValueError) as error:
        wrong = error
    start, classes = _place(name, input, linear_weight, wrong, group)
    goals = target.reshape(-1).long()
    picked = (goals != ignore_index).nonzero().flatten()
    goals = goals[picked]
    # Every rank has the same targets and comes to the same verdict: none waits for another.
    if len(goals):
        low, high = (int(end) for end in goals.aminmax())
        if low < 0 or high >= classes:
            worst = low if low < 0 else high
            raise ValueError(f"{name}: target must be in [0, {classes - 1}] or {ignore_index}, got {worst}")
    rows = input.flatten(0, -2)[picked]
    losses = _losses(name, rows, linear_weight, linear_bias, goals - start, classes, options, group)
    if reduction == "none":
        return losses.new_zeros((target.numel(),)).index_copy(0, picked, losses).view(target.shape)
    total = losses.sum()
    if reduction == "sum":
        return total
    return mean_of(total, max(1, len(picked)) if num_items is None else num_items)


def _losses(
    function: str,
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    goals: Tensor,
    classes: int,
    options: Options,
    group: dist.ProcessGroup | None,
) -> Tensor:
    """(N,) losses of rows, each with its target on one of the ranks: a class, counted from this rank's first."""
    dtype = torch.promote_types(rows.dtype, weight.dtype)
    if torch.is_autocast_enabled(rows.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(rows.device.type)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if not len(rows):
        nothing = sum(0.0 * z.sum(dtype=wide) for z in (rows, weight, bias) if z is not None)
        return torch.as_tensor(nothing).expand(0)
    here = (goals >= 0) & (goals < len(weight))
    # In the dtype of accumulation: what the ranks make of a row's gradient is rounded once, when it is added up.
    rows, weight = _SummedGradient.apply(rows.to(wide), group), weight.to(dtype)
    if bias is not None:
        bias = _bounded(bias)
        parts = [bias.to(dtype)]
        if multiplies_half(dtype, rows):
            # Three numbers of a half type have all the digits of a float32.
            for _ in range(2):
                rest = bias.detach().float() - sum(part.detach().float() for part in parts)
                parts.append(torch.where(parts[0].isfinite(), rest.to(dtype), 0.0))  # a class left out stays -inf
        rows = torch.cat([rows, rows.new_ones((len(rows), len(parts)))], dim=1)
        weight = torch.cat([weight, torch.stack(parts, dim=1)], dim=1)
    picks = torch.where(here, goals, -1)
    rest, _, own = cross_softmax(function, rows, weight, 1.0, picks, two_way=False, normalize=False, dtype=dtype)
    rest, own = _OverRanks.apply(rest, torch.where(here, own, 0.0), group)
    losses = F.softplus(rest - own, threshold=50.0)
    if options.label_smoothing:
        # The logits of a row add up to its product with the sum of the classes.
        total = (rows * weight.sum(0, dtype=wide)).sum(1)
        mean = _Summed.apply(total, group) / classes
        smoothing = options.label_smoothing
        losses = (1.0 - smoothing) * losses + smoothing * (torch.logaddexp(rest, own) - mean)
    return losses + options.z_loss * torch.logaddexp(rest, own).square() if options.z_loss else losses


def _bounded(bias: Tensor) -> Tensor:
    """``bias`` without finite numbers so large that a logit with them would not be finite."""
    limit = torch.finfo(bias.dtype).max / 4
    return torch.where(bias.isinf(), bias, bias.clamp(-limit, limit))


def _place(
    function: str, input: Tensor, weight: Tensor, wrong: Exception | None, group: dist.ProcessGroup | None
) -> tuple[int, int]:
    """Number of this rank's first class, and how many there are on all ranks.

    Raises:
        TypeError, ValueError: ``wrong``, what is wrong with the arguments here.
        ValueError: if a rank has no class, or something is wrong on another one.
    """
    if not _distributed():
        if wrong is not None:
            raise wrong
        return 0, len(weight)
    rank = dist.get_rank(group)
    empty = isinstance(weight, Tensor) and weight.dim() == 2 and not len(weight)
    counts = torch.zeros(dist.get_world_size(group), dtype=torch.int64, device=_meeting_place(input, weight))
    counts[rank] = 0 if empty else len(weight) if wrong is None else -1
    dist.all_reduce(counts, group=group)
    every = counts.tolist()
    if 0 in every:
        at = every.index(0)
        raise ValueError(f"{function}: linear_weight must have a class on every rank, got none on rank {at}")
    if wrong is not None:
        raise wrong
    if -1 in every:
        at = every.index(-1)
        raise ValueError(f"{function}: arguments must be right on every rank, got an error on rank {at}")
    return sum(every[:rank]), sum(every)


def _meeting_place(*given: object) -> torch.device:
    """Where the ranks' tensors are, also of a rank that was called with something else."""
    return next((each.device for each in given if isinstance(each, Tensor)), torch.device("cpu"))


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


class _SummedGradient(torch.autograd.Function):
    """What every rank has the same of, and makes a part of the gradient of."""

    @staticmethod
    def forward(ctx, x, group):  # type: ignore[no-untyped-def]
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        total = grad.clone()
        if _distributed():
            dist.all_reduce(total, group=ctx.group)
        return total, None


class _Summed(torch.autograd.Function):
    """The sum over the ranks of parts; every rank has the same gradient of it."""

    @staticmethod
    def forward(ctx, x, group):  # type: ignore[no-untyped-def]
        total = x.clone()
        if _distributed():
            dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad, None


class _OverRanks(torch.autograd.Function):
    """The log-sum-exp over the ranks, and the logits of targets, of which one rank has each and the others have 0."""

    @staticmethod
    def forward(ctx, lse, own, group):  # type: ignore[no-untyped-def]
        if not _distributed():
            ctx.save_for_backward(torch.ones_like(lse))
            return lse.clone(), own.clone()
        shift = lse.clone()
        dist.all_reduce(shift, dist.ReduceOp.MAX, group=group)
        safe = torch.where(shift.isfinite(), shift, 0.0)
        both = torch.stack([(lse - safe).exp(), own])
        dist.all_reduce(both, group=group)
        total = safe + both[0].log()
        # Nothing but the target on all ranks: no gradient.
        ctx.save_for_backward(torch.where(total == -torch.inf, 0.0, (lse - total).exp()))
        return total, both[1]

    @staticmethod
    def backward(ctx, grad_lse, grad_own):  # type: ignore[no-untyped-def]
        (share,) = ctx.saved_tensors
        return grad_lse * share, grad_own, None
