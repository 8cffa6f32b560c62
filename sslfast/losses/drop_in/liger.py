"""Liger's fused linear cross-entropy under its own names: linkedin/Liger-Kernel 0.8,
``liger_kernel/transformers/fused_linear_cross_entropy.py`` and ``functional.py``."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast.losses._class_inputs import check_class_vector, check_layer, check_targets, options_of
from sslfast.losses._classes import class_results, mean_of
from sslfast.losses._inputs import check_device, check_floating, check_integers, not_negative

__all__ = ["CrossEntropyOutput", "LigerFusedLinearCrossEntropyLoss", "liger_fused_linear_cross_entropy"]


class CrossEntropyOutput(NamedTuple):
    """What Liger gives where more than the loss is asked for; all but ``loss`` is detached.

    Attributes:
        loss: as it is alone, with the z-loss in it.
        z_loss: the z-loss in it, of the shape of ``loss``, or None.
        token_accuracy: the share of targets whose logit is the largest, or for ``reduction="none"`` 1 or 0 for each of
            them; or None. Among equal logits Liger takes the first; here none of them counts.
        predicted_tokens: None.
    """

    loss: Tensor
    z_loss: Tensor | None = None
    token_accuracy: Tensor | None = None
    predicted_tokens: Tensor | None = None


class LigerFusedLinearCrossEntropyLoss(nn.Module):
    """``LigerFusedLinearCrossEntropyLoss``: :func:`liger_fused_linear_cross_entropy` as a module.

    Args:
        ce_weight: (V,), weights of the classes; no part of the state, as in Liger. Default: None.
        ignore_index: targets that do not count. Default: -100.
        lse_square_scale: factor of the squared log-sum-exp. Default: 0.
        label_smoothing: in [0, 1]. Default: 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        softcap: caps the logits. Default: None.
        return_z_loss: give a :class:`CrossEntropyOutput` with the z-loss. Default: False.
        accum_dtype: None or a floating dtype but float64; sums are float32 whatever it is. Default: None.
        use_token_scaling: multiply each loss by the probability of its target. Default: False.
        return_token_accuracy: give a :class:`CrossEntropyOutput` with the accuracy. Default: False.
        return_predicted_tokens: False: the classes with the largest logits are not kept. Default: False.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, or one is asked for that cannot be had.

    Example:
        >>> criterion = LigerFusedLinearCrossEntropyLoss(lse_square_scale=1e-4, return_z_loss=True)
        >>> out = criterion(lm_head.weight, hidden, labels, lm_head.bias)
        >>> out.loss.backward()
    """

    ce_weight: Tensor | None

    def __init__(
        self,
        ce_weight: Tensor | None = None,
        ignore_index: int = -100,
        lse_square_scale: float = 0.0,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        softcap: float | None = None,
        return_z_loss: bool = False,
        accum_dtype: torch.dtype | None = None,
        use_token_scaling: bool = False,
        return_token_accuracy: bool = False,
        return_predicted_tokens: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if ce_weight is not None:
            check_floating(name, "ce_weight", ce_weight)
        self.register_buffer("ce_weight", ce_weight, persistent=False)
        self.ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
        _options(name, reduction, label_smoothing, softcap, lse_square_scale)
        self.lse_square_scale = lse_square_scale
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.softcap = softcap
        self.return_z_loss = return_z_loss
        self.accum_dtype = accum_dtype
        self.use_token_scaling = use_token_scaling
        self.return_token_accuracy = return_token_accuracy
        self.return_predicted_tokens = return_predicted_tokens
        _check_flags(
            name, return_z_loss, accum_dtype, use_token_scaling, return_token_accuracy, return_predicted_tokens
        )

    def forward(
        self, lin_weight: Tensor, _input: Tensor, target: Tensor, bias: Tensor | None = None
    ) -> Tensor | CrossEntropyOutput:
        return liger_fused_linear_cross_entropy(
            _input,
            lin_weight,
            target,
            bias,
            self.ce_weight,
            self.ignore_index,
            self.lse_square_scale,
            self.label_smoothing,
            self.reduction,
            self.softcap,
            self.return_z_loss,
            self.accum_dtype,
            self.use_token_scaling,
            self.return_token_accuracy,
            self.return_predicted_tokens,
        )


def liger_fused_linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    ce_weight: Tensor | None = None,
    ignore_index: int = -100,
    lse_square_scale: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    softcap: float | None = None,
    return_z_loss: bool = False,
    accum_dtype: torch.dtype | None = None,
    use_token_scaling: bool = False,
    return_token_accuracy: bool = False,
    return_predicted_tokens: bool = False,
    chunk_mem_const: int = 1,
) -> Tensor | CrossEntropyOutput:
    """``liger_fused_linear_cross_entropy``: :func:`sslfast.losses.linear_cross_entropy` by Liger's names and rules.

    Three of Liger's rules are its own. The mean of the z-loss is over the number of targets also where classes have
    weights (where both are given, a GPU is waited for). ``use_token_scaling`` multiplies the loss of a row by the
    detached probability of its target after the division by all; it takes 8 N V D FLOPs where the others take 6. And
    ``z_loss`` and ``token_accuracy`` are of every row where the loss is.

    Args:
        input: (..., D), floating point.
        weight: (V, D).
        target: (...) integers: a class in [0, V), or ``ignore_index``.
        bias: (V,). Default: None.
        ce_weight: (V,), weights of the classes; no gradient. Default: None, 1.
        ignore_index: targets that do not count. Default: -100.
        lse_square_scale: factor of the square of the log-sum-exp, which is added to the loss of each row. Default: 0.
        label_smoothing: share of the uniform distribution in the target, in [0, 1]. Default: 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        softcap: positive; logits become ``softcap * tanh(logits / softcap)``. Default: None.
        return_z_loss: give the z-loss, too. Default: False.
        accum_dtype: None or a floating dtype but float64; sums are float32 whatever it is. Default: None.
        use_token_scaling: multiply each loss by the probability of its target. Default: False.
        return_token_accuracy: give the accuracy, too. Default: False.
        return_predicted_tokens: False: the classes with the largest logits are not kept. Default: False.
        chunk_mem_const: changes nothing: how much of the logits is made at a time is our own choice. Default: 1.

    Returns:
        The loss, float32, or float64 of float64 inputs; or, where more is asked for, a :class:`CrossEntropyOutput`.
        Without any target it is 0 (Liger divides by 0).

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``target``), or a number or flag is none.
        ValueError: if a shape, a device or a number is out of what is said above, a target is no class (on the CPU), or
            ``accum_dtype`` or ``return_predicted_tokens`` asks for what cannot be had.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024.
    """
    name = "liger_fused_linear_cross_entropy"
    check_layer(name, ("input", input), ("weight", weight), ("bias", bias))
    check_class_vector(name, "ce_weight", ce_weight, weight)
    if ce_weight is not None and ce_weight.requires_grad:
        raise ValueError(f"{name}: ce_weight must not require a gradient: detach it")
    check_integers(name, "target", target)
    if target.shape != input.shape[:-1]:
        raise ValueError(f"{name}: target must have shape {tuple(input.shape[:-1])}, got {tuple(target.shape)}")
    check_device(name, "input", input, "target", target)
    ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
    options = _options(name, reduction, label_smoothing, softcap, lse_square_scale)
    _check.integer(name, "chunk_mem_const", chunk_mem_const, 1)
    _check_flags(name, return_z_loss, accum_dtype, use_token_scaling, return_token_accuracy, return_predicted_tokens)

    targets = check_targets(name, "target", target, len(weight), ignore_index)
    z_scale = options["z_loss"]
    if z_scale and ce_weight is not None and reduction == "mean":
        # The sum is divided by the weights of the targets, the z-loss in it by their number.
        own = ce_weight[targets.clamp(0, len(weight) - 1)].double() * (targets >= 0)
        options["z_loss"] = z_scale * float(own.sum()) / max(1, int((targets >= 0).sum()))
    by_rows = use_token_scaling or reduction == "none"
    held = options_of(name, **(options | {"reduction": "none" if by_rows else "sum"}))
    found = class_results(name, input.flatten(0, -2), weight, bias, targets, None, ce_weight, held)
    loss, count = found.loss, found.has.sum()
    with torch.no_grad():
        likely = (-found.nll).exp() * found.has if use_token_scaling else None
        z_loss = z_scale * found.lse.square()
        z_loss = z_loss if likely is None else z_loss * likely
        accuracy = found.correct.float()
    if likely is not None:
        loss = loss * likely
    if reduction == "none":
        loss, z_loss, accuracy = (x.view(target.shape) for x in (loss, z_loss, accuracy))
    else:
        loss, z_loss, accuracy = loss.sum(), z_loss.sum(), mean_of(accuracy.sum(), count)
        if reduction == "mean":
            loss, z_loss = mean_of(loss, found.items), mean_of(z_loss, count)
    if not return_z_loss and not return_token_accuracy:
        return loss
    return CrossEntropyOutput(loss, z_loss if return_z_loss else None, accuracy if return_token_accuracy else None)


def _options(
    function: str, reduction: str, label_smoothing: float, softcap: float | None, lse_square_scale: float
) -> dict[str, Any]:
    """The arguments of ``options_of``; its errors name the factor of the z-loss as Liger does."""
    z_loss = not_negative(function, "lse_square_scale", lse_square_scale)
    options_of(function, reduction, label_smoothing, softcap, z_loss)
    return {"reduction": reduction, "label_smoothing": label_smoothing, "softcap": softcap, "z_loss": z_loss}


def _check_flags(
    function: str,
    return_z_loss: bool,
    accum_dtype: torch.dtype | None,
    use_token_scaling: bool,
    return_token_accuracy: bool,
    return_predicted_tokens: bool,
) -> None:
    """Raises TypeError where one is none, and ValueError where it asks for what cannot be had."""
    _check.boolean(function, "return_z_loss", return_z_loss)
    _check.boolean(function, "use_token_scaling", use_token_scaling)
    _check.boolean(function, "return_token_accuracy", return_token_accuracy)
    if _check.boolean(function, "return_predicted_tokens", return_predicted_tokens):
        raise ValueError(f"{function}: return_predicted_tokens must be False: the largest logits' classes are not kept")
    if accum_dtype is None:
        return
    if not isinstance(accum_dtype, torch.dtype):
        raise TypeError(f"{function}: accum_dtype must be None or a torch.dtype, got {type(accum_dtype).__name__}")
    if not accum_dtype.is_floating_point or accum_dtype == torch.float64:
        raise ValueError(f"{function}: accum_dtype must be None or floating point up to float32, got {accum_dtype}")
