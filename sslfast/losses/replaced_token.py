"""ELECTRA's loss: which tokens have been replaced."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslfast.losses._class_inputs import check_num_items
from sslfast.losses._classes import mean_of
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_floating


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

    without the gather, whose size a GPU would be waited for. In float32 (float64 inputs in float64); small losses keep
    their relative precision; may be differentiated twice.

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
            for: there the loss is NaN).

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
    z = logits if logits.dtype == torch.float64 else logits.float()
    if attention_mask is None:
        sign = _signs(name, replaced, None, z.dtype)
        losses = F.softplus(sign * z)
        if num_items is not None:
            return mean_of(losses.sum(), num_items)
        return losses.mean() if reduction == "mean" and losses.numel() else _reduced(losses, reduction)
    _check_like(name, "attention_mask", attention_mask, logits)
    if attention_mask.is_floating_point():
        raise TypeError(f"{name}: attention_mask must be bool or integers, got {attention_mask.dtype}")
    padding = attention_mask == 0
    sign = _signs(name, replaced, padding, z.dtype)
    losses = F.softplus(sign * z.masked_fill(padding, 0.0)).masked_fill(padding, 0.0)
    if reduction == "mean":
        total = losses.sum()
        return total / (~padding).sum().clamp_min(1) if num_items is None else mean_of(total, num_items)
    return _reduced(losses, reduction)


def _signs(function: str, replaced: Tensor, padding: Tensor | None, dtype: torch.dtype) -> Tensor:
    """-1 where a token is replaced, else 1."""
    sign = 1.0 - 2.0 * replaced.to(dtype)
    if replaced.dtype == torch.bool:
        return sign
    wrong = (replaced != 0) & (replaced != 1)
    wrong = wrong if padding is None else wrong & ~padding
    if not wrong.is_cpu or torch.compiler.is_compiling():
        return sign.masked_fill(wrong, torch.nan)
    if wrong.any():
        raise ValueError(f"{function}: replaced must be 0 or 1 for every token, got {replaced[wrong][0].item()}")
    return sign


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum()


def _check_like(function: str, name: str, given: Tensor, logits: Tensor) -> None:
    """A tensor of the shape and on the device of ``logits``."""
    if not isinstance(given, Tensor):
        raise TypeError(f"{function}: {name} must be a tensor, got {type(given).__name__}")
    if given.shape != logits.shape:
        expected = f"{tuple(logits.shape)}, like logits"
        raise ValueError(f"{function}: {name} must have shape {expected}, got {tuple(given.shape)}")
    check_device(function, "logits", logits, name, given)
