"""Crops, resizing and flips of images, each image with draws of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sslfast import _check
from sslfast._image_plan import Plan
from sslfast._image_steps import ANYWHERE, CENTRE, EXACT, PADDINGS, SHORTER
from sslfast.augment._arguments import (
    Fill,
    Size,
    fill_of,
    floats,
    interpolation_name,
    padding_of,
    view_size,
)
from sslfast.augment._happens import Happens
from sslfast.augment._transform import Transform

__all__ = [
    "CenterCrop",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomVerticalFlip",
    "Resize",
]


class RandomResizedCrop(Transform):
    """A random box of the image, resized.

    A tenth try at the latest, else the largest central box of an allowed ratio. Equals torchvision's
    ``resized_crop`` in floats, except that a bicubic view is clamped to [0, 1].

    Args:
        size: side, or (height, width), of the views, in pixels.
        scale: (low, high) of the box's share of the image's area, in (0, 1]. Default: (0.08, 1.0).
        ratio: (low, high) of the box's width / height. Default: (3/4, 4/3).
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bilinear".
        antialias: average over all pixels that fall on an output, where the box is shrunk. Default: True.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or a (low, high) is the wrong way round.

    Reference: torchvision.transforms.v2.RandomResizedCrop; Szegedy et al., "Going deeper with convolutions", CVPR 2015.
    """

    def __init__(
        self,
        size: Size,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = view_size(name, "size", size)
        self.scale, self.ratio = floats(name, "scale", scale, 2), floats(name, "ratio", ratio, 2)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"{name}: scale must be (low, high) with 0 < low <= high <= 1, got {scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"{name}: ratio must be (low, high) with 0 < low <= high, got {ratio}")
        self.interpolation = interpolation_name(name, interpolation)
        self.antialias = _check.boolean(name, "antialias", antialias)

    def _add(self, plan: Plan) -> None:
        box = (*self.scale, *self.ratio, *map(math.log, self.ratio))
        plan.crop(self.size, box, self.interpolation, self.antialias)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, ratio={self.ratio}, interpolation={self.interpolation!r}"


class Resize(Transform):
    """The whole image, resized.

    Args:
        size: the shorter side, the longer one in proportion and rounded down, or (height, width), in pixels.
        interpolation: "nearest", "bilinear" or "bicubic". Default: "bilinear".
        max_size: the most that the longer side may have, above ``size``; only with a shorter side. Default: None.
        antialias: average over all pixels that fall on an output. Default: True.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range.

    Reference: torchvision.transforms.v2.Resize.
    """

    def __init__(
        self, size: Size, interpolation: str = "bilinear", max_size: int | None = None, antialias: bool = True
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(size, (tuple, list)) and len(size) == 1:
            size = size[0]
        first, second = view_size(name, "size", size)
        if isinstance(size, (tuple, list)):
            if max_size is not None:
                raise ValueError(f"{name}: max_size needs size to be an int, got {size}")
            self._rule = (EXACT, first, second)
        else:
            most = 0 if max_size is None else _check.integer(name, "max_size", max_size, first + 1, 2**24)
            self._rule = (SHORTER, first, most)
        self.size, self.max_size = size, max_size
        self.interpolation = interpolation_name(name, interpolation)
        self.antialias = _check.boolean(name, "antialias", antialias)

    def _add(self, plan: Plan) -> None:
        plan.resize(self._rule, self.interpolation, self.antialias)

    def extra_repr(self) -> str:
        return f"size={self.size}, max_size={self.max_size}, interpolation={self.interpolation!r}"


class CenterCrop(Transform):
    """The middle of the image, with zeros where the image is smaller.

    After ``Resize`` both are one pass: nothing outside the crop is computed.

    Args:
        size: side, or (height, width), of the crop, in pixels.

    Raises:
        TypeError: ``size`` has the wrong type.
        ValueError: it is out of range.

    Reference: torchvision.transforms.v2.CenterCrop.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = view_size(type(self).__name__, "size", size)

    def _add(self, plan: Plan) -> None:
        plan.window(self.size, CENTRE)

    def extra_repr(self) -> str:
        return f"size={self.size}"


class RandomCrop(Transform):
    """A part of the padded image, anywhere in it.

    Args:
        size: side, or (height, width), of the crop, in pixels.
        padding: pixels around the image: a number, (left and right, top and bottom), or (left, top, right, bottom).
            Default: None, 0.
        pad_if_needed: take padded images that are smaller than the crop, too: they lie anywhere in it. Default: False,
            an error.
        fill: value of what lies outside the image, in [0, 1], or one for each channel. Default: 0.0.
        padding_mode: "constant", the ``fill``; "edge"; "reflect", without the edge twice; or "symmetric", with it: as
            often as it takes. Default: "constant".

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or ``padding_mode`` is another word.

    Reference: torchvision.transforms.v2.RandomCrop.
    """

    def __init__(
        self,
        size: Size,
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: Fill = 0.0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.size = view_size(name, "size", size)
        self.padding = padding_of(name, 0 if padding is None else padding)
        self.pad_if_needed = _check.boolean(name, "pad_if_needed", pad_if_needed)
        self.fill = fill_of(name, fill)
        self.padding_mode = _check.one_of(name, "padding_mode", padding_mode, PADDINGS)

    def _add(self, plan: Plan) -> None:
        plan.window(self.size, ANYWHERE, self.padding, self.fill, self.padding_mode, self.pad_if_needed)

    def extra_repr(self) -> str:
        padded = f"padding={self.padding}, pad_if_needed={self.pad_if_needed}, padding_mode={self.padding_mode!r}"
        return f"size={self.size}, {padded}, fill={self.fill}"


class RandomHorizontalFlip(Happens):
    """Left and right exchanged with probability ``p``.

    Args:
        p: probability. Default: 0.5.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.flip(self.p, 0.0)


class RandomVerticalFlip(Happens):
    """Top and bottom exchanged with probability ``p``.

    Args:
        p: probability. Default: 0.5.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: it is outside [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _add(self, plan: Plan) -> None:
        plan.flip(0.0, self.p)
