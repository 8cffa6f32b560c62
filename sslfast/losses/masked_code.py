"""The codebook entries of masked patches: BEiT's loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslfast import _check
from sslfast._arguments import each_once, of_dtype
from sslfast.losses._class_inputs import (
    ClassificationOutput,
    ClassLoss,
    check_layer,
    check_num_items,
    check_targets,
    options_of,
)
from sslfast.losses._classes import class_loss, shaped_like
from sslfast.losses._inputs import check_device, check_integers


class MaskedCodeLoss(ClassLoss):
    """:func:`masked_code_loss` as a module; the head comes with every call.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        label_smoothing: in [0, 1]. Default: 0.
        num_prefix_tokens: tokens in front that have no code. Default: 0.
        return_metrics: give a :class:`ClassificationOutput`. Default: False.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range.

    Example:
        >>> criterion = MaskedCodeLoss(num_prefix_tokens=1)
        >>> loss = criterion(encoder(images, mask), lm_head.weight, tokenizer(images), mask, lm_head.bias)
    """

    def __init__(
        self,
        reduction: str = "mean",
        *,
        label_smoothing: float = 0.0,
        num_prefix_tokens: int = 0,
        return_metrics: bool = False,
    ) -> None:
        super().__init__(reduction, None, label_smoothing, None, 0.0, return_metrics)
        self.num_prefix_tokens = _check.integer("MaskedCodeLoss", "num_prefix_tokens", num_prefix_tokens, 0)

    def forward(
        self,
        hidden: Tensor,
        weight: Tensor,
        codes: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        num_items: float | Tensor | None = None,
    ) -> Tensor | ClassificationOutput:
        return masked_code_loss(
            hidden,
            weight,
            codes,
            mask,
            bias,
            indices=indices,
            num_prefix_tokens=self.num_prefix_tokens,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            num_items=num_items,
            return_metrics=self.return_metrics,
        )


def masked_code_loss(
    hidden: Tensor,
    weight: Tensor,
    codes: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    indices: Tensor | None = None,
    num_prefix_tokens: int = 0,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    num_items: float | Tensor | None = None,
    return_metrics: bool = False,
) -> Tensor | ClassificationOutput:
    """Cross-entropy of masked patches with their entries of a codebook: BEiT's, BEiT v2's and HuBERT-like targets.

    ``F.cross_entropy(F.linear(hidden[:, num_prefix_tokens:][mask], weight, bias), codes[mask])``

    without the gather and without storing logits; the gradients are made in forward, see
    :func:`linear_cross_entropy`. For targets that are distributions over prototypes, as iBOT's and DINOv2's are, there
    is :func:`ibot_patch_loss`.

    Args:
        hidden: (N, num_prefix_tokens + L, D), floating point: the encoder's last hidden states.
        weight: (V, D), of the head, a row for each entry of the codebook.
        codes: (N, L), or (N, h, w) with h w = L, integers: the entry of every patch, of which those in [0, V) are asked
            for where the patch counts. What stands at the others is not looked at.
        mask: bool (N, L), or like ``codes``, True where the patch counts. Default: None, then ``indices``.
        bias: (V,). Default: None.
        indices: int64 (R,), instead of a mask: flat positions n L + l of patches, each once, and -1 where there is
            none, as :func:`sslfast.masking.mask_indices` gives them. No GPU is waited for then. Default: None.
        num_prefix_tokens: tokens in front, such as a class token, that have no code. Default: 0.
        reduction: ``"mean"`` over the patches that count, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        label_smoothing: share of the uniform distribution in the target, in [0, 1]. Default: 0.
        num_items: what ``"mean"`` is divided by instead of the number of patches that count, for gradient accumulation:
            a number above 0, or a tensor of one. Default: None.
        return_metrics: give a :class:`ClassificationOutput`, whose accuracy is BEiT's ``mlm_acc``. Default: False.

    Returns:
        The loss, float32 or float64: a scalar, or for ``"none"`` (N, L), 0 where the patch does not count, or with
        ``indices`` (R,). Where nothing is masked mean and sum are 0 with gradients of 0 (BEiT's is NaN).

    Raises:
        TypeError: if a tensor or a number has not the type that is said above, or float64 is on a GPU.
        ValueError: if a shape, a device or a number does not fit, both or none of ``mask`` and ``indices`` are given,
            a code that counts or an index is out of range, or an index comes twice (on the CPU; a GPU is not waited
            for: with such a code or index loss and gradients are NaN, an index that comes twice is undefined).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022.
    """
    name = "masked_code_loss"
    check_layer(name, ("hidden", hidden), ("weight", weight), ("bias", bias))
    prefix = _check.integer(name, "num_prefix_tokens", num_prefix_tokens, 0)
    check_integers(name, "codes", codes)
    if (mask is None) == (indices is None):
        got = "neither" if mask is None else "both"
        raise ValueError(f"{name}: either mask or indices must be given, got {got}")
    if hidden.dim() != 3 or hidden.shape[1] < prefix:
        raise ValueError(f"{name}: hidden must have shape (N, {prefix} + L, D), got {tuple(hidden.shape)}")
    shape = (hidden.shape[0], hidden.shape[1] - prefix)
    if codes.dim() not in (2, 3) or codes.flatten(1).shape != shape:
        raise ValueError(f"{name}: codes must have shape {shape}, one a patch, got {tuple(codes.shape)}")
    check_device(name, "hidden", hidden, "codes", codes)
    options = options_of(name, reduction, label_smoothing, None, 0.0)
    return_metrics = _check.boolean(name, "return_metrics", return_metrics)
    check_num_items(name, num_items, reduction, hidden)
    if indices is not None:
        size = shape[0] * shape[1]
        at = _positions(name, hidden, indices, size)
        index: Tensor | None = at
        if prefix:  # what is beyond the patches stays beyond the tokens
            index = torch.where(at < 0, at, at + (at // max(shape[1], 1) + 1) * prefix)
            index = index.masked_fill_(at >= size, hidden.shape[0] * hidden.shape[1])
        labels, counts = codes.reshape(-1), at >= 0
        labels = labels[at.clamp(0, size - 1)] if size else labels.new_zeros(len(at))
    else:
        index, counts = None, F.pad(_counts(name, codes, mask, shape), (prefix, 0))
        labels = F.pad(codes.flatten(1), (prefix, 0))
    targets = check_targets(name, "codes", labels.where(counts, 0), len(weight), None)
    targets = targets.masked_fill(~counts.flatten(), -1)
    found = class_loss(
        name, hidden.flatten(0, 1), weight, bias, targets, index, None, options, num_items, return_metrics
    )
    if reduction != "none" or indices is not None:
        return found
    found = shaped_like(labels, found)
    if isinstance(found, Tensor):
        return found[:, prefix:]
    return found._replace(loss=found.loss[:, prefix:])


def _counts(function: str, codes: Tensor, mask: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """The mask as (N, L)."""
    mask = of_dtype(function, "mask", mask, torch.bool)
    if mask.shape not in (shape, codes.shape):
        raise ValueError(f"{function}: mask must have shape {shape}, got {tuple(mask.shape)}")
    check_device(function, "codes", codes, "mask", mask)
    return mask.flatten(1)


def _positions(function: str, hidden: Tensor, indices: Tensor, size: int) -> Tensor:
    """The indices, contiguous."""
    indices = of_dtype(function, "indices", indices, torch.int64)
    if indices.dim() != 1:
        raise ValueError(f"{function}: indices must have shape (R,), got {tuple(indices.shape)}")
    check_device(function, "hidden", hidden, "indices", indices)
    if indices.is_cpu and len(indices) and not torch.compiler.is_compiling():
        low, high = (int(end) for end in indices.aminmax())
        if low < -1 or high >= size:
            worst = low if low < -1 else high
            raise ValueError(f"{function}: indices must be in [-1, {size - 1}], patches of hidden, got {worst}")
    each_once(function, "indices", indices, size)
    return indices.contiguous()
