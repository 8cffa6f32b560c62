"""The losses of wav2vec 2.0: masked frames against distractors of the same utterance, and diversity of the codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast._arguments import each_once, in_range, numbered_rows, of_dtype, strided
from sslfast.losses._class_inputs import check_num_items
from sslfast.losses._info_nce_inputs import check_reduction
from sslfast.losses._inputs import check_device, check_floating, check_integers, check_kernel_dtype, check_like, divisor
from sslfast.losses._sampled import SAME_CODES, SAME_VALUES, Sampled, candidate_rows, sampled_loss
from sslfast.random import Generator, check_generator, seed_tensor


class Wav2Vec2ContrastiveLoss(nn.Module):
    """:func:`wav2vec2_contrastive_loss` as a module.

    Args:
        temperature: at least 1e-8. Default: 0.1.
        num_negatives: distractors of a frame where none are given. Default: 100.
        reduction: ``"sum"``, ``"mean"`` or ``"none"``. Default: ``"sum"``.

    Raises:
        TypeError: if a number is none.
        ValueError: if one is out of range.

    Example:
        >>> criterion = Wav2Vec2ContrastiveLoss()
        >>> loss = criterion(context, quantized, mask, codes=codes, generator=step_seed(seed, step))
        >>> loss = loss + 0.1 * diversity_loss(perplexity, 640, mask)
    """

    def __init__(self, temperature: float = 0.1, num_negatives: int = 100, reduction: str = "sum") -> None:
        super().__init__()
        name = type(self).__name__
        self.temperature = divisor(name, "temperature", temperature)
        self.num_negatives = _check.integer(name, "num_negatives", num_negatives, 1, 2**31 - 1)
        check_reduction(name, reduction)
        self.reduction = reduction

    def forward(
        self,
        context: Tensor,
        targets: Tensor,
        mask_time_indices: Tensor | None = None,
        sampled_negative_indices: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        codes: Tensor | None = None,
        num_items: float | Tensor | None = None,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        return wav2vec2_contrastive_loss(
            context,
            targets,
            mask_time_indices,
            sampled_negative_indices,
            indices=indices,
            codes=codes,
            num_negatives=self.num_negatives,
            temperature=self.temperature,
            reduction=self.reduction,
            num_items=num_items,
            generator=generator,
            row_offset=row_offset,
            sample_ids=sample_ids,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, num_negatives={self.num_negatives}, reduction={self.reduction!r}"


def wav2vec2_contrastive_loss(
    context: Tensor,
    targets: Tensor,
    mask_time_indices: Tensor | None = None,
    sampled_negative_indices: Tensor | None = None,
    *,
    indices: Tensor | None = None,
    codes: Tensor | None = None,
    num_negatives: int = 100,
    temperature: float = 0.1,
    reduction: str = "sum",
    num_items: float | Tensor | None = None,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """wav2vec 2.0's contrastive loss: each masked frame picks its quantised target out of K distractors.

    For a masked frame t with context c_t, target q_t and distractors q_k, and s = cos(c_t, q) / temperature:

        ``loss_t = log(exp(s_t) + sum_k exp(s_k)) - s_t``

    Distractors that equal the target are left out, as if their logit were -inf. transformers and fairseq gather the
    distractors, (K, B, T, D), and compare and normalise what is gathered; here each is read where it lies, nothing of
    that size is stored, and frames that are not masked are not read unless they are distractors.

    Args:
        context: (B, T, D), floating point: the transformer's outputs, projected (``project_hid``).
        targets: (B, T, D), floating point: the quantised features, projected (``project_q``).
        mask_time_indices: bool (B, T), True where masked. Default: None, where ``indices`` are given.
        sampled_negative_indices: (B, T, K) integers, flat positions among the B * T frames, such as
            :func:`sslfast.masking.sample_negatives` and transformers draw; with ``indices`` also (R, K), one row for
            each of them. Default: None, ``num_negatives`` are drawn among the other masked frames of the utterance: the
            draws of :func:`sslfast.masking.sample_negatives` with the same generator.
        indices: int64 (R,), flat positions of masked frames, each once, and -1 where there is none, instead of the
            mask. Default: None.
        codes: (B, T) or (B, T, G >= 1) integers, the codes of the targets. A distractor with the codes of its target is
            left out. Default: None, one with the same numbers in ``targets``, as in transformers and fairseq.
        num_negatives: K, where distractors are drawn. Default: 100.
        temperature: at least 1e-8. Default: 0.1.
        reduction: ``"sum"``, ``"mean"`` over masked frames, or ``"none"``. Default: ``"sum"``, as the peers have it.
        num_items: what ``"mean"`` is divided by instead of the number of masked frames, for gradient accumulation:
            those of all micro-batches. A number above 0, or a tensor of one, not waited for. Default: None.
        generator: None | torch.Generator | int seed | int64 seed tensor, of the draws. Default: None, torch's global
            generator.
        row_offset: global number of utterance 0 in the draws. Default: 0.
        sample_ids: int64 (B,), the number of each utterance in the draws. Default: None, ``row_offset`` and up.

    Returns:
        The loss, float32 or float64: a scalar, or for ``"none"`` (B, T), 0 where not masked, or with ``indices`` (R,).
        Where nothing is masked it is 0 with gradients of 0, and so is the part of a frame without distractors, such as
        the only masked one of its utterance. Norms below 1e-12 divide as 1e-12 (torch's cosine: 1e-8).

    Raises:
        TypeError: if a tensor has another kind of dtype than above, float64 is on a GPU, or a number is none.
        ValueError: if a shape, a device or a number is out of what is said above, neither or both of mask and
            ``indices`` are given, ``num_items`` goes without ``"mean"``, a position is out of range (on the
            CPU; a GPU is not waited for: there it makes the loss NaN), or an index comes twice (on the CPU; undefined
            on a GPU).
        RuntimeError: at a second derivative, which is not supported.

    Reference: Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
    NeurIPS 2020, section 3.2; transformers' Wav2Vec2ForPreTraining; fairseq's wav2vec criterion with ``infonce``.
    """
    name = "wav2vec2_contrastive_loss"
    check_floating(name, "context", context)
    check_floating(name, "targets", targets)
    if context.dim() != 3 or 0 in context.shape[1:]:
        raise ValueError(f"{name}: context must have shape (B, T, D) with T, D >= 1, got {tuple(context.shape)}")
    check_like(name, "context", context, "targets", targets)
    check_kernel_dtype(name, context, targets)
    temperature = divisor(name, "temperature", temperature)
    check_reduction(name, reduction)
    check_num_items(name, num_items, reduction, context)
    batch, length, _ = context.shape
    frames = batch * length
    if frames >= 2**31 - 1:
        raise ValueError(f"{name}: context must have fewer than 2^31 - 1 frames, got {frames}")
    index = _index_of(name, context, mask_time_indices, indices)
    negatives, of_rows = sampled_negative_indices, True
    if negatives is None:
        mask = mask_time_indices if mask_time_indices is not None else _mask_of(index, batch, length)
        num_negatives = _check.negatives(name, num_negatives, batch, length, True)
        sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, batch, context.device)
        seed = seed_tensor(generator, function=name, device=context.device)
        negatives = ops.negative_indices(mask, seed, sample_ids, num_negatives, torch.int32, row_offset).flatten(0, 1)
    else:
        check_generator(generator, function=name, device=context.device)
        of_rows = _check_negatives(name, context, negatives, indices)
        negatives = candidate_rows(name, "sampled_negative_indices", negatives, frames)
    if codes is not None:
        codes = _codes_of(name, context, codes)
    sampled = Sampled(
        index,
        index,
        negatives,
        codes=codes,
        scale=1.0 / temperature,
        cosine=True,
        twins=SAME_VALUES if codes is None else SAME_CODES,
        of_rows=of_rows,
    )
    loss = sampled_loss(name, context.flatten(0, 1), targets.flatten(0, 1), None, sampled, reduction, num_items)
    return loss.view(batch, length) if reduction == "none" and indices is None else loss


def diversity_loss(perplexity: Tensor, num_codevectors: int, num_masked: Tensor | float | None = None) -> Tensor:
    """wav2vec 2.0's diversity loss, which is small where a batch uses all codes alike.

    ``(num_codevectors - perplexity) / num_codevectors``, times the number of masked frames if that is given.

    Args:
        perplexity: floating point, a scalar: the sum over groups of exp of the entropy of the mean distribution of the
            codes, such as ``prob_perplexity`` of :class:`GumbelVectorQuantizer`.
        num_codevectors: codes of all groups together, G * V.
        num_masked: with the mask, bool of any shape, or the number of masked frames, the part that transformers adds,
            and fairseq's criterion, after ``diversity_weight`` 0.1. Default: None, the part that fairseq's model gives.

    Returns:
        A scalar of the dtype of ``perplexity``.

    Raises:
        TypeError: if ``perplexity`` is not a floating-point tensor, or a number is none.
        ValueError: if ``num_codevectors`` is below 1, a shape is another, or ``num_masked`` is negative.

    Reference: Baevski et al., "wav2vec 2.0", NeurIPS 2020, section 3.2; transformers' Wav2Vec2ForPreTraining.
    """
    name = "diversity_loss"
    check_floating(name, "perplexity", perplexity)
    if perplexity.numel() != 1:
        raise ValueError(f"{name}: perplexity must have one element, got shape {tuple(perplexity.shape)}")
    num_codevectors = _check.integer(name, "num_codevectors", num_codevectors, 1)
    loss = (num_codevectors - perplexity) / num_codevectors
    if num_masked is None:
        return loss
    if not isinstance(num_masked, Tensor):
        number = _check.real(name, "num_masked", num_masked)
        if number < 0:
            raise ValueError(f"{name}: num_masked must be at least 0, got {num_masked}")
        return loss * number
    strided(name, "num_masked", num_masked)
    check_device(name, "perplexity", perplexity, "num_masked", num_masked)
    if num_masked.dtype == torch.bool:
        # What counts is faster where it need not compare first.
        return loss * (num_masked.count_nonzero() if num_masked.is_cpu else num_masked.sum())
    if num_masked.numel() != 1:
        expected = "a bool mask or have one element"
        raise ValueError(f"{name}: num_masked must be {expected}, got shape {tuple(num_masked.shape)}")
    return loss * num_masked.reshape(())


def _index_of(function: str, context: Tensor, mask: Tensor | None, indices: Tensor | None) -> Tensor:
    """The flat positions of masked frames, -1 for none: those given, or one for every frame."""
    if (mask is None) == (indices is None):
        got = "neither" if mask is None else "both"
        raise ValueError(f"{function}: either mask_time_indices or indices must be given, got {got}")
    batch, length, _ = context.shape
    if mask is not None:
        of_dtype(function, "mask_time_indices", mask, torch.bool)
        if mask.shape != (batch, length):
            expected = f"({batch}, {length}), like context"
            raise ValueError(f"{function}: mask_time_indices must have shape {expected}, got {tuple(mask.shape)}")
        check_device(function, "context", context, "mask_time_indices", mask)
        return torch.where(mask.flatten(), torch.arange(batch * length, device=mask.device), -1)
    indices = of_dtype(function, "indices", indices, torch.int64)
    if indices.dim() != 1:
        raise ValueError(f"{function}: indices must have shape (R,), got {tuple(indices.shape)}")
    check_device(function, "context", context, "indices", indices)
    in_range(function, "indices", indices, -1, batch * length - 1)
    each_once(function, "indices", indices, batch * length)
    return indices.contiguous()


def _mask_of(index: Tensor, batch: int, length: int) -> Tensor:
    """Where the positions are; what is none goes to a place behind the frames."""
    frames = batch * length
    mask = torch.zeros(frames + 1, dtype=torch.bool, device=index.device)
    mask[torch.where((index < 0) | (index >= frames), frames, index)] = True
    return mask[:frames].view(batch, length)


def _check_negatives(function: str, context: Tensor, negatives: Tensor, indices: Tensor | None) -> bool:
    """Whether there are negatives of every frame, and not of each index."""
    name = "sampled_negative_indices"
    check_integers(function, name, negatives)
    check_device(function, "context", context, name, negatives)
    if negatives.dim() == 3 and negatives.shape[:2] == context.shape[:2]:
        return True
    if indices is not None and negatives.dim() == 2 and len(negatives) == len(indices):
        return False
    batch, length, _ = context.shape
    expected = f"({batch}, {length}, K)" + ("" if indices is None else f" or ({len(indices)}, K)")
    raise ValueError(f"{function}: {name} must have shape {expected}, got {tuple(negatives.shape)}")


def _codes_of(function: str, context: Tensor, codes: Tensor) -> Tensor:
    """(B * T, G) int64."""
    check_integers(function, "codes", codes)
    check_device(function, "context", context, "codes", codes)
    batch, length, _ = context.shape
    if codes.dim() not in (2, 3) or codes.shape[:2] != (batch, length) or 0 in codes.shape[2:]:
        expected = f"({batch}, {length}) or ({batch}, {length}, G) with G >= 1"
        raise ValueError(f"{function}: codes must have shape {expected}, got {tuple(codes.shape)}")
    return codes.reshape(batch * length, -1).long().contiguous()
