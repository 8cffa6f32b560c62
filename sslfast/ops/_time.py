"""Masks of time series and of spectrograms, negatives among frames: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = [
    "fairseq_span_mask",
    "negative_indices",
    "spec_augment",
    "spec_augment_",
    "spec_mean",
    "spec_zero",
    "time_span_mask",
]


# ---- time_span_mask, fairseq_span_mask

time_span_mask = torch.ops.sslfast.time_span_mask.default
fairseq_span_mask = torch.ops.sslfast.fairseq_span_mask.default


@torch.library.register_fake("sslfast::time_span_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    rows: int,
    length: int,
    *args: object,
) -> Tensor:
    return like.new_empty((rows, length), dtype=torch.bool)


@torch.library.register_fake("sslfast::fairseq_span_mask")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    rows: int,
    length: int,
    *args: object,
) -> tuple[Tensor, Tensor]:
    return like.new_empty((rows, length), dtype=torch.bool), like.new_empty((rows,), dtype=torch.int64)


# ---- negative_indices

negative_indices = torch.ops.sslfast.negative_indices.default


@torch.library.register_fake("sslfast::negative_indices")
def _(
    mask: Tensor, seed: Tensor, sample_ids: Tensor | None, negatives: int, dtype: torch.dtype, row_offset: int
) -> Tensor:
    return mask.new_empty((*mask.shape, negatives), dtype=dtype)


# ---- spec_augment, spec_augment_, spec_mean, spec_zero

spec_augment = torch.ops.sslfast.spec_augment.default
spec_augment_ = torch.ops.sslfast.spec_augment_.default
spec_mean = torch.ops.sslfast.spec_mean.default
spec_zero = torch.ops.sslfast.spec_zero.default


def _intervals(spec: Tensor, bin_masks: int, frame_masks: int) -> Tensor:
    return spec.new_empty((*spec.shape[:2], bin_masks + frame_masks, 3), dtype=torch.int32)


@torch.library.register_fake("sslfast::spec_augment")
def _(
    spec: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    values: Tensor | None,
    mask_value: float,
    bin_masks: int,
    bin_param: int,
    frame_masks: int,
    *args: object,
) -> tuple[Tensor, Tensor]:
    return spec.new_empty(spec.shape), _intervals(spec, bin_masks, frame_masks)


@torch.library.register_fake("sslfast::spec_augment_")
def _(
    spec: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    values: Tensor | None,
    mask_value: float,
    bin_masks: int,
    bin_param: int,
    frame_masks: int,
    *args: object,
) -> Tensor:
    return _intervals(spec, bin_masks, frame_masks)


@torch.library.register_fake("sslfast::spec_mean")
def _(spec: Tensor, lengths: Tensor | None, whole_batch: bool) -> Tensor:
    return spec.new_empty((spec.shape[0] * spec.shape[1],))


@torch.library.register_fake("sslfast::spec_zero")
def _(grad: Tensor, intervals: Tensor, bin_masks: int) -> Tensor:
    return grad.new_empty(grad.shape)
