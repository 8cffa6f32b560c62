"""The loss of masked language models: the vocabulary is multiplied with masked tokens alone."""

from __future__ import annotations

import torch
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


class MaskedLMLoss(ClassLoss):
    """:func:`masked_lm_loss` as a module.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        ignore_index: the label of tokens that are not masked. Default: -100.
        label_smoothing: in [0, 1]. Default: 0.
        softcap: caps the logits. Default: None.
        z_loss: factor of the squared log-sum-exp. Default: 0.
        return_metrics: give a :class:`ClassificationOutput`. Default: False.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range.

    Example:
        >>> criterion = MaskedLMLoss(return_metrics=True)
        >>> hidden = model.cls.predictions.transform(model.bert(input_ids).last_hidden_state)
        >>> decoder = model.cls.predictions.decoder
        >>> loss, accuracy, perplexity, *_ = criterion(hidden, decoder.weight, labels, decoder.bias)
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
    ) -> None:
        super().__init__(reduction, ignore_index, label_smoothing, softcap, z_loss, return_metrics)

    def forward(
        self,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        bias: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        num_items: float | Tensor | None = None,
    ) -> Tensor | ClassificationOutput:
        return masked_lm_loss(hidden, weight, labels, bias, indices=indices, num_items=num_items, **self.held())


def masked_lm_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    indices: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    num_items: float | Tensor | None = None,
    return_metrics: bool = False,
) -> Tensor | ClassificationOutput:
    """Cross-entropy of masked tokens against the vocabulary, of which no other token sees anything.

    ``F.cross_entropy(F.linear(hidden, weight, bias).flatten(0, -2), labels.flatten(), ignore_index=ignore_index)``

    for a seventh of its arithmetic where 15 % are masked: :func:`linear_cross_entropy` of the masked rows. ``indices``,
    the compact form that the masks of :mod:`sslfast.masking` give, says where they are with a size that nobody has to
    wait for; without it a GPU is waited for once, to count the labels.

    Args:
        hidden: (..., L, D) or (T, D), floating point: the last hidden states, after the head's transform.
        weight: (V, D), the decoder's weight, often the word embedding itself.
        labels: (..., L) or (T,) integers: a token in [0, V), or ``ignore_index``. With ``indices`` also (R,), one for
            each of them, if R is not T.
        bias: (V,). Default: None.
        indices: int64 (R,), flat positions of masked tokens, each once, and -1 where there is none: the third result of
            :func:`sslfast.masking.mask_tokens`, or the first R of it. Default: None, where ``labels`` are not ignored.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, one loss a label. Default: ``"mean"``.
        ignore_index: the label of tokens that do not count. Default: -100.
        label_smoothing: share of the uniform distribution in the target, in [0, 1]. Default: 0.
        softcap: positive; logits become ``softcap * tanh(logits / softcap)``. Default: None.
        z_loss: factor of the square of the log-sum-exp, which is added to the loss of each token. Default: 0.
        num_items: what ``"mean"`` is divided by instead of the number of masked tokens: those of all micro-batches,
            transformers' ``num_items_in_batch``. A number above 0, or a tensor of one, not waited for. Default: None.
        return_metrics: give a :class:`ClassificationOutput` with accuracy and perplexity, which cost nothing. Default:
            False.

    Returns:
        The loss, float32 or float64: a scalar, or for ``"none"`` one for each label or, with ``indices``, for each of
        them: (R,). Where nothing is masked mean and sum are 0 with gradients of 0 (transformers' is NaN).

    Raises:
        TypeError: if a tensor is not floating point (integer, for ``labels``; int64, for ``indices``), float64 is on a
            GPU, or a number is none.
        ValueError: if a shape, a device or a number is out of what is said above, a label or an index is out of
            range, or an index comes twice (on the CPU; a GPU is not waited for: with such a label or index loss
            and gradients are NaN, an index that comes twice is undefined).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL
    2019; transformers' BertForMaskedLM.
    """
    name = "masked_lm_loss"
    check_layer(name, ("hidden", hidden), ("weight", weight), ("bias", bias))
    check_integers(name, "labels", labels)
    tokens = hidden.shape[:-1]
    if indices is None and labels.shape != tokens:
        raise ValueError(f"{name}: labels must have shape {tuple(tokens)}, like hidden, got {tuple(labels.shape)}")
    check_device(name, "hidden", hidden, "labels", labels)
    options = options_of(name, reduction, label_smoothing, softcap, z_loss, hidden, weight)
    return_metrics = _check.boolean(name, "return_metrics", return_metrics)
    ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
    check_num_items(name, num_items, reduction, hidden)
    if indices is not None:
        labels = labels_at(name, hidden, labels, indices, ignore_index)
        indices = indices.contiguous()
    targets = check_targets(name, "labels", labels, len(weight), ignore_index)
    found = class_loss(
        name, hidden.flatten(0, -2), weight, bias, targets, indices, None, options, num_items, return_metrics
    )
    return shaped_like(labels, found) if reduction == "none" and indices is None else found


def labels_at(function: str, hidden: Tensor, labels: Tensor, indices: Tensor, ignore_index: int) -> Tensor:
    """(R,) labels of the tokens at ``indices``."""
    of_dtype(function, "indices", indices, torch.int64)
    if indices.dim() != 1:
        raise ValueError(f"{function}: indices must have shape (R,), got {tuple(indices.shape)}")
    check_device(function, "hidden", hidden, "indices", indices)
    tokens = hidden.shape[:-1]
    size = tokens.numel()
    if indices.is_cpu and len(indices) and not torch.compiler.is_compiling():
        low, high = (int(end) for end in indices.aminmax())
        if low < -1 or high >= size:
            worst = low if low < -1 else high
            raise ValueError(f"{function}: indices must be in [-1, {size - 1}], tokens of hidden, got {worst}")
    each_once(function, "indices", indices, size)
    if labels.shape == indices.shape and labels.shape != tokens:
        return labels
    if labels.shape != tokens:
        expected = f"{tuple(tokens)}, like hidden, or {tuple(indices.shape)}, like indices"
        raise ValueError(f"{function}: labels must have shape {expected}, got {tuple(labels.shape)}")
    if not size:
        return labels.new_full(indices.shape, ignore_index, dtype=torch.int64)
    return labels.reshape(-1).long()[indices.clamp(0, size - 1)]
