"""Batches and lists of images: what transforms take, and what they check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from sslfast._image_plan import Plan
from sslfast._image_steps import FLAT, MAX_CHANNELS, MAX_SIDE

Images: TypeAlias = "Tensor | Sequence[Tensor]"

DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)


def sizes_of(images: Images) -> list[tuple[int, int]]:
    """(height, width) of each image, or of all of them once."""
    if isinstance(images, Tensor):
        *_, height, width = images.shape
        return [(height, width)]
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    return sizes[:1] if len(set(sizes)) == 1 else sizes


def has_channels_last(images: Images) -> bool:
    """Whether a batch has the channels last, and views shall."""
    if not isinstance(images, Tensor) or images.is_contiguous() or images.shape[1] == 1:
        return False
    return images.is_contiguous(memory_format=torch.channels_last)


def last_in_views(name: str, images: Images, memory_format: torch.memory_format | None) -> bool:
    """Whether views shall have the channels last: as the images, unless a format is asked for."""
    if memory_format is None:
        return has_channels_last(images)
    if memory_format not in (torch.contiguous_format, torch.channels_last):
        got = memory_format if isinstance(memory_format, torch.memory_format) else type(memory_format).__name__
        raise ValueError(f"{name}: memory_format must be torch.contiguous_format or torch.channels_last, got {got}")
    channels = images.shape[1] if isinstance(images, Tensor) else images[0].shape[0]
    return memory_format == torch.channels_last and channels > 1


def wants_gradient(images: Images) -> bool:
    """Whether a backward pass may come to the images."""
    if isinstance(images, Tensor):  # not to be walked through: a view of every row takes longer than a small call
        return images.requires_grad and torch.is_grad_enabled()
    return torch.is_grad_enabled() and any(image.requires_grad for image in images)


def address_table(name: str, images: list[Tensor], argument: str = "images") -> Tensor | None:
    """Where a GPU finds the images of a list: address, height, width and strides of each."""
    if images[0].dim() == 4 or not images[0].is_cuda:
        return None
    rows = [(x.data_ptr(), x.shape[1], x.shape[2], *x.stride()) for x in images]
    return table_on(name, images[0].device, rows, argument)


def table_on(name: str, device: torch.device, rows: Sequence[tuple[int, ...]], argument: str = "images") -> Tensor:
    """Whole numbers of a list of images, without waiting for a GPU.

    Raises:
        ValueError: in the capture of a CUDA graph, which would replay what is no longer there.
    """
    table = torch.tensor(rows, dtype=torch.int64)
    if device.type != "cuda":
        return table
    if torch.cuda.is_current_stream_capturing():
        raise ValueError(f"{name}: {argument} must be one tensor (N, C, H, W) in a CUDA graph's capture, got a list")
    return table.pin_memory().to(device, non_blocking=True)


def check_images(name: str, images: Images) -> None:
    """Raises TypeError or ValueError unless ``images`` is a batch (N, C, H, W) or a sequence of (C, H, W)."""
    if isinstance(images, Tensor):
        shape = images.shape  # asked for once: a small call would notice
        if len(shape) != 4:
            raise ValueError(f"{name}: images must have shape (N, C, H, W), got {tuple(shape)}")
        _, channels, height, width = shape
        sized = 1 <= channels <= MAX_CHANNELS and 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE
        if sized and images.dtype in DTYPES:
            return
        one = images
    elif isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        if len(images) == 0:
            raise ValueError(f"{name}: images must be a batch or a sequence of at least one image, got {images!r:.40}")
        for i, image in enumerate(images):
            if not isinstance(image, Tensor):
                raise TypeError(f"{name}: images[{i}] must be a tensor, got {type(image).__name__}")
            if image.dim() != 3:
                raise ValueError(f"{name}: images[{i}] must have shape (C, H, W), got {tuple(image.shape)}")
            alike = (image.shape[0], image.dtype, image.device) == (
                images[0].shape[0],
                images[0].dtype,
                images[0].device,
            )
            if not alike:
                raise ValueError(
                    f"{name}: images must have one number of channels, dtype and device, got {tuple(image.shape)}, "
                    f"{image.dtype}, {image.device} at {i}"
                )
            _check_side(name, image)
        one = images[0]
    else:
        raise TypeError(f"{name}: images must be a tensor or a sequence of tensors, got {type(images).__name__}")
    if one.dtype not in DTYPES:
        raise TypeError(f"{name}: images must be uint8, float32, bfloat16 or float16, got {one.dtype}")
    if not 1 <= one.shape[-3] <= MAX_CHANNELS:
        raise ValueError(f"{name}: images must have 1 to {MAX_CHANNELS} channels, got shape {tuple(one.shape)}")
    _check_side(name, one)


def _check_side(name: str, image: Tensor) -> None:
    if not (1 <= image.shape[-2] <= MAX_SIDE and 1 <= image.shape[-1] <= MAX_SIDE):
        raise ValueError(f"{name}: images must have height and width in [1, 2^24], got shape {tuple(image.shape)}")


def check_params(name: str, params: Tensor, images: Images, columns: int) -> None:
    """Raises TypeError or ValueError unless ``params`` is float32 (N, columns) on the images' device."""
    if not isinstance(params, Tensor):
        raise TypeError(f"{name}: params must be a tensor, got {type(params).__name__}")
    if params.dtype != torch.float32:
        raise TypeError(f"{name}: params must be float32, got {params.dtype}")
    if params.requires_grad:
        raise ValueError(f"{name}: params must not require a gradient, which they get none of; detach them")
    if params.shape != (len(images), columns):
        raise ValueError(f"{name}: params must have shape ({len(images)}, {columns}), got {tuple(params.shape)}")
    device = images.device if isinstance(images, Tensor) else images[0].device
    if params.device != device:
        raise ValueError(f"{name}: params must be on {device}, like images, got {params.device}")


def check_contrast(name: str, plan: Plan, params: Tensor) -> None:
    """Raises ValueError where ``params`` has a contrast that is never drawn. Elsewhere than on a CPU reading them would
    wait: there such a view is NaN.
    """
    if params.is_cpu and not torch.compiler.is_compiling():
        plan.check_contrast(name, params)


def check_differentiable(name: str, plan: Plan, images: list[Tensor], params: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError where images want a gradient that there is not."""
    flat = sorted({step.name for segment in plan.segments for step in segment.steps} & FLAT)
    if flat:
        raise ValueError(f"{name}: images must not require a gradient, which {flat[0]} has none of; detach them")
    if images[0].dim() == 3:
        raise ValueError(f"{name}: images that require a gradient must be one batch (N, C, H, W), got a list")
    if params.shape[1] > 1:
        raise ValueError(f"{name}: images that require a gradient must be given to one transform at a time")
    if dtype == torch.uint8:
        raise ValueError(f"{name}: images that require a gradient need views of floats, got torch.uint8")


def _reach(tensor: Tensor) -> tuple[int, int]:
    """First and last address of its memory, the last one past the end."""
    most = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (most + 1) * tensor.element_size()


def check_apart(name: str, out: Tensor, images: list[Tensor]) -> None:
    """Raises ValueError where views would be written over images that are still read."""
    if torch.compiler.is_compiling() or out.numel() == 0:
        return
    first, last = _reach(out)
    for image in images:
        begin, end = _reach(image)
        if begin < last and first < end:
            raise ValueError(f"{name}: out must not share memory with images, got a tensor that does")


def check_out(name: str, out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Raises TypeError or ValueError unless ``out`` can take the views."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: out must be a tensor, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: out must be {dtype}, got {out.dtype}")
    if torch.is_grad_enabled() and out.requires_grad:
        raise ValueError(f"{name}: out must not require a gradient, which what is written there has none of")
    dense = out.is_contiguous() or out.is_contiguous(memory_format=torch.channels_last)
    if out.shape != shape or out.device != device or not dense:
        raise ValueError(
            f"{name}: out must be dense, of shape {shape} on {device}, got {tuple(out.shape)}, strides {out.stride()} "
            f"on {out.device}"
        )
