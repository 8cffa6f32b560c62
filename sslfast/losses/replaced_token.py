"""ELECTRA's loss: which tokens have been replaced."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sslfast import ops
from sslfast._arguments import strided
from sslfast._autograd import is_last, is_last_plain, traced_once
from sslfast.losses._class_inputs import check_num_items
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_floating

_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_NUMBERS = (*_INTEGERS, torch.float32, torch.float64, torch.bfloat16, torch.float16)


class ReplacedTokenLoss(nn.Module):
    """:func:`replaced_token_loss` as a module.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.

    Raises:
        ValueError: if there is no such reduction.

    Example:
        >>> criterion = ReplacedTokenLoss()
        >>> read, replaced = electra_inputs(ids, positions, sampled)
        >>> loss = generator_loss + 50.0 * criterion(discriminator(read), replaced, attention_mask)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction("ReplacedTokenLoss", reduction)
        self.reduction = reduction

    def forward(
        self,
        logits: Tensor,
        replaced: Tensor,
        attention_mask: Tensor | None = None,
        *,
        num_items: float | Tensor | None = None,
    ) -> Tensor:
        return replaced_token_loss(logits, replaced, attention_mask, self.reduction, num_items=num_items)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


def replaced_token_loss(
    logits: Tensor,
    replaced: Tensor,
    attention_mask: Tensor | None = None,
    reduction: str = "mean",
    *,
    num_items: float | Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of a discriminator that says of every token whether it has been replaced.

    ``F.binary_cross_entropy_with_logits(logits[attention_mask], replaced[attention_mask].float())``

    without the gather, whose size a GPU would be waited for, and without a float copy of the labels: logits, labels and
    mask are read once, as they come. On the CPU the gradient of float32 and float64 logits is made in the same pass;
    that of half types, and every one on a GPU, is made in the backward pass, rounded once. In float32 (float64 inputs
    in float64); small losses keep their relative precision; may be differentiated twice.

    Args:
        logits: (N, L) or (N, L, 1), floating point; positive where the token seems replaced.
        replaced: (N, L), bool or numbers of 0 and 1: the second result of :func:`sslfast.masking.electra_inputs`. Where
            there is padding they may be anything.
        attention_mask: (N, L), bool or integers, 0 where there is padding, which is not looked at and may hold
            anything. Default: None, all are tokens.
        reduction: ``"mean"`` over the tokens, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        num_items: what ``"mean"`` is divided by instead of the number of tokens, for gradient accumulation: those of
            all micro-batches. A number above 0, or a tensor of one, not waited for. Default: None.

    Returns:
        A scalar, or (N, L) with 0 for padding; float32, or float64 if ``logits`` is. Of no tokens the mean is 0.

    Raises:
        TypeError: if ``logits`` is not floating point, or another argument is not of what is said above.
        ValueError: if a shape, a device, the reduction or ``num_items`` is none of what is said above, ``num_items`` is
            given without ``"mean"``, or ``replaced`` is neither 0 nor 1 for a token (on the CPU; a GPU is not waited
            for: there, and in a compiled graph, the loss is NaN).

    Reference: Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020;
    transformers' ElectraForPreTraining.
    """
    name = "replaced_token_loss"
    check_floating(name, "logits", logits)
    if logits.dim() == 3 and logits.shape[2] == 1:
        logits = logits.squeeze(2)
    if logits.dim() != 2:
        raise ValueError(f"{name}: logits must have shape (N, L) or (N, L, 1), got {tuple(logits.shape)}")
    _check_like(name, "replaced", replaced, logits)
    check_reduction(name, reduction)
    check_num_items(name, num_items, reduction, logits)
    if attention_mask is not None:
        _check_like(name, "attention_mask", attention_mask, logits)
        attention_mask = _mask_numbers(name, attention_mask)
    labels = _label_numbers(name, replaced)
    items, divisor = None, 1.0
    if isinstance(num_items, Tensor):
        items = num_items.detach().reshape(1).to(_wide(logits))
    elif reduction == "mean":
        divisor = 0.0 if num_items is None else float(num_items)
    each_token = reduction == "none"
    wanted = logits.requires_grad and torch.is_grad_enabled()
    # Not the bare operator where no gradient is wanted: it would drop a tangent of forward mode without a word.
    losses: Tensor = _Loss.apply(logits, labels, attention_mask, items, divisor, each_token, wanted)
    if replaced.dtype != torch.bool and replaced.is_cpu and not torch.compiler.is_compiling():
        _check_labels(name, replaced, attention_mask, losses)
    return losses


class _Loss(torch.autograd.Function):
    """Losses whose gradient is made in forward where that saves exponentials: on the CPU, in the precision of sums.

    On a GPU to make it in backward moves fewer bytes than to scale it there; of a half type it is then rounded once.
    """

    @staticmethod
    def forward(ctx, logits, replaced, attention_mask, items, divisor, each_token, wanted):  # type: ignore[no-untyped-def]
        early = wanted and logits.is_cpu and not each_token and logits.dtype == _wide(logits)
        losses, share, made = ops.replaced_token(logits, replaced, attention_mask, items, divisor, each_token, early)
        ctx.early, ctx.each_token = early, each_token
        ctx.save_for_backward(logits, replaced, attention_mask, share, made)
        return losses

    @staticmethod
    @traced_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        logits, replaced, attention_mask, share, made = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            weights = grad if ctx.each_token else grad * share
            found = (_slopes(logits, replaced, attention_mask) * weights).to(logits.dtype)
        elif not ctx.early:
            weights = grad if ctx.each_token else grad * share
            found = ops.replaced_token_backward(weights, logits, replaced, attention_mask)
        elif is_last_plain(grad):
            found = made
        else:
            found = made.mul_(grad) if is_last(grad) else made * grad
        return found, None, None, None, None, None, None


def _slopes(logits: Tensor, replaced: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The derivatives of the losses (N, L), in plain torch, which can differentiate them again."""
    z = logits.to(_wide(logits))
    sign = (1.0 - 2.0 * replaced.to(z.dtype)).masked_fill((replaced != 0) & (replaced != 1), torch.nan)
    if attention_mask is not None:
        padding = attention_mask == 0
        sign, z = sign.masked_fill(padding, 0.0), z.masked_fill(padding, 0.0)
    return sign * torch.sigmoid(sign * z)


def _wide(logits: Tensor) -> torch.dtype:
    """The type of sums."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _mask_numbers(function: str, attention_mask: Tensor) -> Tensor:
    """A mask of a type that the kernels read."""
    if attention_mask.is_floating_point() or attention_mask.is_complex():
        raise TypeError(f"{function}: attention_mask must be bool or integers, got {attention_mask.dtype}")
    return attention_mask if attention_mask.dtype in _INTEGERS else attention_mask != 0


def _label_numbers(function: str, replaced: Tensor) -> Tensor:
    """Labels of a type that the kernels read; constants."""
    if replaced.is_complex():
        raise TypeError(f"{function}: replaced must be bool or numbers of 0 and 1, got {replaced.dtype}")
    replaced = replaced.detach() if replaced.requires_grad else replaced
    return replaced if replaced.dtype in _NUMBERS else replaced.float()


def _check_labels(function: str, replaced: Tensor, attention_mask: Tensor | None, losses: Tensor) -> None:
    """Raises for a token that is neither 0 nor 1, which would have made the losses NaN."""
    if not math.isnan((losses.detach().sum() if losses.dim() else losses).item()):
        return
    wrong = (replaced != 0) & (replaced != 1)
    wrong = wrong if attention_mask is None else wrong & (attention_mask != 0)
    if wrong.any():
        raise ValueError(f"{function}: replaced must be 0 or 1 for every token, got {replaced[wrong][0].item()}")


def _check_like(function: str, name: str, given: Tensor, logits: Tensor) -> None:
    """A tensor of the shape and on the device of ``logits``."""
    strided(function, name, given)
    if given.shape != logits.shape:
        expected = f"{tuple(logits.shape)}, like logits"
        raise ValueError(f"{function}: {name} must have shape {expected}, got {tuple(given.shape)}")
    check_device(function, "logits", logits, name, given)
