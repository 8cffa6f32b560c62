"""JPEG files through simplejpeg and OpenCV, which are faster than Pillow and take fewer kinds of files."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sslfast.augment._jpeg import JpegHeader, reduction
from sslfast.augment._pixels import with_alpha

_PIXELS = 178_956_970  # Pillow refuses more; the fast decoders are not asked


class Refused(Exception):
    """A decoder does not take a file that another one may."""


def takes(header: JpegHeader) -> bool:
    """Whether a fast decoder is worth asking."""
    return header.whole and header.channels in (1, 3) and 0 < header.width * header.height <= _PIXELS


def _channels(header: JpegHeader, mode: str) -> str:
    """RGB or L, which the fast decoders make."""
    return "L" if mode == "L" or (mode == "unchanged" and header.channels == 1) else "RGB"


def _simplejpeg(data: bytes, header: JpegHeader, mode: str, min_size: int | None) -> Tensor:
    import simplejpeg

    colours = _channels(header, mode)
    scaled = reduction(header.width, header.height, min_size)
    height, width = (0 if scaled == 1 else -(-side // scaled) for side in (header.height, header.width))
    try:
        pixels = simplejpeg.decode_jpeg(data, {"RGB": "RGB", "L": "GRAY"}[colours], min_height=height, min_width=width)
    except ValueError as error:
        raise Refused(str(error)) from error
    return with_alpha(pixels, mode)


def _cv2(data: bytes, header: JpegHeader, mode: str, min_size: int | None) -> Tensor:
    import cv2

    scaled = reduction(header.width, header.height, min_size)
    gray = _channels(header, mode) == "L"
    size = {1: "", 2: "_2", 4: "_4", 8: "_8"}[scaled]
    kind = ("GRAYSCALE" if gray else "COLOR") if scaled == 1 else "REDUCED_" + ("GRAYSCALE" if gray else "COLOR")
    flag = getattr(cv2, f"IMREAD_{kind}{size}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise Refused(str(error)) from error
    if pixels is None:
        raise Refused("cv2 cannot decode it")
    if gray:
        return with_alpha(pixels[..., None], mode)
    return with_alpha(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), mode)


# (bytes of a file, its header, mode, min_size) -> pixels, not turned; raises Refused.
FAST = {"simplejpeg": _simplejpeg, "cv2": _cv2}
