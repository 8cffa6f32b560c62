"""Batches and lists of images over NumPy arrays: what is checked, and the way to the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sslfast import _batch_rules, _check, _host
from sslfast._image_plan import Plan
from sslfast._image_steps import ERASE_COLUMNS, MAX_CHANNELS, MAX_SIDE, MOST_ERASES, SEGMENT
from sslfast.host.philox_words import step_seed

Images: TypeAlias = "NDArray[Any] | Sequence[NDArray[Any]]"
LAYOUTS = ("NHWC", "NCHW")
DTYPES = ("uint8", "float32", "float16")


class Batch(NamedTuple):
    """Images as the kernels take them."""

    arrays: list[NDArray[Any]]  # the batch alone, or every image of a list
    whole: bool  # is it a batch?
    last: bool  # do the channels lie last?

    @property
    def rows(self) -> int:
        return self.arrays[0].shape[0] if self.whole else len(self.arrays)

    @property
    def channels(self) -> int:
        return self.arrays[0].shape[-1 if self.last else -3]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image, or of all of them once."""
        sizes = [_size(array, self.last) for array in self.arrays]
        return sizes[:1] if len(set(sizes)) == 1 else sizes


def channels_are_last(name: str, argument: str, layout: str) -> bool:
    """Whether ``layout`` is "NHWC" and not "NCHW"; ValueError if it is neither."""
    return _check.one_of(name, argument, layout, LAYOUTS) == "NHWC"


def read_images(name: str, images: Images, layout: str) -> Batch:
    """The images; TypeError or ValueError unless they are a batch of ``layout`` or a sequence of images without its N.

    Copied only where an array is not aligned, or its strides are no whole elements.
    """
    last = channels_are_last(name, "layout", layout)
    shape = "(N, H, W, C)" if last else "(N, C, H, W)"
    if isinstance(images, np.ndarray):
        if images.ndim != 4:
            raise ValueError(f"{name}: images must have shape {shape}, got {images.shape}")
        return Batch([_checked(name, images, last)], True, last)
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        raise TypeError(f"{name}: images must be an array or a sequence of arrays, got {type(images).__name__}")
    if len(images) == 0:
        raise ValueError(f"{name}: images must be a batch or a sequence of at least one image, got {images!r:.40}")
    arrays = []
    for i, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            raise TypeError(f"{name}: images[{i}] must be an array, got {type(image).__name__}")
        if image.ndim != 3:
            raise ValueError(f"{name}: images[{i}] must have shape ({shape[4:]}, got {image.shape}")
        arrays.append(_checked(name, image, last))
        first, channel = arrays[0], -1 if last else 0
        if (image.shape[channel], image.dtype) != (first.shape[channel], first.dtype):
            raise ValueError(
                f"{name}: images must have one number of channels and dtype, got {image.shape}, {image.dtype} at {i}"
            )
    return Batch(arrays, False, last)


def _checked(name: str, array: NDArray[Any], last: bool) -> NDArray[Any]:
    if array.dtype not in (np.uint8, np.float32, np.float16):
        raise TypeError(f"{name}: images must be uint8, float32 or float16, got {array.dtype}")
    channels, size = array.shape[-1 if last else -3], _size(array, last)
    if not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"{name}: images must have 1 to {MAX_CHANNELS} channels, got shape {array.shape}")
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise ValueError(f"{name}: images must have height and width in [1, 2^24], got shape {array.shape}")
    whole = array.flags.aligned and all(stride % array.itemsize == 0 for stride in array.strides)
    return array if whole else np.ascontiguousarray(array)


def _size(array: NDArray[Any], last: bool) -> tuple[int, int]:
    height, width = array.shape[-3:-1] if last else array.shape[-2:]
    return height, width


def sample(
    name: str,
    plan: Plan,
    batch: Batch,
    views: int,
    first_view: int,
    seed_bits: int,
    numbers: tuple[NDArray[np.int64] | None, int],
    threads: int,
) -> NDArray[np.float32]:
    """(N, views, columns). Segments count as views of their own in the draws."""
    sizes, parts = batch.sizes, []
    for number, segment in enumerate(plan.segments):
        table = None if len(sizes) == 1 else np.array(sizes, np.int64)
        size = segment.view_size(name, sizes)
        first = first_view + number * SEGMENT
        rules = segment.rules(size)
        parts.append(
            _host.image_augment_params(
                seed_bits, *numbers, batch.rows, views, first, table, *sizes[0], segment.codes, rules, threads
            )
        )
        sizes = [size]
    for number, (p, scale, ratio, _, _) in enumerate(plan.erases):
        each = []
        for view in range(first_view, first_view + views):
            own = step_seed(seed_bits - (seed_bits >> 63 << 64), view * MOST_ERASES + number) % 2**64
            ids, offset = numbers
            each.append(_host.random_erase_params(own, ids, batch.rows, *sizes[0], p, scale, ratio, offset))
        parts.append(np.stack(each, 1))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)


def render(
    name: str,
    plan: Plan,
    batch: Batch,
    params: NDArray[np.float32],
    out_last: bool,
    out: NDArray[Any] | None,
    threads: int,
) -> NDArray[Any]:
    """(V, N, h, w, C) or (V, N, C, h, w) from (N, V, columns); V is 1 where the plan has several segments."""
    channels, views = batch.channels, params.shape[1]
    plan.check_channels(name, channels)
    mean, std = plan.normalisation(name, channels, batch.arrays[0].dtype == np.uint8)
    plain = np.uint8 if batch.arrays[0].dtype == np.uint8 and plan.mean is None else np.float32
    dtype = np.dtype(plan.dtype or plain)
    start = 0
    for segment in plan.segments:
        size = segment.view_size(name, batch.sizes)
        part = np.ascontiguousarray(params[..., start : start + len(segment.columns)])
        start += len(segment.columns)
        final = segment is plan.segments[-1]
        last = out_last if final else batch.last
        shape = (batch.rows, *size, channels) if last else (batch.rows, channels, *size)
        if final and out is not None:
            check_out(name, out, shape, dtype)
            if any(np.may_share_memory(out, array) for array in batch.arrays):
                raise ValueError(f"{name}: out must not share memory with images, got an array that does")
            done = out[None]
        else:
            done = np.empty((views, *shape), dtype if final else np.float32)
        centre, spread = (mean, std) if final else ([0.0] * channels, [1.0] * channels)
        _host.image_augment(
            *(batch.arrays, batch.whole, batch.last, part, segment.codes, segment.settings, centre, spread),
            *(done, last, threads),
        )
        batch = Batch([done[0]], True, last)
    for number, (_, _, _, values, noise) in enumerate(plan.erases):
        _batch_rules.erase_values(name, values, channels)
        if dtype == np.uint8:
            _batch_rules.check_byte_values(name, values, noise)
        first = start + number * len(ERASE_COLUMNS)
        part = np.swapaxes(params[..., first : first + len(ERASE_COLUMNS)], 0, 1).reshape(-1, len(ERASE_COLUMNS))
        flat = done.reshape(-1, *done.shape[2:])
        _host.erase_boxes(flat, flat, out_last, np.ascontiguousarray(part), list(values), noise, threads)
    return done


def check_out(name: str, out: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises TypeError or ValueError unless ``out`` can take the views."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: out must be an array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name}: out must be {dtype}, got {out.dtype}")
    if out.shape != shape or not out.flags.c_contiguous or not out.flags.aligned or not out.flags.writeable:
        raise ValueError(
            f"{name}: out must be contiguous and writeable, of shape {shape}, got {out.shape}, strides {out.strides}, "
            f"writeable {out.flags.writeable}"
        )
