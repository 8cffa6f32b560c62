"""Decoded pixels as uint8 tensors (C, H, W) of a mode, and what Pillow has to do for that."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ORIENTATION = 0x0112


def upright(image: Tensor, orientation: int) -> Tensor:
    """(C, H, W) turned as its EXIF orientation says: 6 is a quarter turn clockwise, 8 one back."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return image.flip(flips) if flips else image


def with_alpha(pixels: np.ndarray, mode: str) -> Tensor:
    """Gray or coloured pixels (H, W, C) as (C, H, W), with an opaque channel in mode RGBA."""
    image = _view(pixels)
    return image if mode != "RGBA" else torch.cat([image, image.new_full((1, *image.shape[1:]), 255)])


def _view(pixels: np.ndarray) -> Tensor:
    """(H, W, C) as (C, H, W), without a copy where torch takes the array."""
    fine = pixels.flags.writeable and all(stride >= 0 for stride in pixels.strides)
    return torch.from_numpy(pixels if fine else pixels.copy()).permute(2, 0, 1)


def from_pillow(image: Any, mode: str, exif: bool) -> Tensor:
    """A Pillow image in a mode, turned upright if ``exif``."""
    orientation = image.getexif().get(_ORIENTATION, 1) if exif else 1
    found = _view(_pillow_pixels(image, mode))
    return upright(found, orientation if orientation in range(1, 9) else 1)


def _pillow_pixels(image: Any, mode: str) -> np.ndarray:
    """(H, W, C) uint8 of a Pillow image."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        if image.mode == "F":
            raise ValueError("its values are floating point")
        image = _eight_bits(image)
    if mode == "unchanged":
        alpha = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
        gray = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if gray else "RGB") + ("A" if alpha else "")
    elif image.mode in ("P", "PA") and mode != "RGBA":  # through its colours: a palette's transparency is no colour
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode != mode:
        image = image.convert(mode)
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _eight_bits(image: Any) -> Any:
    """The upper eight of sixteen bits, which Pillow would clip."""
    wide = np.asarray(image)
    return pillow("decode_images").fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))


def from_pixels(name: str, pixels: np.ndarray, mode: str) -> Tensor:
    """An array of pixels in a mode: a view where nothing has to be computed."""
    channels = pixels.shape[2]
    wanted = {"L": 1, "RGB": 3, "RGBA": 4, "unchanged": channels}[mode]
    if wanted == channels:
        return _view(pixels)
    if wanted == 3 and channels == 4:
        return _view(pixels)[:3]
    if wanted == 1 and channels == 2:
        return _view(pixels)[:1]
    if wanted == 3 and channels in (1, 2):
        return _view(pixels)[:1].expand(3, -1, -1)
    picture = pillow(name).fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    return _view(_pillow_pixels(picture, mode))


def pillow(name: str) -> ModuleType:
    """Pillow's module of images, or an ImportError that begins with ``name``."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(f"{name}: needs Pillow, which is not installed: pip install sslfast[images]") from error
