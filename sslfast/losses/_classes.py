"""Cross-entropy against the classes of a linear layer, differentiated in forward; what its losses check and return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._autograd import distinct, first_order_only, product_side
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_floating, check_kernel_dtype, not_negative, positive


class ClassificationOutput(NamedTuple):
    """A loss over classes and what falls out of it, which is detached; on the device, nothing is waited for.

    Attributes:
        loss: as it is without the metrics.
        accuracy: scalar, the share of targets whose logit is the largest, alone; 0 where there are no targets.
        perplexity: scalar, exp of the mean negative log-likelihood, without smoothing, weights and z-loss.
        z_loss: scalar, the part of a mean or a sum that ``z_loss`` has added; 0 for ``reduction="none"``.
        num_targets: scalar int64, the number of targets.
    """

    loss: Tensor
    accuracy: Tensor
    perplexity: Tensor
    z_loss: Tensor
    num_targets: Tensor


@dataclass(frozen=True)
class Options:
    """What a loss over classes has beside its tensors, checked."""

    reduction: str = "mean"
    label_smoothing: float = 0.0
    softcap: float = 0.0
    z_loss: float = 0.0


class ClassLoss(nn.Module):
    """A loss over classes as a module: it holds what is the same in every call."""

    def __init__(
        self,
        reduction: str,
        ignore_index: int | None,
        label_smoothing: float,
        softcap: float | None,
        z_loss: float,
        return_metrics: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        options_of(name, reduction, label_smoothing, softcap, z_loss)
        if ignore_index is not None:
            ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.softcap = softcap
        self.z_loss = z_loss
        self.return_metrics = _check.boolean(name, "return_metrics", return_metrics)

    def held(self) -> dict[str, Any]:
        """The arguments of a call that the module has."""
        names = ("reduction", "ignore_index", "label_smoothing", "softcap", "z_loss", "return_metrics")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}, ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"


def options_of(function: str, reduction: str, label_smoothing: float, softcap: float | None, z_loss: float) -> Options:
    """Raises TypeError or ValueError where one of them is none."""
    check_reduction(function, reduction)
    return Options(
        reduction,
        _check.probability(function, "label_smoothing", label_smoothing),
        0.0 if softcap is None else positive(function, "softcap", softcap),
        not_negative(function, "z_loss", z_loss),
    )


def check_layer(function: str, rows: tuple[str, Tensor], weight: tuple[str, Tensor], bias: tuple[str, object]) -> None:
    """Rows (..., D) and the weight (V, D) and bias (V,) of a layer, with their names.

    Raises:
        TypeError: if one is not a floating-point tensor, or float64 on a GPU.
        ValueError: if shapes or devices do not go together.
    """
    check_floating(function, *rows)
    check_floating(function, *weight)
    (rows_name, x), (weight_name, w) = rows, weight
    if x.dim() < 2 or x.shape[-1] < 1:
        raise ValueError(f"{function}: {rows_name} must have shape (..., D) with D >= 1, got {tuple(x.shape)}")
    if w.dim() != 2 or w.shape[0] < 1 or w.shape[1] != x.shape[-1]:
        expected = f"(V, {x.shape[-1]}), a row a class"
        raise ValueError(f"{function}: {weight_name} must have shape {expected}, got {tuple(w.shape)}")
    check_device(function, rows_name, x, weight_name, w)
    check_kernel_dtype(function, x, w)
    check_class_vector(function, *bias, w)


def check_class_vector(function: str, name: str, vector: object, weight: Tensor) -> None:
    """A number for each class, or None.

    Raises:
        TypeError: if it is not a floating-point tensor.
        ValueError: if it has another shape or device.
    """
    if vector is None:
        return
    check_floating(function, name, vector)  # type: ignore[arg-type]
    assert isinstance(vector, Tensor)
    if vector.shape != weight.shape[:1]:
        raise ValueError(f"{function}: {name} must have shape ({len(weight)},), got {tuple(vector.shape)}")
    check_device(function, "the classes", weight, name, vector)


def check_targets(function: str, name: str, targets: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """``targets`` as the kernels read them: int64, contiguous, -1 where there is none, ``classes`` if it is no class.

    Raises:
        ValueError: if one is neither ``ignore_index`` nor a class, on the CPU; a GPU is not waited for.
    """
    flat = targets.reshape(-1).long()
    ignored = torch.zeros_like(flat, dtype=torch.bool) if ignore_index is None else flat == ignore_index
    if flat.is_cpu and len(flat) and not torch.compiler.is_compiling():
        low, high = (int(end) for end in flat.masked_fill(ignored, 0).aminmax())
        if low < 0 or high >= classes:
            worst = low if low < 0 else high
            either = "" if ignore_index is None else f" or {ignore_index}"
            raise ValueError(f"{function}: {name} must be in [0, {classes - 1}]{either}, got {worst}")
        return flat.masked_fill(ignored, -1)
    return flat.masked_fill(flat < 0, classes).masked_fill(ignored, -1)


def check_num_items(function: str, num_items: float | Tensor | None, reduction: str, like: Tensor) -> None:
    """A number above 0, or a tensor of one on the device of ``like``, which is not read.

    Raises:
        TypeError: if it is neither.
        ValueError: if the number is 0 or less, the tensor has more than one or is elsewhere, or the reduction is none
            that divides.
    """
    if num_items is None:
        return
    if reduction != "mean":
        raise ValueError(f"{function}: num_items goes with reduction='mean', got {reduction!r}")
    if not isinstance(num_items, Tensor):
        positive(function, "num_items", num_items)
        return
    if num_items.is_complex() or num_items.dtype == torch.bool:
        raise TypeError(f"{function}: num_items must be a number, got {num_items.dtype}")
    if num_items.numel() != 1:
        raise ValueError(f"{function}: num_items must have one element, got shape {tuple(num_items.shape)}")
    check_device(function, "the rows", like, "num_items", num_items)


def mean_of(total: Tensor, items: Tensor | float) -> Tensor:
    """``total / items``, 0 where a tensor of items is 0, in the dtype of ``total``."""
    if not isinstance(items, Tensor):
        return total / items
    items = items.detach().reshape(()).to(total.dtype)
    return total * torch.where(items == 0, 0.0, items.reciprocal())


def class_loss(
    function: str,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    index: Tensor | None,
    class_weights: Tensor | None,
    options: Options,
    num_items: Tensor | float | None,
    metrics: bool,
) -> Tensor | ClassificationOutput:
    """The loss of rows of ``hidden`` (T, D) that have a target, alone or with what falls out of it.

    Args:
        function: the name that errors begin with.
        targets: (R,) int64, -1 for none.
        index: (R,) int64, the row of ``hidden`` that belongs to a target, -1 for none. None: its own number.
        num_items: what a mean is divided by. None: the sum of the weights of the targets.
        metrics: whether the results beside the loss are wanted.
    """
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if torch.is_autocast_enabled(hidden.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden.device.type)
    has = targets >= 0 if index is None else (targets >= 0) & (index >= 0)
    own = None
    if class_weights is not None:
        class_weights = class_weights.detach().to(wide).contiguous()
        own = has * class_weights[targets.clamp(0, len(class_weights) - 1)]
    hidden, weight, bias = distinct(hidden, weight, bias)
    losses = _RowLosses if options.reduction == "none" else _TotalLoss
    loss, nll, lse, correct = losses.apply(
        function,
        hidden,
        weight,
        bias,
        targets,
        index,
        own,
        None,
        class_weights,
        options,
        dtype,
        torch.is_grad_enabled(),
    )
    items: Tensor | float | None = None
    if options.reduction == "mean":
        items = num_items if num_items is not None else has.sum() if own is None else own.sum()
        loss = mean_of(loss, items)
    if not metrics:
        return loss
    with torch.no_grad():
        targets_seen = has.sum()
        some = targets_seen.clamp_min(1)
        z_loss = lse.new_zeros(()) if options.reduction == "none" else options.z_loss * lse.square().sum()
        z_loss = z_loss if items is None else mean_of(z_loss, items)
        return ClassificationOutput(loss, correct.sum() / some, (nll.sum() / some).exp(), z_loss, targets_seen)


def shaped_like(targets: Tensor, found: Tensor | ClassificationOutput) -> Tensor | ClassificationOutput:
    """Losses of rows in the shape of their targets."""
    if isinstance(found, Tensor):
        return found.view(targets.shape)
    return found._replace(loss=found.loss.view(targets.shape))


def _run(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rest: tuple[Tensor | None, ...],
    options: Options,
    dtype: torch.dtype,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor, ...]:
    targets, index, own, others, class_weights = rest
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    sides = product_side(hidden.detach(), dtype), product_side(weight.detach(), dtype)
    bias = None if bias is None else bias.detach().to(wide).contiguous()
    numbers = (options.label_smoothing, options.softcap, options.z_loss)
    results: tuple[Tensor, ...] = ops.linear_cross_entropy(
        *sides, targets, index, bias, own, others, class_weights, *numbers, *needs
    )
    return results


def _losses(
    nll: Tensor, lse: Tensor, sums: Tensor, rest: tuple[Tensor | None, ...], options: Options, classes: int
) -> Tensor:
    """(R,) losses, times the weights of the rows."""
    _, _, own, _, class_weights = rest
    losses = nll.clone() if own is None else nll * own
    if options.label_smoothing:
        total = classes if class_weights is None else class_weights.sum()
        losses = (1.0 - options.label_smoothing) * losses + options.label_smoothing / classes * (total * lse - sums)
    if options.z_loss:
        losses = losses + options.z_loss * lse.square()
    return losses


class _TotalLoss(torch.autograd.Function):
    """The sum of the weighted losses; forward makes the gradients, too."""

    @staticmethod
    def forward(ctx, function, hidden, weight, bias, *args):  # type: ignore[no-untyped-def]
        *tensors, options, dtype, grad_enabled = args
        rest, needs = tuple(tensors), tuple(grad_enabled and needed for needed in ctx.needs_input_grad[1:4])
        nll, lse, sums, correct, *grads = _run(hidden, weight, bias, rest, options, dtype, needs)
        kept = [g if need else None for g, need in zip(grads, needs, strict=True)]
        ctx.save_for_backward(hidden, weight, bias, *kept)
        ctx.function = function
        ctx.mark_non_differentiable(nll, lse, correct)
        return _losses(nll, lse, sums, rest, options, len(weight)).sum(), nll, lse, correct

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        hidden, weight, bias, *kept = ctx.saved_tensors
        inputs = [x for x in (hidden, weight, bias) if x is not None]
        with torch.no_grad():
            found = [
                None if g is None else (g * grad).to(x.dtype) for g, x in zip(kept, (hidden, weight, bias), strict=True)
            ]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 8,
        )


class _RowLosses(torch.autograd.Function):
    """The losses of the rows; their gradients are made in backward, where the derivatives of the rows are known."""

    @staticmethod
    def forward(ctx, function, hidden, weight, bias, *args):  # type: ignore[no-untyped-def]
        *tensors, options, dtype, _ = args
        rest = tuple(tensors)
        nll, lse, sums, correct, *_ = _run(hidden, weight, bias, rest, options, dtype, (False, False, False))
        ctx.save_for_backward(hidden, weight, bias, *rest)
        ctx.function, ctx.options, ctx.dtype = function, options, dtype
        ctx.mark_non_differentiable(nll, lse, correct)
        return _losses(nll, lse, sums, rest, options, len(weight)), nll, lse, correct

    @staticmethod
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        hidden, weight, bias, targets, index, own, _, class_weights = ctx.saved_tensors
        inputs = [x for x in (hidden, weight, bias) if x is not None]
        needs = tuple(ctx.needs_input_grad[1:4])
        with torch.no_grad():
            grad = grad.contiguous()
            rest = (targets, index, grad if own is None else own * grad, grad, class_weights)
            made = _run(hidden, weight, bias, rest, ctx.options, ctx.dtype, needs)[4:]
            sides = (hidden, weight, bias)
            found = [g.to(x.dtype) if need else None for g, x, need in zip(made, sides, needs, strict=True)]
        return (
            None,
            *(None if g is None else first_order_only(ctx.function, g, *inputs, grad) for g in found),
            *[None] * 8,
        )
