"""Arguments of what works on batches of floating-point images."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast import _check

_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_SIDE = 2**24  # the largest integer up to which float32 counts exactly
MOST_IN_PLACE = 8192


def check_batch(function: str, images: Tensor, *, bytes_too: bool = False) -> None:
    """Raises TypeError or ValueError unless ``images`` is (N, C, H, W) of floats, or of uint8, with H, W >= 1."""
    if not isinstance(images, Tensor):
        raise TypeError(f"{function}: images must be a tensor, got {type(images).__name__}")
    if images.dtype not in _TYPES and not (bytes_too and images.dtype == torch.uint8):
        types = "bfloat16, float16, float64 or uint8" if bytes_too else "bfloat16, float16 or float64"
        raise TypeError(f"{function}: images must be float32, {types}, got {images.dtype}")
    if images.dim() != 4:
        raise ValueError(f"{function}: images must have shape (N, C, H, W), got {tuple(images.shape)}")
    if images.shape[0] > _SIDE or not (1 <= images.shape[2] <= _SIDE and 1 <= images.shape[3] <= _SIDE):
        raise ValueError(f"{function}: images must have N, H and W of at most {_SIDE}, got {tuple(images.shape)}")


def in_lines(images: Tensor) -> Tensor:
    """``images``, copied unless its lines are contiguous pixels, or contiguous channels of pixels."""
    return images if _has_lines(images) else images.contiguous()


def check_in_place(function: str, images: Tensor) -> None:
    """Raises ValueError unless ``images`` can be changed where it lies."""
    if any(stride == 0 < size - 1 for size, stride in zip(images.shape, images.stride(), strict=True)):
        raise ValueError(f"{function}: images must not be expanded where inplace, got strides {images.stride()}")
    if not _has_lines(images):
        got = f"strides {images.stride()}"
        raise ValueError(f"{function}: images must have contiguous lines, or channels last, where inplace, got {got}")


def _has_lines(images: Tensor) -> bool:
    _, channels, _, width = images.shape
    if images.stride(3) == 1 or width <= 1:
        return True
    return images.stride(3) == channels and (images.stride(1) == 1 or channels <= 1)


def check_params(function: str, params: Tensor, images: Tensor, columns: int) -> Tensor:
    """Returns ``params`` as the operators take them.

    Raises:
        TypeError: if it is no float32 tensor.
        ValueError: if it has another shape than (N, ``columns``), or is on another device than ``images``.
    """
    if not isinstance(params, Tensor) or params.dtype != torch.float32:
        got = params.dtype if isinstance(params, Tensor) else type(params).__name__
        raise TypeError(f"{function}: params must be a float32 tensor, got {got}")
    if params.shape != (images.shape[0], columns):
        raise ValueError(
            f"{function}: params must have shape ({images.shape[0]}, {columns}), got {tuple(params.shape)}"
        )
    if params.device != images.device:
        raise ValueError(f"{function}: params must be on {images.device}, like images, got {params.device}")
    return params.detach().contiguous()


def check_size(function: str, image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of images; raises TypeError or ValueError."""
    if not isinstance(image_size, (tuple, list)) or len(image_size) != 2:
        raise ValueError(f"{function}: image_size must be (height, width), got {image_size}")
    height, width = (_check.integer(function, "image_size", side, 1, _SIDE) for side in image_size)
    return height, width
