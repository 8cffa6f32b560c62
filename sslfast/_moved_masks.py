"""What masks, boxes and points that follow the parameters of views need: with and without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import LISTED, PADDINGS, RESIZE, Segment

_LIMIT = 2.0**24  # whole numbers up to here are exact in float32, in which masks of integers move
_RANGES = {
    "bool": (0.0, 1.0),
    "uint8": (0.0, 255.0),
    "int8": (-128.0, 127.0),
    "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0),
    "uint32": (0.0, _LIMIT),
    "uint64": (0.0, _LIMIT),
    "float32": (-math.inf, math.inf),
}


def fill_number(name: str, fill: float, dtype: str) -> float:
    """What lies outside the image, for masks of ``dtype``, as the kernel takes it: in [0, 1] of those of bytes.

    Raises:
        TypeError: ``fill`` is not a number.
        ValueError: the dtype does not have it.
    """
    value = float(fill) if isinstance(fill, bool) else _check.real(name, "fill", fill)
    low, high = _RANGES.get(dtype, (-_LIMIT, _LIMIT))
    if not low <= value <= high or (dtype != "float32" and not value.is_integer()):
        what = "a finite number" if dtype == "float32" else f"a whole number in [{low:g}, {high:g}]"
        raise ValueError(f"{name}: fill must be {what} for masks of {dtype}, got {fill}")
    return value / 255 if dtype in ("bool", "uint8") else value


def mask_settings(segment: Segment, moving: Sequence[bool], fill: float, channels: int) -> list[float]:
    """The kernel's settings for the nearest pixel, of the resampling and of those steps that move pixels.

    A padding of the edge or of reflections is one of masks too; any other fill of the transform is a colour, not a
    class, and ``fill`` stands in its place.
    """
    outside = LISTED if fill else 0.0
    mode = segment.resample.padding_mode
    settings = [0.0, 0.0, outside if mode == "constant" else -float(PADDINGS.index(mode))]
    settings += [0.0, outside, 0.0] * sum(moving)
    return settings + ([fill] * channels if fill else [])


def check_sizes(
    name: str, argument: str, plan: Plan, boxes: Sequence[Sequence[float]], sizes: Sequence[tuple[int, int]]
) -> None:
    """Raises ValueError where parameters say that they were drawn for images of other ``sizes``.

    ``boxes`` are the first four columns, (top, left, height, width). A resize or a window takes the whole image, so
    that any other size is told; a random crop takes a box of it, which only a smaller image cannot hold.
    """
    whole = plan.segments[0].resample.kind == RESIZE
    each = [*sizes] * len(boxes) if len(sizes) == 1 else sizes
    for (top, left, height, width), size in zip(boxes, each, strict=True):
        if (height, width) != tuple(size) if whole else top + height > size[0] or left + width > size[1]:
            box = f"{height:g} x {width:g}" + ("" if whole else f" at ({top:g}, {left:g})")
            raise ValueError(
                f"{name}: {argument} must be that of the images whose params these are, which take {box}, got "
                f"{size[0]} x {size[1]}"
            )
