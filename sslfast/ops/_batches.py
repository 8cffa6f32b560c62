"""Images of a batch mixed with one another, and boxes erased: C++ on the CPU, CUDA on the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = [
    "batch_mix",
    "batch_mix_",
    "batch_mix_backward",
    "batch_mix_params",
    "erase_boxes",
    "erase_boxes_",
    "mix_targets",
    "random_erase",
    "random_erase_",
    "random_erase_params",
]


def _like_images(x: Tensor) -> Tensor:
    """Contiguous, with the channels last where the lines of ``x`` are pixels' channels."""
    rows, channels, height, width = x.shape
    if x.stride(3) == 1 or width <= 1:
        return x.new_empty(x.shape)
    return x.new_empty((rows, height, width, channels)).permute(0, 3, 1, 2)


# ---- batch_mix_params, batch_mix, batch_mix_, batch_mix_backward, mix_targets

batch_mix_params = torch.ops.sslfast.batch_mix_params.default
batch_mix = torch.ops.sslfast.batch_mix.default
batch_mix_ = torch.ops.sslfast.batch_mix_.default
batch_mix_backward = torch.ops.sslfast.batch_mix_backward.default
mix_targets = torch.ops.sslfast.mix_targets.default


@torch.library.register_fake("sslfast::batch_mix_params")
def _(like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, *args: object) -> Tensor:
    return like.new_empty((rows, 7), dtype=torch.float32)


@torch.library.register_fake("sslfast::batch_mix")
def _(x: Tensor, params: Tensor) -> Tensor:
    return _like_images(x)


@torch.library.register_fake("sslfast::batch_mix_")
def _(x: Tensor, params: Tensor) -> None:
    return None


@torch.library.register_fake("sslfast::batch_mix_backward")
def _(grad: Tensor, params: Tensor, users: Tensor, starts: Tensor) -> Tensor:
    return _like_images(grad)


@torch.library.register_fake("sslfast::mix_targets")
def _(labels: Tensor, params: Tensor, classes: int, label_smoothing: float) -> Tensor:
    return params.new_empty((labels.shape[0], classes))


# ---- random_erase_params, random_erase, random_erase_, erase_boxes, erase_boxes_

random_erase_params = torch.ops.sslfast.random_erase_params.default
random_erase = torch.ops.sslfast.random_erase.default
random_erase_ = torch.ops.sslfast.random_erase_.default
erase_boxes = torch.ops.sslfast.erase_boxes.default
erase_boxes_ = torch.ops.sslfast.erase_boxes_.default


@torch.library.register_fake("sslfast::random_erase_params")
def _(like: Tensor, seed: Tensor, sample_ids: Tensor | None, rows: int, *args: object) -> Tensor:
    return like.new_empty((rows, 6), dtype=torch.float32)


@torch.library.register_fake("sslfast::random_erase")
def _(x: Tensor, *args: object) -> tuple[Tensor, Tensor]:
    return _like_images(x), x.new_empty((x.shape[0], 6), dtype=torch.float32)


@torch.library.register_fake("sslfast::random_erase_")
def _(x: Tensor, *args: object) -> Tensor:
    return x.new_empty((x.shape[0], 6), dtype=torch.float32)


@torch.library.register_fake("sslfast::erase_boxes")
def _(x: Tensor, *args: object) -> Tensor:
    return _like_images(x)


@torch.library.register_fake("sslfast::erase_boxes_")
def _(x: Tensor, *args: object) -> None:
    return None
