"""Negatives among the masked frames of the same utterance."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check, ops
from sslfast.masking._arguments import numbered_rows
from sslfast.random import Generator, seed_tensor


def sample_negatives(
    mask_time_indices: Tensor,
    num_negatives: int,
    *,
    dtype: torch.dtype = torch.int32,
    mode: str = "exact",
    generator: Generator = None,
    row_offset: int = 0,
    sample_ids: Tensor | None = None,
) -> Tensor:
    """For every masked frame, ``num_negatives`` other masked frames of its row, as wav2vec 2.0's contrastive loss.

    Each is drawn with replacement, uniform over the other masked frames: the distribution of transformers'
    ``_sample_negative_indices`` and, for one utterance, of fairseq's ``sample_negatives``, in either mode. The draws
    depend on (seed, number of the row, frame, negative) and on the row's mask. No host synchronisation on a GPU.

    Args:
        mask_time_indices: bool (N, T), True where masked, any strides, T at least 1. To sample among all frames, or all
            up to a length, that is what it marks: ``torch.ones(N, T, dtype=torch.bool)`` or ``torch.arange(T) <
            lengths[:, None]``.
        num_negatives: negatives per frame K, at least 1.
        dtype: torch.int32 or torch.int64. Default: torch.int32, as transformers has it.
        mode: ``"exact"`` or ``"compat"``; both are the peer's distribution, the same bits. Default: ``"exact"``.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
        row_offset: global index of row 0 in the draws, for shards of a larger batch; the result counts from the first
            row of this one. Default: 0.
        sample_ids: int64 (N,), the number of each row in the draws, such as its index in the data set. Default: None,
            ``row_offset`` and up.

    Returns:
        (N, T, K) of ``dtype``: flat positions ``row * T + frame`` among the N * T frames. Where ``mask_time_indices``
        is False they are ``row * T``, as in transformers. The only masked frame of a row has no other: it gets itself
        (transformers raises), which a loss that excludes negatives equal to the positive leaves out.

    Raises:
        TypeError: ``mask_time_indices`` is not a bool tensor, or another argument has the wrong type.
        ValueError: a shape or number is out of range, ``dtype`` is neither of the two or too narrow for N * T, there is
            no such mode, or the generator is on another GPU.

    Reference: Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations",
    NeurIPS 2020, section 3.2.
    """
    name = "sample_negatives"
    mask = mask_time_indices
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{name}: mask_time_indices must be a bool tensor, got {got}")
    if mask.dim() != 2 or mask.shape[1] < 1:
        raise ValueError(f"{name}: mask_time_indices must have shape (N, T) with T >= 1, got {tuple(mask.shape)}")
    if dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name}: dtype must be torch.int32 or torch.int64, got {dtype}")
    num_negatives = _check.negatives(name, num_negatives, mask.shape[0], mask.shape[1], dtype == torch.int32)
    _check.mode_is_exact(name, mode)
    sample_ids, row_offset = numbered_rows(name, sample_ids, row_offset, mask.shape[0], mask.device)
    seed = seed_tensor(generator, function=name, device=mask.device)
    return ops.negative_indices(mask, seed, sample_ids, num_negatives, dtype, row_offset)
