"""The base of all image transforms: checks, draws and the way to the operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sslfast import _check, ops
from sslfast.augment._plan import COLOUR, Plan, Segment
from sslfast.random import Generator, seed_tensor

Images: TypeAlias = "Tensor | Sequence[Tensor]"

MAX_SIDE, MAX_CHANNELS = 2**24, 32
DTYPES = (torch.uint8, torch.float32, torch.bfloat16, torch.float16)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Transform(nn.Module):
    """What every image transform can do: be called on a batch, draw its parameters, replay them.

    A subclass says in ``_add`` what it asks of a plan.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: Plan | None = None

    def _add(self, plan: Plan) -> None:
        raise TypeError(f"{type(self).__name__}: is not a transform by itself")

    @property
    def _plan(self) -> Plan:
        if self._made is None:
            self._made = Plan()
            self._add(self._made)
        return self._made

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a parameter tensor. A name that comes again has its count behind it."""
        seen: dict[str, int] = {}
        names = []
        for segment in self._plan.segments:
            for name in segment.columns:
                seen[name] = seen.get(name, 0) + 1
                names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        return tuple(names)

    def forward(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """Transforms a batch, every image with draws of its own.

        Args:
            images: uint8, float32, bfloat16 or float16, shape (N, C, H, W), C 1 to 32, any strides; floats lie in
                [0, 1]. Or a sequence of N tensors (C, H, W) that may differ in height and width.
            generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.
            row_offset: global index of row 0, for shards of a larger batch. Default: 0.
            sample_ids: int64, shape (N,), the numbers of the rows in the draws, instead of ``row_offset``.

        Returns:
            A tensor of shape (N, C, h, w): of the dtype that ``ToDtype`` says, else uint8 for uint8 images that are
            not normalised, else float32. Dense, with the channels last if the batch has them last.

        Raises:
            TypeError: ``images``, ``generator``, ``row_offset`` or ``sample_ids`` has the wrong type.
            ValueError: a shape or a number is out of range, a colour transform meets other than 1 or 3 channels, or
                images of several sizes meet transforms that keep them.
        """
        params = self.sample_params(images, generator=generator, row_offset=row_offset, sample_ids=sample_ids)
        return self.apply_params(images, params)

    def sample_params(
        self,
        images: Images,
        *,
        generator: Generator = None,
        row_offset: int = 0,
        sample_ids: Tensor | None = None,
    ) -> Tensor:
        """The parameters that ``forward`` would draw: float32 (N, len(columns)). Takes and raises what it does."""
        name = type(self).__name__
        check_images(name, images)
        return self._sample(images, 1, 0, generator, row_offset, sample_ids, name).squeeze(1)

    def apply_params(self, images: Images, params: Tensor, *, out: Tensor | None = None) -> Tensor:
        """The views that ``params`` describes. (``nn.Module.apply`` is something else.)

        Args:
            images: as in ``forward``.
            params: float32, shape (N, len(columns)), on the device of ``images``: from ``sample_params`` or by hand.
                Not read on the host: what is out of range is clipped.
            out: where to write, of the shape and dtype that would be returned, dense in either layout. Default: None.

        Returns:
            The views, as ``forward``; ``out`` if it is given.

        Raises:
            TypeError: a type is wrong.
            ValueError: a shape or device is.
        """
        name = type(self).__name__
        check_images(name, images)
        check_params(name, params, images, len(self.columns))
        return self._apply(images, params.unsqueeze(1), name, out)[0]

    def _sample(
        self,
        images: Images,
        views: int,
        first_view: int,
        generator: Generator,
        row_offset: int,
        sample_ids: Tensor | None,
        name: str,
    ) -> Tensor:
        """(N, views, columns). Segments count as views of their own in the draws."""
        plan, rows = self._plan, len(images)
        device = images.device if isinstance(images, Tensor) else images[0].device
        offset = _check.integer(name, "row_offset", row_offset, 0)
        ids = check_sample_ids(name, sample_ids, rows, device)
        seed = seed_tensor(generator, function=name, device=device)
        sizes = sizes_of(images)
        parts = []
        for number, segment in enumerate(plan.segments):
            height, width = sizes[0]
            table = None if len(sizes) == 1 else torch.tensor(sizes).to(device, non_blocking=True)
            size = self._view_size(segment, sizes, name)
            parts.append(
                ops.image_augment_params(
                    torch.empty((), device=device),
                    seed,
                    ids,
                    offset,
                    rows,
                    views,
                    first_view + number * _SEGMENT,
                    table,
                    height,
                    width,
                    segment.codes,
                    segment.rules(size),
                )
            )
            sizes = [size]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _apply(self, images: Images, params: Tensor, name: str, out: Tensor | None = None) -> Tensor:
        """(V, N, C, h, w) from (N, V, columns)."""
        plan = self._plan
        views, start = params.shape[1], 0
        current = list(images) if not isinstance(images, Tensor) else [images]
        channels = current[0].shape[-3]
        check_channels(name, plan, channels)
        mean, std = normalisation(plan, channels, name)
        sizes = sizes_of(images)
        source_dtype = current[0].dtype
        dtype = plan.dtype or (torch.uint8 if source_dtype == torch.uint8 and plan.mean is None else torch.float32)
        last = isinstance(images, Tensor) and channels > 1 and images.is_contiguous(memory_format=torch.channels_last)
        last = last and not images.is_contiguous()
        for number, segment in enumerate(plan.segments):
            size = self._view_size(segment, sizes, name)
            final = number == len(plan.segments) - 1
            part = params[..., start : start + len(segment.columns)].contiguous()
            start += len(segment.columns)
            zeros, ones = [0.0] * channels, [1.0] * channels
            table = address_table(current)
            centre, spread = (mean, std) if final else (zeros, ones)
            if final and out is not None:
                check_out(name, out, (len(images), channels, *size), dtype, params.device)
                ops.image_augment_out(current, part, table, segment.codes, segment.settings, centre, spread, out[None])
                return out[None]
            kind = dtype if final else torch.float32
            done = ops.image_augment(
                current, part, table, segment.codes, segment.settings, *size, centre, spread, kind, last
            )
            if not final:
                if views > 1:
                    raise ValueError(f"{name}: several views at once need transforms of one pass")
                current, sizes = [done[0]], [size]
        return done

    def _view_size(self, segment: Segment, sizes: list[tuple[int, int]], name: str) -> tuple[int, int]:
        """(height, width) of the views, which may not depend on the image."""
        found = {segment.resample.view(*size) for size in sizes}
        if len(found) > 1:
            raise ValueError(f"{name}: images of several sizes need a transform that gives views one size, got {found}")
        return found.pop()


_SEGMENT = 2**16  # views that lie between the draws of two segments


def sizes_of(images: Images) -> list[tuple[int, int]]:
    """(height, width) of each image, or of all of them once."""
    if isinstance(images, Tensor):
        return [(images.shape[-2], images.shape[-1])]
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    return sizes[:1] if len(set(sizes)) == 1 else sizes


def address_table(images: list[Tensor]) -> Tensor | None:
    """Where a GPU finds the images of a list: address, height, width and strides of each."""
    if images[0].dim() == 4 or not images[0].is_cuda:
        return None
    rows = [(x.data_ptr(), x.shape[1], x.shape[2], *x.stride()) for x in images]
    return torch.tensor(rows, dtype=torch.int64).pin_memory().to(images[0].device, non_blocking=True)


def check_images(name: str, images: Images) -> None:
    """Raises TypeError or ValueError unless ``images`` is a batch (N, C, H, W) or a sequence of (C, H, W)."""
    if isinstance(images, Tensor):
        if images.dim() != 4:
            raise ValueError(f"{name}: images must have shape (N, C, H, W), got {tuple(images.shape)}")
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
    if params.shape != (len(images), columns):
        raise ValueError(f"{name}: params must have shape ({len(images)}, {columns}), got {tuple(params.shape)}")
    device = images.device if isinstance(images, Tensor) else images[0].device
    if params.device != device:
        raise ValueError(f"{name}: params must be on {device}, like images, got {params.device}")


def check_sample_ids(name: str, sample_ids: Tensor | None, rows: int, device: torch.device) -> Tensor | None:
    """``sample_ids`` as the operator takes them."""
    if sample_ids is None:
        return None
    if not isinstance(sample_ids, Tensor) or sample_ids.dtype != torch.int64:
        got = sample_ids.dtype if isinstance(sample_ids, Tensor) else type(sample_ids).__name__
        raise TypeError(f"{name}: sample_ids must be an int64 tensor, got {got}")
    if sample_ids.shape != (rows,):
        raise ValueError(f"{name}: sample_ids must have shape ({rows},), got {tuple(sample_ids.shape)}")
    if sample_ids.device != device:
        raise ValueError(f"{name}: sample_ids must be on {device}, like images, got {sample_ids.device}")
    return sample_ids.contiguous()


def check_channels(name: str, plan: Plan, channels: int) -> None:
    """Raises ValueError where a colour transform meets other than 1 or 3 channels."""
    if channels in (1, 3):
        return
    for segment in plan.segments:
        for step in segment.steps:
            if step.name in COLOUR:
                raise ValueError(f"{name}: {step.name} needs images of 1 or 3 channels, got {channels}")


def check_out(name: str, out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Raises TypeError or ValueError unless ``out`` can take the views."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: out must be a tensor, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: out must be {dtype}, got {out.dtype}")
    dense = out.is_contiguous() or out.is_contiguous(memory_format=torch.channels_last)
    if out.shape != shape or out.device != device or not dense:
        raise ValueError(
            f"{name}: out must be dense, of shape {shape} on {device}, got {tuple(out.shape)}, strides {out.stride()} "
            f"on {out.device}"
        )


def normalisation(plan: Plan, channels: int, name: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, for pixels in [0, 1]."""
    if plan.mean is None or plan.std is None:
        return [0.0] * channels, [1.0] * channels
    if len(plan.mean) not in (1, channels):
        raise ValueError(f"{name}: mean must have one number per channel ({channels}), got {len(plan.mean)}")
    repeat = channels if len(plan.mean) == 1 else 1
    return list(plan.mean) * repeat, list(plan.std) * repeat
