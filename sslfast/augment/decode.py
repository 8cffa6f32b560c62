"""Image files to lists of uint8 tensors, through whatever decoder is installed."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, overload

import numpy as np
from torch import Tensor

from sslfast import _check
from sslfast.augment._fast_jpeg import FAST, Refused, takes
from sslfast.augment._jpeg import is_jpeg, jpeg_header, reduction
from sslfast.augment._pixels import from_pillow, from_pixels, pillow, upright

Source: TypeAlias = Any  # bytes, a path, a file that is open, a Pillow image, an array or a tensor

_MODES = ("RGB", "L", "RGBA", "unchanged")
_MODULES = {"simplejpeg": "simplejpeg", "cv2": "cv2", "pillow": "PIL"}  # fastest first


class DecodedImages(NamedTuple):
    """The images that could be decoded, their places in what was given, and (place, reason) of the others."""

    images: list[Tensor]
    kept: list[int]
    errors: list[tuple[int, str]]


@overload
def decode_images(
    sources: Sequence[Source],
    *,
    mode: str = ...,
    decoder: str | None = ...,
    min_size: int | None = ...,
    exif: bool = ...,
    on_error: Literal["raise"] = ...,
) -> list[Tensor]: ...


@overload
def decode_images(
    sources: Sequence[Source],
    *,
    mode: str = ...,
    decoder: str | None = ...,
    min_size: int | None = ...,
    exif: bool = ...,
    on_error: Literal["skip"],
) -> DecodedImages: ...


def decode_images(
    sources: Sequence[Source],
    *,
    mode: str = "RGB",
    decoder: str | None = None,
    min_size: int | None = None,
    exif: bool = True,
    on_error: str = "raise",
) -> list[Tensor] | DecodedImages:
    """Decodes image files to uint8 tensors, each of its own size.

    JPEG files go to the fastest decoder that is installed, simplejpeg, OpenCV or Pillow; all other formats, and what
    the first two refuse (CMYK, files that are cut off), to Pillow. **Decoders do not agree on every pixel**: they
    differ in the inverse transform and in how they scale; one decoder alone, at one ``min_size``, repeats its pixels.

    Tensors are views of the decoder's own memory, in its order (H, W, C), so their strides are permuted; arrays that
    are given are viewed, not copied. A value of 16 bits becomes its upper eight.

    Args:
        sources: bytes of files, paths, open binary files, Pillow images, uint8 arrays (H, W) or (H, W, C) of pixels,
            or uint8 arrays and tensors (n,) with the bytes of files.
        mode: "RGB"; "L", one channel of gray; "RGBA", opaque where a file has no alpha; or "unchanged", 1 (gray),
            2 (gray and alpha), 3 or 4 channels, as the file has. "RGB" and "L" drop alpha: they take the colours under
            it. Default: "RGB".
        decoder: "simplejpeg", "cv2" or "pillow", for JPEG files. Default: None, the first of them that is installed.
        min_size: least smaller side that is needed, in pixels: a JPEG file is decoded at 1/2, 1/4 or 1/8 of its size
            where its smaller side stays at this, which costs a fraction. Default: None, full size.
        exif: turn images upright, as their EXIF orientation says. Default: True.
        on_error: "raise", or "skip": leave out what cannot be decoded, and tell. Default: "raise".

    Returns:
        A list of uint8 tensors (C, H, W); with ``on_error="skip"`` a ``DecodedImages(images, kept, errors)``.

    Raises:
        TypeError: ``sources`` is no sequence, one of them is nothing of the above, or a number has the wrong type.
        ValueError: there is no such mode or decoder, a number is out of range, or, with ``on_error="raise"``, an image
            cannot be decoded: the text has its place, its path and the reason.
        ImportError: the decoder that is asked for, or Pillow where it is needed, is not installed.
    """
    name = "decode_images"
    options = check_options(name, mode, decoder, min_size, exif)
    _check.one_of(name, "on_error", on_error, ("raise", "skip"))
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise TypeError(f"{name}: sources must be a list, got {type(sources).__name__}")
    found = DecodedImages([], [], [])
    for source in sources:
        _check_source(name, source)
    for place, source in enumerate(sources):
        try:
            image = _decoded(name, source, options)
        except ImportError:
            raise
        except Exception as error:  # formats fail in ways of their own: struct.error, IndexError, SyntaxError and more
            where = f"image {place}" + (f" ({os.fspath(source)})" if isinstance(source, (str, os.PathLike)) else "")
            if on_error == "raise":
                raise ValueError(f"{name}: {where} cannot be decoded: {_reason(error)}") from error
            found.errors.append((place, f"{where}: {_reason(error)}"))
            continue
        found.images.append(image)
        found.kept.append(place)
    return found.images if on_error == "raise" else found


def available_decoders() -> list[str]:
    """The decoders of JPEG files that are installed.

    Returns:
        Names that ``decode_images`` takes as ``decoder``, fastest first.
    """
    return [decoder for decoder, module in _MODULES.items() if importlib.util.find_spec(module) is not None]


class DecodeOptions(NamedTuple):
    """Checked arguments of ``decode_images``."""

    mode: str
    decoder: str
    min_size: int | None
    exif: bool


def check_options(name: str, mode: str, decoder: str | None, min_size: int | None, exif: bool) -> DecodeOptions:
    """Raises TypeError, ValueError or ImportError unless the arguments are those of ``decode_images``."""
    _check.one_of(name, "mode", mode, _MODES)
    installed = available_decoders()
    if decoder is None:
        decoder = installed[0] if installed else "pillow"
    elif _check.one_of(name, "decoder", decoder, tuple(_MODULES)) not in installed:
        raise ImportError(f"{name}: decoder {decoder!r} needs {_package(decoder)}, which is not installed")
    if min_size is not None:
        min_size = _check.integer(name, "min_size", min_size, 1)
    return DecodeOptions(mode, decoder, min_size, _check.boolean(name, "exif", exif))


def _check_source(name: str, source: Source) -> None:
    """Raises TypeError for what cannot be an image, whatever it holds."""
    if isinstance(source, Tensor):
        source = source.numpy(force=True)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (1, 2, 3):
            got = f"{source.dtype} of shape {source.shape}"
            raise TypeError(f"{name}: arrays must be uint8 (n,), (H, W) or (H, W, C), got {got}")
        if source.ndim > 1 and (0 in source.shape or (source.ndim == 3 and source.shape[2] > 4)):
            raise TypeError(f"{name}: arrays of pixels must be (H, W) or (H, W, C), C 1 to 4, got shape {source.shape}")
    elif not (isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or _reads(source) or _shows(source)):
        got = type(source).__name__
        raise TypeError(f"{name}: sources must be bytes, paths, files, Pillow images or arrays, got {got}")


def _reads(source: Source) -> bool:
    return hasattr(source, "read")


def _shows(source: Source) -> bool:
    """Whether it is a Pillow image, without importing Pillow."""
    return hasattr(source, "getexif") and hasattr(source, "convert")


def _decoded(name: str, source: Source, options: DecodeOptions) -> Tensor:
    """One image as uint8 (C, H, W); raises what its decoder does."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return _from_file(name, file.read(), options)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(name, bytes(source), options)
    if isinstance(source, Tensor):
        source = source.numpy(force=True)
    if isinstance(source, np.ndarray):
        if source.ndim == 1:
            return _from_file(name, source.tobytes(), options)
        return from_pixels(name, source if source.ndim == 3 else source[..., None], options.mode)
    if _reads(source):
        return _from_file(name, source.read(), options)
    return from_pillow(source, options.mode, options.exif)


def _from_file(name: str, data: bytes, options: DecodeOptions) -> Tensor:
    if not data:
        raise Refused("it is empty")
    if options.decoder != "pillow" and is_jpeg(data):
        header = jpeg_header(data)
        if header is not None and takes(header):
            try:
                image = FAST[options.decoder](data, header, options.mode, options.min_size)
            except Refused:
                pass
            else:
                return upright(image, header.orientation) if options.exif else image
    with pillow(name).open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            width, height = image.size
            scaled = reduction(width, height, options.min_size)
            wanted = options.mode if options.mode in ("L", "RGB") else None
            image.draft(wanted, (max(1, width // scaled), max(1, height // scaled)) if scaled > 1 else None)
        return from_pillow(image, options.mode, options.exif)


def _package(decoder: str) -> str:
    return {"cv2": "opencv-python-headless", "pillow": "Pillow (pip install sslfast[images])"}.get(decoder, decoder)


def _reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return "it is no image of a format that is known" if text.startswith("cannot identify image file") else text
