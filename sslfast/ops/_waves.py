"""Augmentation of waveforms, and frames of videos: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["audio_augment", "audio_augment_params", "audio_noise", "frame_indices"]

_AUDIO_COLUMNS = 13


# ---- audio_augment_params, audio_augment, audio_noise

audio_augment_params = torch.ops.sslfast.audio_augment_params.default
audio_augment = torch.ops.sslfast.audio_augment.default
audio_noise = torch.ops.sslfast.audio_noise.default


@torch.library.register_fake("sslfast::audio_augment_params")
def _(
    like: Tensor, seed: Tensor, sample_ids: Tensor | None, lengths: Tensor | None, rows: int, *args: object
) -> Tensor:
    return like.new_empty((rows, _AUDIO_COLUMNS), dtype=torch.float64)


@torch.library.register_fake("sslfast::audio_augment")
def _(x: Tensor, *args: object) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("sslfast::audio_noise")
def _(params: Tensor, channels: int, length: int) -> Tensor:
    return params.new_empty((params.shape[0], channels, length), dtype=torch.float32)


# ---- frame_indices

frame_indices = torch.ops.sslfast.frame_indices.default


@torch.library.register_fake("sslfast::frame_indices")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    lengths: Tensor | None,
    rows: int,
    frames: int,
    clips: int,
    clip_length: int,
    *args: object,
) -> Tensor:
    return like.new_empty((rows, clips, clip_length), dtype=torch.int64)
