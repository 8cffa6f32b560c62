"""Cross-entropy of a linear layer's logits that are never stored."""

from __future__ import annotations

from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._class_inputs import (
    ClassificationOutput,
    ClassLoss,
    check_class_vector,
    check_layer,
    check_num_items,
    check_targets,
    options_of,
)
from sslfast.losses._classes import class_loss, shaped_like
from sslfast.losses._inputs import check_device, check_floating, check_integers


class LinearCrossEntropyLoss(ClassLoss):
    """:func:`linear_cross_entropy` as a module; the layer comes with every call, in Liger's order.

    Args:
        weight: (V,), weights of the classes. Default: None, 1.
        ignore_index: targets that do not count; None, torch's default, is -100. Default: -100.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        label_smoothing: in [0, 1]. Default: 0.
        softcap: caps the logits. Default: None.
        z_loss: factor of the squared log-sum-exp. Default: 0.
        return_metrics: give a :class:`ClassificationOutput`. Default: False.

    Raises:
        TypeError: if a number is none, or ``weight`` no floating-point tensor.
        ValueError: if a number is out of range.

    Example:
        >>> criterion = LinearCrossEntropyLoss()
        >>> loss = criterion(lm_head.weight, hidden, labels, lm_head.bias)
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int | None = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        softcap: float | None = None,
        z_loss: float = 0.0,
        return_metrics: bool = False,
    ) -> None:
        super().__init__(reduction, ignore_index, label_smoothing, softcap, z_loss, return_metrics)
        if weight is not None:
            check_floating(type(self).__name__, "weight", weight)
        self.register_buffer("weight", weight)

    def forward(
        self,
        linear_weight: Tensor,
        input: Tensor,
        target: Tensor,
        linear_bias: Tensor | None = None,
        *,
        num_items: float | Tensor | None = None,
    ) -> Tensor | ClassificationOutput:
        return linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            weight=self.weight,
            num_items=num_items,
            **self.held(),
        )


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    num_items: float | Tensor | None = None,
    return_metrics: bool = False,
    options: object = None,
) -> Tensor | ClassificationOutput:
    """Cross-entropy of the logits of a linear layer, without the logits.

    ``F.cross_entropy(F.linear(input, linear_weight, linear_bias).flatten(0, -2), target.flatten(), weight, ...)``

    of the rows whose target is not ``ignore_index``: no other row is read. Logits are made a strip of rows at a time,
    in float32 (float64 inputs in float64), and once: ``"mean"`` and ``"sum"`` make the gradients in forward, 6 N V D
    FLOPs for N targets and 2 N V D less for each side that takes none. ``"none"`` makes the logits again in backward, 8
    N V D. Of small losses and their gradients no digit is lost. Under autocast the products are in its dtype.

    Args:
        input: (..., D) or (D,), floating point, any strides.
        linear_weight: (V, D), the layer's weight, also one that is tied to an embedding. torch's (V, d_1, ..., D) is
            refused: it is (V d_1 ..., D) logits with a softmax for each place.
        target: (...) integers, () for a single row: a class in [0, V), or ``ignore_index``. torch's probabilities
            (..., V) are refused: they are as large as the logits that are never stored.
        linear_bias: (V,). Default: None.
        weight: (V,), weights of the classes, as ``F.cross_entropy`` takes them; no gradient. Default: None, 1.
        reduction: ``"mean"`` (divided by the sum of the targets' class weights), ``"sum"`` or ``"none"``. Default:
            ``"mean"``.
        ignore_index: targets that do not count; None if all do. Default: -100.
        label_smoothing: share of the uniform distribution in the target, in [0, 1]. Default: 0.
        softcap: positive; logits become ``softcap * tanh(logits / softcap)``. Default: None.
        z_loss: factor of the square of the log-sum-exp, which is added to the loss of each row. Default: 0.
        num_items: what ``"mean"`` is divided by instead, for gradient accumulation: the number of targets of all
            micro-batches. A number above 0, or a tensor of one, which is not waited for. Default: None.
        return_metrics: give a :class:`ClassificationOutput` with accuracy and perplexity, which cost nothing. Default:
            False.
        options: ``torch.nn.LinearCrossEntropyOptions``, which torch takes, or None. How torch cuts its batch has no
            meaning here: nothing in it changes anything. Default: None.

    Returns:
        The loss, float32 or float64: a scalar, or for ``"none"`` of the shape of ``target``, 0 where it is ignored.
        Without any target, or where the weights of all targets are 0, the mean is 0 with gradients of 0 (torch's is
        NaN).

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``target``), float64 is on a GPU, a number is none,
            or ``options`` are not torch's.
        ValueError: if a shape, a device or a number is out of what is said above, a target is no class (on the CPU; a
            GPU is not waited for, there loss and gradients are NaN), or ``num_items`` is given without ``"mean"``.
        RuntimeError: at a second derivative, which is not supported.

    Reference: torch.nn.functional.linear_cross_entropy; Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM
    Training", 2024; Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", 2024.
    """
    name = "linear_cross_entropy"
    _check_options(name, options)
    check_floating(name, "input", input)
    # One sample alone, as torch takes it.
    rows = input.unsqueeze(0) if input.dim() == 1 and len(input) else input
    check_layer(name, ("input", rows), ("linear_weight", linear_weight), ("linear_bias", linear_bias))
    check_class_vector(name, "weight", weight, linear_weight)
    if weight is not None and weight.requires_grad:
        raise ValueError(f"{name}: weight must not require a gradient: detach it")
    if isinstance(target, Tensor) and target.is_floating_point() and target.dim() == input.dim():
        raise TypeError(f"{name}: target must be class numbers, got probabilities of shape {tuple(target.shape)}")
    check_integers(name, "target", target)
    if target.shape != input.shape[:-1]:
        raise ValueError(f"{name}: target must have shape {tuple(input.shape[:-1])}, got {tuple(target.shape)}")
    check_device(name, "input", input, "target", target)
    held = options_of(name, reduction, label_smoothing, softcap, z_loss, input, linear_weight)
    return_metrics = _check.boolean(name, "return_metrics", return_metrics)
    ignore_index = _check.integer(name, "ignore_index", -100 if ignore_index is None else ignore_index, -(2**63))
    check_num_items(name, num_items, reduction, input)
    targets = check_targets(name, "target", target, len(linear_weight), ignore_index)
    found = class_loss(
        name,
        rows.flatten(0, -2),
        linear_weight,
        linear_bias,
        targets,
        None,
        weight,
        held,
        num_items,
        return_metrics,
    )
    return shaped_like(target, found) if reduction == "none" else found


def _check_options(function: str, options: object) -> None:
    """Raises TypeError where they are neither None nor torch's, which torch has since 2.13."""
    kind = getattr(nn, "LinearCrossEntropyOptions", None)
    if options is not None and (kind is None or not isinstance(options, kind)):
        got = type(options).__name__
        raise TypeError(f"{function}: options must be None or torch.nn.LinearCrossEntropyOptions, got {got}")
