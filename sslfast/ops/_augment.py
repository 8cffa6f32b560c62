"""Augmentation: C++ on the CPU, CUDA on the GPU, where the gradient is plain torch (sslfast.augment registers it)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslfast.ops import _library as _library

__all__ = ["image_augment", "image_augment_backward", "image_augment_out", "image_augment_params"]

_COLUMNS = (10, 6, 1, 2, 2, 1, 1, 1, 2, 2, 8, 2)  # of the steps, by code

image_augment_params = torch.ops.sslfast.image_augment_params.default
image_augment = torch.ops.sslfast.image_augment.default
image_augment_out = torch.ops.sslfast.image_augment_out.default
image_augment_backward = torch.ops.sslfast.image_augment_backward.default


@torch.library.register_fake("sslfast::image_augment_params")
def _(
    like: Tensor,
    seed: Tensor,
    sample_ids: Tensor | None,
    row_offset: int,
    rows: int,
    views: int,
    first_view: int,
    sizes: Tensor | None,
    height: int,
    width: int,
    codes: list[int],
    rules: list[float],
    erases: Sequence[float] = (),
) -> Tensor:
    columns = sum(_COLUMNS[code] for code in codes) + len(erases) // 5 * 6
    return like.new_empty((rows, views, columns), dtype=torch.float32)


@torch.library.register_fake("sslfast::image_augment")
def _(
    images: list[Tensor],
    params: Tensor,
    table: Tensor | None,
    codes: list[int],
    settings: list[float],
    height: int,
    width: int,
    mean: list[float],
    std: list[float],
    dtype: torch.dtype,
    channels_last: bool,
    erases: Sequence[float] = (),
) -> Tensor:
    rows, views, channels = params.shape[0], params.shape[1], images[0].shape[-3]
    if channels_last:
        return params.new_empty((views, rows, height, width, channels), dtype=dtype).permute(0, 1, 4, 2, 3)
    return params.new_empty((views, rows, channels, height, width), dtype=dtype)


@torch.library.register_fake("sslfast::image_augment_out")
def _(images: list[Tensor], params: Tensor, *args: object) -> None:
    return None


@torch.library.register_fake("sslfast::image_augment_backward")
def _(grad: Tensor, images: Tensor, *args: object) -> Tensor:
    return grad.new_empty(images.shape, dtype=images.dtype)
