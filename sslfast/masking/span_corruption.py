"""Span corruption for text-to-text models."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.host.span_corruption import check_numbers, t5_lengths
from sslfast.masking._arguments import numbered_rows, row_lengths, strided
from sslfast.masking.mask_indices import compact
from sslfast.random import Generator, seed_tensor

__all__ = ["CorruptedSpans", "CountedTargets", "corrupt_spans", "t5_lengths"]


class CorruptedSpans(NamedTuple):
    """What the encoder reads and the decoder predicts.

    Attributes:
        inputs: (N, input length), dtype of the ids: the kept tokens, each noise span replaced by its sentinel.
        targets: (N, target length), dtype of the ids: each sentinel and the noise that it stands for.
        input_lengths: int64 (N,), how many of a row's inputs are not padding.
    """

    inputs: Tensor
    targets: Tensor
    input_lengths: Tensor


class CountedTargets(NamedTuple):
    """:class:`CorruptedSpans` and the compact form of the targets, what losses take: :func:`corrupt_spans` with
    ``return_counts``.

    Attributes:
        inputs, targets, input_lengths: as of :class:`CorruptedSpans`.
        indices: int64 (N * target length,), the flat positions with a target in ascending order, then -1: those that
            are not ``ignore_index``.
        counts: int64 (N,), how many of each row.
    """

    inputs: Tensor
    targets: Tensor
    input_lengths: Tensor
    indices: Tensor
    counts: Tensor


def corrupt_spans(
    ids: Tensor,
    *,
    sentinel_id: int,
    eos_token_id: int | None = 1,
    pad_token_id: int = 0,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    descending: bool = True,
    ignore_index: int = -100,
    lengths: Tensor | None = None,
    mode: str = "exact",
    return_counts: bool = False,
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> CorruptedSpans | Any:
    """Replaces spans of tokens by sentinels, as T5 is pretrained, and writes encoder inputs and decoder targets.

    A row of ``length`` tokens has exactly ``round(length * noise_density)`` tokens of noise (at least 1, and at least
    one is kept) in exactly ``round(noise / mean_noise_span_length)`` spans (at least 1, and two spans never touch);
    both are rounded half to even. The inputs are what is kept with sentinel k in the place of span k, the targets are
    sentinel k followed by span k, for all k; both end with EOS. The numbers, and so the shapes, do not depend on the
    draws.

    In ``"exact"`` mode every mask with these two numbers is equally likely. ``"compat"`` is the distribution of T5 and
    of transformers' example: a row never begins with noise and always ends with it, so that a row short enough for one
    span (20 tokens, say) always loses its last tokens. Where that code fails or gives rows of other lengths, because
    there are more spans than kept tokens or the text contains the padding id, both modes are right: spans become
    fewer, and ids mean nothing to the rule. A row of less than two tokens is not corrupted.

    The draws depend on (seed, number of the row, token position) alone. ``ids`` is not changed. One launch and no host
    synchronisation on a GPU.

    Args:
        ids: token ids, shape (N, L), int64 or int32, any strides. :func:`t5_lengths` says which L fills an encoder.
        sentinel_id: the id of the first span's sentinel (``<extra_id_0>``), 32099 in T5.
        eos_token_id: ends inputs and targets. Default: 1; None leaves it out.
        pad_token_id: fills up the inputs. Default: 0.
        noise_density: share of the tokens that is noise, in (0, 1). Default: 0.15.
        mean_noise_span_length: mean length of a span, at least 1. Default: 3.0.
        descending: whether the second sentinel is ``sentinel_id - 1``, as in T5, or one more. Default: True.
        ignore_index: fills up the targets. Default: -100.
        lengths: integer (N,), the tokens of each row that count, in [0, L]; on a GPU and under torch.compile,
            where they are not looked at, numbers outside count as the nearest of the two. Default: None, all L.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        return_counts: whether the result has where targets are too, on a GPU three launches more. Default: False.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0, for shards of a larger batch. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set: a sample is then
            masked alike wherever a loader puts it. Default: None, ``row_offset`` and up.

    Returns:
        ``CorruptedSpans(inputs, targets, input_lengths)``: L - noise + spans + 1 and noise + spans + 1 columns for a
        full row, one less without EOS. With ``return_counts``
        ``CountedTargets(inputs, targets, input_lengths, indices, counts)``.

    Raises:
        TypeError: ``ids``, ``lengths`` or ``sample_ids`` is not a tensor of the dtypes above, or a number has the wrong
            type.
        ValueError: a shape, device, number or mode, or on the CPU one of ``lengths``, is out of range, the ids below
            ``sentinel_id`` (above it where ascending) are fewer than the spans, ``eos_token_id``, ``pad_token_id`` or
            ``ignore_index`` is one of the sentinels of a full row, or the generator is on another GPU.

    Reference: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
    2020, section 3.1.4; google-research/text-to-text-transfer-transformer, ``random_spans_noise_mask``.
    """
    name = "corrupt_spans"
    strided(name, "ids", ids)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}: ids must be int64 or int32, got {ids.dtype}")
    if ids.dim() != 2:
        raise ValueError(f"{name}: ids must have shape (N, L), got {tuple(ids.shape)}")
    lengths = row_lengths(name, lengths, ids.shape[0], ids.device, ids.shape[1])
    numbers = check_numbers(
        name,
        ids.shape[1],
        32 if ids.dtype == torch.int32 else 64,
        sentinel_id,
        eos_token_id,
        pad_token_id,
        noise_density,
        mean_noise_span_length,
        descending,
        ignore_index,
        mode,
    )
    return_counts = _check.boolean(name, "return_counts", return_counts)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, ids.shape[0], ids.device)
    seed = seed_tensor(generator, function=name, device=ids.device)
    out = CorruptedSpans(*ops.span_corruption(ids, lengths, seed, sample_ids, *numbers, row_offset))
    return CountedTargets(*out, *compact(out.targets != ignore_index)) if return_counts else out
