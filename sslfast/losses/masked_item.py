"""The loss of masked items (BERT4Rec): against all items, or against some that are drawn, with their correction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._arguments import numbered_rows
from sslfast.losses._class_inputs import ClassificationOutput, check_layer, check_num_items, check_targets, options_of
from sslfast.losses._classes import class_loss, shaped_like
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_integers
from sslfast.losses._sampled import Sampled, sampled_loss
from sslfast.losses._shown import shown_options
from sslfast.losses.item_sampling import ItemSampling, given_sampling
from sslfast.losses.masked_lm import labels_at
from sslfast.random import Generator, check_generator, seed_tensor


class MaskedItemLoss(nn.Module):
    """:func:`masked_item_loss` as a module.

    Args:
        num_negatives: items that are drawn for each masked one. Default: None, all items count.
        sampling: ``"uniform"`` or an :class:`ItemSampling`, which moves with the module. Default: ``"uniform"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. Default: ``"mean"``.
        ignore_index: the label of items that are not masked. Default: -100.
        return_metrics: give a :class:`ClassificationOutput`, without ``num_negatives``. Default: False.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range, metrics are wanted with ``num_negatives``, or a ``sampling`` other than
            ``"uniform"`` goes without it.

    Example:
        >>> criterion = MaskedItemLoss(num_negatives=256, sampling=item_sampling(counts))
        >>> loss = criterion(hidden, item_embedding.weight, labels, generator=step_seed(seed, step))
    """

    thresholds: Tensor | None
    log_probability_bits: Tensor | None

    def __init__(
        self,
        num_negatives: int | None = None,
        *,
        sampling: str | ItemSampling = "uniform",
        reduction: str = "mean",
        ignore_index: int = -100,
        return_metrics: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_reduction(name, reduction)
        if num_negatives is not None:
            num_negatives = _check.integer(name, "num_negatives", num_negatives, 1, 2**31 - 2)
        self.num_negatives = num_negatives
        self.return_metrics = _metrics_of(name, return_metrics, num_negatives)
        given = given_sampling(name, sampling, num_negatives)
        self.register_buffer("thresholds", None if given is None else given.thresholds, persistent=False)
        # As integers: a module that is cast to a half type casts its floating-point buffers, and a logarithm of 8 bits
        # would correct the logits by another law than that of the draws.
        bits = None if given is None else given.log_probability.detach().double().view(torch.int64)
        self.register_buffer("log_probability_bits", bits, persistent=False)
        self.reduction = reduction
        self.ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))

    def forward(
        self,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        bias: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        num_items: float | Tensor | None = None,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor | ClassificationOutput:
        sampling: str | ItemSampling = "uniform"
        if self.thresholds is not None and self.log_probability_bits is not None:
            sampling = ItemSampling(self.thresholds, self.log_probability_bits.view(torch.float64))
        return masked_item_loss(
            hidden,
            weight,
            labels,
            bias,
            indices=indices,
            num_negatives=self.num_negatives,
            sampling=sampling,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            num_items=num_items,
            return_metrics=self.return_metrics,
            generator=generator,
            row_offset=row_offset,
            sample_ids=sample_ids,
        )

    def extra_repr(self) -> str:
        return shown_options(self, MaskedItemLoss, "num_negatives", "reduction", "ignore_index")


def masked_item_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    *,
    indices: Tensor | None = None,
    num_negatives: int | None = None,
    sampling: str | ItemSampling = "uniform",
    reduction: str = "mean",
    ignore_index: int = -100,
    num_items: float | Tensor | None = None,
    return_metrics: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor | ClassificationOutput:
    """Cross-entropy of masked items against all items, or an estimate from a few of them.

    Without ``num_negatives`` it is :func:`masked_lm_loss`: log sum_j exp(s_j) - s_y, with s_j = <h, w_j> + b_j. With K
    negatives j_k, drawn with replacement with probabilities q, the sum is estimated by

        ``exp(s_y) + sum over k with j_k != y of exp(s_jk) / (K q_jk)``

    a draw that hits the label is left out, and the correction log(K q_j) makes the estimate of the sum unbiased, for
    every q that is above 0 for every item. The loss is its logarithm: its mean is below the loss of all items, by about
    the variance of the estimate over twice its square, of the order 1 / K, and it tends to it as K grows. So does the
    gradient. Uncorrected samples would estimate another loss, in which popular items count for less.

    Negatives depend on (seed, number of the sample, position in it, k) alone. Rows of ``weight`` are read where they
    lie: nothing of the size (R, K, D) is made. The gradient of ``weight`` is dense.

    Args:
        hidden: (N, L, D) or (T, D), floating point: hidden states; of (T, D) each row is a sample.
        weight: (V, D), floating point, the items' embeddings; without a row for what can be no label, such as the mask.
        labels: (N, L) or (T,) integers: an item in [0, V), or ``ignore_index``. With ``indices`` also (R,), one for
            each of them, if R is not T.
        bias: (V,), floating point. Default: None.
        indices: int64 (R,), flat positions of masked items, each once, and -1 where there is none. Default: None, where
            ``labels`` are not ignored.
        num_negatives: K. Default: None, all items.
        sampling: ``"uniform"``, or what :func:`item_sampling` makes of counts or of ``"log_uniform"``. Default:
            ``"uniform"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, one loss a label. Default: ``"mean"``.
        ignore_index: the label of items that do not count. Default: -100.
        num_items: what ``"mean"`` is divided by instead of the number of masked items, such as those of all
            micro-batches. A number above 0, or a tensor of one. Default: None.
        return_metrics: give a :class:`ClassificationOutput` with accuracy and perplexity among all items, which cost
            nothing; not with ``num_negatives``, which see a few of them. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
            Unused without ``num_negatives``.
        row_offset: global number of sample 0 in the draws. Default: 0.
        sample_ids: int64 (N,), the number of each sample in the draws, in [0, 2^31). Default: None, ``row_offset`` and
            up.

    Returns:
        The loss, float32 or float64: a scalar, or for ``"none"`` one for each label or, with ``indices``, for each of
        them. Where nothing is masked mean and sum are 0 with gradients of 0.

    Raises:
        TypeError: if a tensor has another kind of dtype than above, float64 is on a GPU, a number is none, or
            ``generator`` no generator.
        ValueError: if a shape, a device or a number is out of what is said above, a label or an index is out of
            range, an index comes twice (on the CPU; a GPU is not waited for: with such a label or index loss and
            gradients are NaN, an index that comes twice is undefined), metrics are wanted with ``num_negatives``, or a
            ``sampling`` other than ``"uniform"`` goes without it.
        RuntimeError: at a second derivative, which is not supported.

    Reference: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", CIKM 2019; Bengio and Senecal, "Adaptive Importance Sampling to Accelerate Training of a Neural
    Probabilistic Language Model", 2008; Yi et al., "Sampling-Bias-Corrected Neural Modeling", RecSys 2019.
    """
    name = "masked_item_loss"
    check_layer(name, ("hidden", hidden), ("weight", weight), ("bias", bias))
    if hidden.dim() > 3:
        raise ValueError(f"{name}: hidden must have shape (N, L, D) or (T, D), got {tuple(hidden.shape)}")
    check_integers(name, "labels", labels)
    tokens = hidden.shape[:-1]
    if indices is None and labels.shape != tokens:
        raise ValueError(f"{name}: labels must have shape {tuple(tokens)}, like hidden, got {tuple(labels.shape)}")
    check_device(name, "hidden", hidden, "labels", labels)
    options = options_of(name, reduction, 0.0, None, 0.0)
    ignore_index = _check.integer(name, "ignore_index", ignore_index, -(2**63))
    check_num_items(name, num_items, reduction, hidden)
    if num_negatives is not None:
        num_negatives = _check.integer(name, "num_negatives", num_negatives, 1, 2**31 - 2)
    return_metrics = _metrics_of(name, return_metrics, num_negatives)
    given = labels
    if indices is not None:
        given = labels_at(name, hidden, labels, indices, ignore_index)
        indices = indices.contiguous()
    targets = check_targets(name, "labels", given, len(weight), ignore_index)
    drawn = given_sampling(name, sampling, num_negatives)
    if num_negatives is None:
        check_generator(generator, function=name, device=hidden.device)
        rows = hidden.flatten(0, -2)
        found = class_loss(name, rows, weight, bias, targets, indices, None, options, num_items, return_metrics)
        return shaped_like(labels, found) if reduction == "none" and indices is None else found
    if drawn is not None:
        if drawn.thresholds.shape != weight.shape[:1]:
            got = f"{len(drawn.thresholds)}"
            raise ValueError(f"{name}: sampling must be of {len(weight)} items, rows of weight, got {got}")
        check_device(name, "weight", weight, "sampling", drawn.thresholds)
    at, targets = _places(targets, indices)
    numbers = _numbers_of(name, hidden, at, row_offset, sample_ids)
    seed = seed_tensor(generator, function=name, device=hidden.device)
    thresholds = None if drawn is None else drawn.thresholds.contiguous()
    sampled = Sampled(
        at,
        targets,
        ops.item_negatives(numbers, seed, thresholds, len(weight), num_negatives),
        None if drawn is None else drawn.log_probability,
        shift=math.log(num_negatives / len(weight)) if drawn is None else math.log(num_negatives),
    )
    rows = hidden.flatten(0, -2)
    loss = sampled_loss(name, rows, weight, bias, sampled, reduction, num_items)
    if reduction == "none" and indices is None:
        everywhere = loss if len(at) == labels.numel() else loss.new_zeros(labels.numel()).index_copy(0, at, loss)
        return everywhere.view(labels.shape)
    return loss


def _metrics_of(function: str, return_metrics: bool, num_negatives: int | None) -> bool:
    if _check.boolean(function, "return_metrics", return_metrics) and num_negatives is not None:
        raise ValueError(f"{function}: return_metrics must be False with num_negatives={num_negatives}, got True")
    return return_metrics


def _places(targets: Tensor, indices: Tensor | None) -> tuple[Tensor, Tensor]:
    """The flat positions with a target and their targets: on the CPU these alone; -1 where there is none."""
    if indices is not None:
        return indices, targets
    if targets.is_cpu and not torch.compiler.is_compiling():
        at = (targets >= 0).nonzero().flatten()
        return at, targets[at]
    return torch.arange(len(targets), device=targets.device).where(targets >= 0, -1), targets


def _numbers_of(function: str, hidden: Tensor, at: Tensor, row_offset: int, sample_ids: Tensor | None) -> Tensor:
    """The number of each masked item in the draws: its sample's, times 2^32, and its position in it."""
    samples, length = (hidden.shape[0], hidden.shape[1]) if hidden.dim() == 3 else (hidden.shape[0], 1)
    sample_ids, row_offset = numbered_rows(function, sample_ids, row_offset, samples, hidden.device)
    if not samples * length:
        return at
    place = at.clamp(0, samples * length - 1)
    sample = torch.div(place, length, rounding_mode="floor")
    number = sample + row_offset if sample_ids is None else sample_ids[sample]
    return (number << 32) + place % length
