"""Cross-entropy against a vocabulary whose rows lie on several ranks."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from sslfast import _check
from sslfast._autograd import distinct
from sslfast.losses._class_inputs import (
    ClassificationOutput,
    ClassLoss,
    check_layer,
    check_num_items,
    check_targets,
    options_of,
)
from sslfast.losses._class_shards import agreed_place, check_group, is_distributed, said_place
from sslfast.losses._classes import class_loss, mean_of, shaped_like
from sslfast.losses._inputs import autocast_is_on, check_device, check_integers
from sslfast.losses._shard_losses import shard_losses


class VocabParallelCrossEntropyLoss(ClassLoss):
    """:func:`vocab_parallel_cross_entropy` as a module; this rank's part of the layer comes with every call.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        ignore_index: targets that do not count. Default: -100.
        label_smoothing: in [0, 1]. Default: 0.
        softcap: caps the logits. Default: None.
        z_loss: factor of the squared log-sum-exp. Default: 0.
        return_metrics: give a :class:`ClassificationOutput`. Default: False.
        num_classes: of all ranks. Default: None, the ranks tell each other.
        first_class: of this rank. Default: None, equal shards.
        group: the ranks that share the vocabulary. Default: None, all.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range.

    Example:
        >>> criterion = VocabParallelCrossEntropyLoss(num_classes=32000, group=tensor_parallel_group)
        >>> loss = criterion(lm_head.weight, hidden, labels)
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        softcap: float | None = None,
        z_loss: float = 0.0,
        return_metrics: bool = False,
        num_classes: int | None = None,
        first_class: int | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__(reduction, ignore_index, label_smoothing, softcap, z_loss, return_metrics)
        name = type(self).__name__
        if num_classes is not None:
            num_classes = _check.integer(name, "num_classes", num_classes, 1)
        if first_class is not None:
            first_class = _check.integer(name, "first_class", first_class, 0)
        check_group(name, group)
        self.num_classes, self.first_class, self.group = num_classes, first_class, group

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_classes={self.num_classes}, first_class={self.first_class}"

    def forward(
        self,
        linear_weight: Tensor,
        input: Tensor,
        target: Tensor,
        linear_bias: Tensor | None = None,
        *,
        num_items: float | Tensor | None = None,
    ) -> Tensor | ClassificationOutput:
        return vocab_parallel_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            num_items=num_items,
            num_classes=self.num_classes,
            first_class=self.first_class,
            group=self.group,
            **self.held(),
        )


def vocab_parallel_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    num_items: float | Tensor | None = None,
    return_metrics: bool = False,
    num_classes: int | None = None,
    first_class: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor | ClassificationOutput:
    """:func:`linear_cross_entropy` with the rows of the weight shared out over the ranks of a process group.

    Every rank has the same ``input``, ``target`` and options, and a shard of the classes, in order of rank: those of
    rank 0 come first. A rank multiplies with its own classes alone, in tiles that are not stored where they would be
    large; between the ranks travel two numbers a row in forward (one more with ``label_smoothing``, and with
    ``return_metrics``), and the gradient of the rows in backward. Forward and backward communicate: all ranks of the
    group have to call both. 8 N V D FLOPs for N targets, shared by the ranks.

    With ``num_classes`` a GPU is not waited for, and torch.compile makes one graph. Without it the ranks tell each
    other how many classes they have, which a GPU is waited for. On the CPU, rows without a target neither travel nor
    are multiplied; a GPU, which would have to count them, takes all: where they are many, gather the others first.

    Args:
        input: (..., D), floating point, the same on every rank of the group.
        linear_weight: (V_rank, D), this rank's classes; shards may differ in size.
        target: (...) integers, the same on every rank: a class in [0, V) of all ranks, or ``ignore_index``.
        linear_bias: (V_rank,), of this rank's classes. Default: None.
        reduction: ``"mean"`` over the targets, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        ignore_index: targets that do not count. Default: -100.
        label_smoothing: share of the uniform distribution over the classes of all ranks, in [0, 1]. Default: 0.
        softcap: positive; logits become ``softcap * tanh(logits / softcap)``. Default: None.
        z_loss: factor of the square of the log-sum-exp, which is added to the loss of each row. Default: 0.
        num_items: what ``"mean"`` is divided by instead of the number of targets. Default: None.
        return_metrics: give a :class:`ClassificationOutput` with accuracy and perplexity over the classes of all ranks.
            Default: False.
        num_classes: V, of all ranks, the same on each. Default: None, the ranks count.
        first_class: this rank's first, with ``num_classes``. Default: None; then each rank has ceil(V / W) classes and
            what is left the last ones, as Megatron's layers and DTensor share them.
        group: the ranks that share the vocabulary. Default: None, all; without any, one.

    Returns:
        The loss, float32 or float64, the same on every rank; as :func:`linear_cross_entropy` gives it on one. Every
        rank has the whole gradient of ``input``, and that of its own classes.

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``target``), float64 is on a GPU, a number is none,
            or ``group`` is no process group.
        ValueError: if a shape, a device or a number is out of what is said above, a target is no class (on the CPU; a
            GPU is not waited for, there loss and gradients are NaN), a rank has no class, or its classes are not those
            of ``num_classes`` and ``first_class``. Before anything else the ranks tell each other whether they will
            raise, and then all do: the others with a ValueError that names the rank; so do all whose options or inputs
            differ. (On a GPU with ``num_classes`` they do not: an error of one leaves the others waiting for it.)
        RuntimeError: at a second derivative, which is not supported; in a compiled graph on the CPU, if a target is no
            class.

    Reference: Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism",
    2019, section 3.
    """
    name = "vocab_parallel_cross_entropy"
    check_group(name, group)  # whom an error would be told
    wrong: Exception | None = None
    said: tuple[int, int] | None = None
    same: dict[str, object] = {}
    try:
        check_layer(name, ("input", input), ("linear_weight", linear_weight), ("linear_bias", linear_bias))
        check_integers(name, "target", target)
        if target.shape != input.shape[:-1]:
            raise ValueError(f"{name}: target must have shape {tuple(input.shape[:-1])}, got {tuple(target.shape)}")
        check_device(name, "input", input, "target", target)
        options = options_of(name, reduction, label_smoothing, softcap, z_loss, input, linear_weight)
        return_metrics = _check.boolean(name, "return_metrics", return_metrics)
        ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
        check_num_items(name, num_items, reduction, input)
        said = said_place(name, len(linear_weight), first_class, num_classes, group)
        divisor = num_items.reshape(()) if isinstance(num_items, Tensor) else num_items  # its shape makes no difference
        same = {
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": options.label_smoothing,
            "softcap": options.softcap or None,
            "z_loss": options.z_loss,
            "num_items": divisor if divisor is None or isinstance(divisor, Tensor) else float(divisor),
            "return_metrics": return_metrics,
            "input": input,
            "the shape of input": tuple(input.shape),
            "the dtypes of input and linear_weight": (input.dtype, linear_weight.dtype),
        }
    except (TypeError, ValueError) as error:
        wrong = error
    start, classes = agreed_place(name, input, linear_weight, said, same, wrong, group)
    # Every rank has the same targets and comes to the same verdict: none waits for another.
    targets = check_targets(name, "target", target, classes, ignore_index)
    rows, picked = input.flatten(0, -2), None
    if not is_distributed():
        index = torch.arange(len(rows), device=rows.device) if rows.is_cuda else None  # without it a GPU is waited for
        found = class_loss(
            *(name, rows, linear_weight, linear_bias, targets, index, None, options, num_items, return_metrics)
        )
        return shaped_like(target, found) if reduction == "none" else found
    if targets.is_cpu and not torch.compiler.is_compiling():
        picked = (targets >= 0).nonzero().flatten()
        if len(picked) < len(targets):
            rows, targets = rows.index_select(0, picked), targets[picked]
        else:
            picked = None
    rows, linear_weight, linear_bias = distinct(rows, linear_weight, linear_bias)
    local = targets - start
    local = local.masked_fill((local < 0) | (local >= len(linear_weight)), len(linear_weight))
    # What is no class of any rank is beyond those of the others, too.
    local = local.masked_fill(targets < 0, -1).masked_fill_(targets >= classes, len(linear_weight) + 1)
    dtype = torch.promote_types(input.dtype, linear_weight.dtype)
    if autocast_is_on(input.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(input.device.type)
    losses, nll, lse, correct = shard_losses(
        name, rows, linear_weight, linear_bias, local, classes, options, dtype, return_metrics, group
    )
    items: Tensor | float | None = None
    loss = losses.sum()
    if reduction == "mean":
        items = num_items if num_items is not None else (targets >= 0).sum()
        loss = mean_of(loss, items)
    elif reduction == "none":
        if picked is not None:
            losses = losses.new_zeros((target.numel(),)).index_copy(0, picked, losses)
        loss = losses.view(target.shape)
    if not return_metrics:
        return loss
    with torch.no_grad():
        seen = (targets >= 0).sum()
        some = seen.clamp_min(1)
        z_part = lse.new_zeros(()) if reduction == "none" else options.z_loss * lse.square().sum()
        z_part = z_part if items is None else mean_of(z_part, items)
        return ClassificationOutput(loss, correct.sum() / some, (nll.sum() / some).exp(), z_part, seen)
