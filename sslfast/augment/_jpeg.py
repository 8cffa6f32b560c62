"""What a JPEG file says of itself before its pixels: size, channels, EXIF orientation, and whether it is whole."""

from __future__ import annotations

import struct
from typing import NamedTuple

_ORIENTATION = 0x0112
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # baseline, progressive and the others; not their tables
_SCAN, _END, _EXIF = 0xDA, b"\xff\xd9", b"Exif\0\0"


class JpegHeader(NamedTuple):
    """Of one file; ``orientation`` is 1 where it says nothing."""

    width: int
    height: int
    channels: int
    orientation: int
    whole: bool  # an end follows the pixels: nothing is cut off


def is_jpeg(data: bytes) -> bool:
    """Whether the first bytes are those of a JPEG file."""
    return bytes(data[:3]) == b"\xff\xd8\xff"


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header, or None where it has no frame or no pixels, or ends too early."""
    at, frame, orientation = 2, None, 1
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF:  # filling
                at += 1
                continue
            if marker in _WITHOUT_LENGTH:
                at += 2
                continue
            (length,) = struct.unpack_from(">H", data, at + 2)
            if marker in _FRAMES:
                frame = struct.unpack_from(">HHB", data, at + 5)
            elif marker == 0xE1 and bytes(data[at + 4 : at + 10]) == _EXIF:
                orientation = _exif_orientation(bytes(data[at + 10 : at + 2 + length]))
            elif marker == _SCAN:
                if frame is None:
                    return None
                height, width, channels = frame
                return JpegHeader(width, height, channels, orientation, data.rfind(_END, at + 2 + length) >= 0)
            at += 2 + length
    except (IndexError, struct.error):
        return None


def _exif_orientation(tiff: bytes) -> int:
    """The orientation in [1, 8] of the first directory; 1 where it has none or is not what it should be."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, first)
        for i in range(entries):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, first + 2 + 12 * i)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def reduction(width: int, height: int, min_size: int | None) -> int:
    """The greatest of 1, 2, 4 and 8 by which the sides can be divided so that the smaller stays at ``min_size``."""
    if min_size is None:
        return 1
    return max(d for d in (1, 2, 4, 8) if d == 1 or -(-min(width, height) // d) >= min_size)
