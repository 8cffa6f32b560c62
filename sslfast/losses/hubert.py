"""HuBERT's loss: clusters of masked frames by the cosine of projected frames and the embeddings of the clusters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslfast import _check
from sslfast._arguments import each_once, in_range, of_dtype
from sslfast.losses._class_inputs import check_num_items, check_targets
from sslfast.losses._classes import mean_of
from sslfast.losses._cosines import cosine_loss, is_full
from sslfast.losses._inputs import (
    check_device,
    check_floating,
    check_integers,
    check_kernel_dtype,
    divisor,
    not_negative,
    without_autocast,
)
from sslfast.losses._shown import shown_options

Several = Tensor | Sequence[Tensor]  # one for each set of labels, or for all


class HubertLoss(nn.Module):
    """:func:`hubert_loss` as a module.

    Args:
        temperature: at least 1e-8, fairseq's ``logit_temp``. Default: 0.1.
        pred_masked_weight: of masked frames, at least 0. Default: 1.0.
        pred_nomask_weight: of the others, at least 0. Default: 0.0.
        features_pen_weight: of the penalty, where it is given, at least 0. Default: 10.0.
        reduction: ``"sum"`` or ``"mean"``. Default: ``"sum"``.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range, or both weights of frames are 0.

    Example:
        >>> criterion = HubertLoss()
        >>> loss = criterion(model.final_proj(x), model.label_embs, clusters, mask, padding_mask=padding_mask)
    """

    def __init__(
        self,
        temperature: float = 0.1,
        pred_masked_weight: float = 1.0,
        pred_nomask_weight: float = 0.0,
        features_pen_weight: float = 10.0,
        reduction: str = "sum",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        numbers = (temperature, pred_masked_weight, pred_nomask_weight, features_pen_weight)
        self.temperature, *weights = _numbers(name, *numbers)
        self.pred_masked_weight, self.pred_nomask_weight, self.features_pen_weight = weights
        self.reduction = _check.one_of(name, "reduction", reduction, ("sum", "mean"))

    def forward(
        self,
        hidden: Several,
        label_embs: Several,
        targets: Several,
        mask_time_indices: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        padding_mask: Tensor | None = None,
        features_pen: Tensor | None = None,
        num_items: float | Tensor | None = None,
    ) -> Tensor:
        return hubert_loss(
            hidden,
            label_embs,
            targets,
            mask_time_indices,
            indices=indices,
            padding_mask=padding_mask,
            features_pen=features_pen,
            temperature=self.temperature,
            pred_masked_weight=self.pred_masked_weight,
            pred_nomask_weight=self.pred_nomask_weight,
            features_pen_weight=self.features_pen_weight,
            reduction=self.reduction,
            num_items=num_items,
        )

    def extra_repr(self) -> str:
        return shown_options(self, HubertLoss, "temperature", "pred_masked_weight", "pred_nomask_weight", "reduction")


def hubert_loss(
    hidden: Several,
    label_embs: Several,
    targets: Several,
    mask_time_indices: Tensor | None = None,
    *,
    indices: Tensor | None = None,
    padding_mask: Tensor | None = None,
    features_pen: Tensor | None = None,
    temperature: float = 0.1,
    pred_masked_weight: float = 1.0,
    pred_nomask_weight: float = 0.0,
    features_pen_weight: float = 10.0,
    reduction: str = "sum",
    num_items: float | Tensor | None = None,
) -> Tensor:
    """Cross-entropy of masked frames against clusters, by the cosine with each cluster's embedding.

    For a frame h of cluster y and the embeddings e_c, with s_c = cos(h, e_c) / temperature:

        ``log sum_c exp(s_c) - s_y``

    summed over masked frames and all sets of labels, times ``pred_masked_weight``; the same for frames that are not
    masked, times ``pred_nomask_weight``. fairseq lays the embeddings out for every frame, (C + 1, S, D), with the
    target's once more, which it then leaves out; here it is :func:`linear_cross_entropy` of unit vectors. Frames of
    weight 0 and padding are not read.

    Args:
        hidden: (B, T, D), floating point: frames after ``final_proj``; or a list of them, one for each set of labels
            (``untie_final_proj``).
        label_embs: (C, D), floating point, or a list of them, one for each set of labels. No two rows are the same:
            fairseq leaves such twins of the target out.
        targets: (B, T) integers in [0, C), or a list of them. Where a frame does not count they may be anything.
        mask_time_indices: bool (B, T), True where masked. Default: None, where ``indices`` are given.
        indices: int64 (R,), flat positions of masked frames that are no padding, each once, and -1 where there is none,
            instead of the mask. Default: None.
        padding_mask: bool (B, T), True for padding, which never counts; with the mask only. Default: None.
        features_pen: scalar, the mean square of the convolutional features, ``features.float().pow(2).mean()``: it is
            added times ``features_pen_weight`` and the number of frames that count. Default: None.
        temperature: at least 1e-8, fairseq's ``logit_temp``. Default: 0.1.
        pred_masked_weight: at least 0. Default: 1.0.
        pred_nomask_weight: at least 0; above 0 it needs the mask. Default: 0.0.
        features_pen_weight: at least 0, the first of fairseq's ``loss_weights``. Default: 10.0.
        reduction: ``"sum"``, as fairseq's criterion, or ``"mean"``, divided by the number of frames that count, by
            which fairseq divides the gradient (frames, whatever the sets of labels). Default: ``"sum"``.
        num_items: what ``"mean"`` is divided by instead of the number of frames that count, for gradient accumulation:
            those of all micro-batches. A number above 0, or a tensor of one, not waited for. Default: None.

    Returns:
        A scalar, float32 or float64; 0 with gradients of 0 where no frame counts.

    Raises:
        TypeError: if a tensor has another kind of dtype than above, float64 is on a GPU, or a number is none.
        ValueError: if a shape, a device or a number is out of what is said above, lists have not one length, neither or
            both of mask and ``indices`` are given, ``padding_mask`` or ``pred_nomask_weight`` goes with ``indices``,
            both weights are 0, ``num_items`` goes without ``"mean"``, a position or the target of a frame that counts
            is out of range, or a position comes twice (on the CPU; a GPU is not waited for: with such a target or
            position loss and gradients are NaN, a position that comes twice counts twice).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden
    Units", TASLP 2021; fairseq's HubertModel and hubert criterion.
    """
    name = "hubert_loss"
    numbers = (temperature, pred_masked_weight, pred_nomask_weight, features_pen_weight)
    temperature, pred_masked_weight, pred_nomask_weight, features_pen_weight = _numbers(name, *numbers)
    _check.one_of(name, "reduction", reduction, ("sum", "mean"))
    sets = _sets_of(name, hidden, label_embs, targets)
    first = sets[0][0]
    check_num_items(name, num_items, reduction, first)
    weighted = [
        (weight, at)
        for weight, at in zip(
            (pred_masked_weight, pred_nomask_weight),
            _frames_of(name, first, mask_time_indices, indices, padding_mask, pred_nomask_weight > 0),
            strict=True,
        )
        if weight > 0 and at is not None
    ]
    with without_autocast(first):
        parts = [
            _cross_entropy(name, frames, embs, goals, at, temperature, weight)
            for frames, embs, goals in sets
            for weight, at in weighted
        ]
        loss = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
        if features_pen is None and reduction == "sum":
            return loss
        count = torch.stack([(at >= 0).sum() for _, at in weighted]).sum()
        if features_pen is not None:
            check_floating(name, "features_pen", features_pen)
            if features_pen.numel() != 1:
                expected = "one element, got shape"
                raise ValueError(f"{name}: features_pen must have {expected} {tuple(features_pen.shape)}")
            check_device(name, "hidden", first, "features_pen", features_pen)
            loss = loss + features_pen_weight * count * features_pen.reshape(()).to(loss.dtype)
        return loss if reduction == "sum" else mean_of(loss, count if num_items is None else num_items)


def _cross_entropy(
    function: str, frames: Tensor, embs: Tensor, targets: Tensor, at: Tensor, temperature: float, weight: float
) -> Tensor:
    """``weight`` times the sum over the frames at flat positions, -1 for none."""
    rows, goals, stray = frames.flatten(0, 1), targets.flatten(), None
    if not len(goals):  # there can be none
        at, stray = at[:0], (at != -1).any()
    full = is_full(at)
    if full:
        goals = check_targets(function, "targets", goals[at], len(embs), None)
    else:
        there, size = at >= 0, len(goals)
        goals = goals[at.clamp(0, size - 1)].where(there, 0)
        # What is none has no target, and what names no frame one that is no cluster.
        goals = check_targets(function, "targets", goals, len(embs), None).where(there, -1)
        goals = goals.masked_fill((at < -1) | (at >= size), len(embs))
    total = cosine_loss(function, rows, embs, goals, at, full, temperature)
    if stray is not None:
        total = total * torch.where(stray, torch.nan, 1.0).to(total.dtype)
    return total if weight == 1.0 else weight * total


def _numbers(function: str, temperature: float, masked: float, nomask: float, penalty: float) -> list[float]:
    """The four, checked."""
    temperature = divisor(function, "temperature", temperature)
    masked = not_negative(function, "pred_masked_weight", masked)
    nomask = not_negative(function, "pred_nomask_weight", nomask)
    if masked == nomask == 0:
        raise ValueError(f"{function}: pred_masked_weight or pred_nomask_weight must be above 0, got 0 for both")
    return [temperature, masked, nomask, not_negative(function, "features_pen_weight", penalty)]


def _sets_of(function: str, hidden: Several, label_embs: Several, targets: Several) -> list[tuple[Tensor, ...]]:
    """Frames, embeddings and targets of each set of labels."""
    given = {"hidden": hidden, "label_embs": label_embs, "targets": targets}
    lists = {name: list(value) for name, value in given.items() if isinstance(value, (list, tuple))}
    sizes = {name: len(value) for name, value in lists.items()}
    if 0 in sizes.values() or len(set(sizes.values())) > 1:
        got = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        raise ValueError(f"{function}: lists must have one length, at least 1, got {got}")
    number = next(iter(sizes.values()), 1)
    sides = [lists[name] if name in lists else [value] * number for name, value in given.items()]
    sets = list(zip(*sides, strict=True))
    shape: torch.Size | None = None
    for frames, embs, goals in sets:
        check_floating(function, "hidden", frames)
        check_floating(function, "label_embs", embs)
        check_integers(function, "targets", goals)
        shape = frames.shape if shape is None else shape
        if frames.dim() != 3 or frames.shape[2] < 1 or frames.shape[:2] != shape[:2]:
            like = "" if frames is sets[0][0] else ", alike in all of them"
            raise ValueError(f"{function}: hidden must have shape (B, T, D){like}, got {tuple(frames.shape)}")
        if embs.dim() != 2 or len(embs) < 1 or embs.shape[1] != frames.shape[2]:
            expected = f"(C, {frames.shape[2]})"
            raise ValueError(f"{function}: label_embs must have shape {expected}, got {tuple(embs.shape)}")
        if goals.shape != shape[:2]:
            expected = f"{tuple(shape[:2])}, like hidden"
            raise ValueError(f"{function}: targets must have shape {expected}, got {tuple(goals.shape)}")
        check_device(function, "hidden", sets[0][0], "hidden", frames)
        check_device(function, "hidden", frames, "label_embs", embs)
        check_device(function, "hidden", frames, "targets", goals)
        check_kernel_dtype(function, frames, embs)
    return sets


def _frames_of(
    function: str, hidden: Tensor, mask: Tensor | None, indices: Tensor | None, padding: Tensor | None, nomask: bool
) -> tuple[Tensor, Tensor | None]:
    """Flat positions of masked frames, -1 for none, and of the others if they are wanted."""
    batch, length, _ = hidden.shape
    if (mask is None) == (indices is None):
        got = "neither" if mask is None else "both"
        raise ValueError(f"{function}: either mask_time_indices or indices must be given, got {got}")
    if indices is not None:
        if padding is not None or nomask:
            what = "padding_mask" if padding is not None else "pred_nomask_weight"
            raise ValueError(f"{function}: {what} goes with mask_time_indices, got indices")
        indices = of_dtype(function, "indices", indices, torch.int64)
        if indices.dim() != 1:
            raise ValueError(f"{function}: indices must have shape (R,), got {tuple(indices.shape)}")
        check_device(function, "hidden", hidden, "indices", indices)
        in_range(function, "indices", indices, -1, batch * length - 1)
        each_once(function, "indices", indices, batch * length)
        return indices, None
    for what, given in (("mask_time_indices", mask), ("padding_mask", padding)):
        if given is None:
            continue
        of_dtype(function, what, given, torch.bool)
        if given.shape != (batch, length):
            expected = f"({batch}, {length}), like hidden"
            raise ValueError(f"{function}: {what} must have shape {expected}, got {tuple(given.shape)}")
        check_device(function, "hidden", hidden, what, given)
    assert mask is not None
    others = ~mask
    if padding is not None:
        mask, others = mask & ~padding, others & ~padding
    return _positions(mask), _positions(others) if nomask else None


def _positions(mask: Tensor) -> Tensor:
    """Where a mask is True: on the CPU these alone, otherwise one for each frame, so that nobody waits."""
    flat = mask.flatten()
    if flat.is_cpu and not torch.compiler.is_compiling():
        return flat.nonzero().flatten()
    return torch.arange(len(flat), device=flat.device).where(flat, -1)
