"""Image files to lists of uint8 tensors, through whatever decoder is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor

from sslfast import _check
from sslfast.augment._jpeg import JpegHeader, is_jpeg, jpeg_header, reduction

Source: TypeAlias = Any  # bytes, a path, a file that is open, a Pillow image, an array or a tensor

_MODES = ("RGB", "L", "RGBA", "unchanged")
_MODULES = {"simplejpeg": "simplejpeg", "cv2": "cv2", "pillow": "PIL"}  # fastest first
_PIXELS = 178_956_970  # Pillow refuses more; the fast decoders are not asked
_ORIENTATION = 0x0112


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
    """The decoders of JPEG files that are installed, fastest first."""
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
        return _from_pixels(name, source if source.ndim == 3 else source[..., None], options.mode)
    return _from_file(name, source.read(), options) if _reads(source) else _from_pillow(source, options)


def upright(image: Tensor, orientation: int) -> Tensor:
    """(C, H, W) turned as its EXIF orientation says: 6 is a quarter turn clockwise, 8 one back."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return image.flip(flips) if flips else image


class _Refused(Exception):
    """A decoder does not take a file that another one may."""


def _from_file(name: str, data: bytes, options: DecodeOptions) -> Tensor:
    if not data:
        raise _Refused("it is empty")
    if options.decoder != "pillow" and is_jpeg(data):
        header = jpeg_header(data)
        if header is not None and header.whole and header.channels in (1, 3) and _fits(header):
            try:
                image = _FAST[options.decoder](data, header, options)
            except _Refused:
                pass
            else:
                return upright(image, header.orientation) if options.exif else image
    with _pillow(name).open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            width, height = image.size
            scaled = reduction(width, height, options.min_size)
            wanted = options.mode if options.mode in ("L", "RGB") else None
            image.draft(wanted, (max(1, width // scaled), max(1, height // scaled)) if scaled > 1 else None)
        return _from_pillow(image, options)


def _fits(header: JpegHeader) -> bool:
    return 0 < header.width * header.height <= _PIXELS


def _channels(header: JpegHeader, mode: str) -> str:
    """RGB or L, which the fast decoders make."""
    return "L" if mode == "L" or (mode == "unchanged" and header.channels == 1) else "RGB"


def _simplejpeg(data: bytes, header: JpegHeader, options: DecodeOptions) -> Tensor:
    import simplejpeg

    colours = _channels(header, options.mode)
    scaled = reduction(header.width, header.height, options.min_size)
    height, width = (0 if scaled == 1 else -(-side // scaled) for side in (header.height, header.width))
    try:
        pixels = simplejpeg.decode_jpeg(data, {"RGB": "RGB", "L": "GRAY"}[colours], min_height=height, min_width=width)
    except ValueError as error:
        raise _Refused(str(error)) from error
    return _with_alpha(pixels, options.mode)


def _cv2(data: bytes, header: JpegHeader, options: DecodeOptions) -> Tensor:
    import cv2

    scaled = reduction(header.width, header.height, options.min_size)
    gray = _channels(header, options.mode) == "L"
    size = {1: "", 2: "_2", 4: "_4", 8: "_8"}[scaled]
    kind = ("GRAYSCALE" if gray else "COLOR") if scaled == 1 else "REDUCED_" + ("GRAYSCALE" if gray else "COLOR")
    flag = getattr(cv2, f"IMREAD_{kind}{size}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _Refused(str(error)) from error
    if pixels is None:
        raise _Refused("cv2 cannot decode it")
    if gray:
        return _with_alpha(pixels[..., None], options.mode)
    return _with_alpha(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), options.mode)


_FAST = {"simplejpeg": _simplejpeg, "cv2": _cv2}


def _with_alpha(pixels: np.ndarray, mode: str) -> Tensor:
    image = _view(pixels)
    return image if mode != "RGBA" else torch.cat([image, image.new_full((1, *image.shape[1:]), 255)])


def _view(pixels: np.ndarray) -> Tensor:
    """(H, W, C) as (C, H, W), without a copy where torch takes the array."""
    fine = pixels.flags.writeable and all(stride >= 0 for stride in pixels.strides)
    return torch.from_numpy(pixels if fine else pixels.copy()).permute(2, 0, 1)


def _from_pillow(image: Any, options: DecodeOptions) -> Tensor:
    orientation = image.getexif().get(_ORIENTATION, 1) if options.exif else 1
    found = _view(_pillow_pixels(image, options.mode))
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
    return _pillow("decode_images").fromarray((wide.clip(0, 65535) >> 8).astype(np.uint8))


def _from_pixels(name: str, pixels: np.ndarray, mode: str) -> Tensor:
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
    picture = _pillow(name).fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    return _view(_pillow_pixels(picture, mode))


def _pillow(name: str) -> ModuleType:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(f"{name}: needs Pillow, which is not installed: pip install sslfast[images]") from error


def _package(decoder: str) -> str:
    return {"cv2": "opencv-python-headless", "pillow": "Pillow (pip install sslfast[images])"}.get(decoder, decoder)


def _reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return "it is no image of a format that is known" if text.startswith("cannot identify image file") else text
