"""decode_images: every format, mode, orientation and kind of source, scaled decoding, and files that are broken."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest
import torch

from sslfast.augment import available_decoders, decode_images
from sslfast.augment._jpeg import jpeg_header, reduction

Image = pytest.importorskip("PIL.Image", reason="images are made with Pillow")
ImageOps = pytest.importorskip("PIL.ImageOps")

DECODERS = [
    pytest.param(name, marks=pytest.mark.skipif(name not in available_decoders(), reason=f"{name} is not installed"))
    for name in ("pillow", "cv2", "simplejpeg")
]


def picture(height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """Smooth, so that JPEG keeps it, and unlike its mirror images."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [200 * x, 120 * y + 60, 90 * x + 100 * y, 255 - 100 * x]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def encoded(image, form: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def chw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array if array.ndim == 3 else array[..., None])).permute(2, 0, 1)


def close(ours: torch.Tensor, expected: torch.Tensor, within: int = 4) -> bool:
    return ours.shape == expected.shape and int((ours.int() - expected.int()).abs().max()) <= within


# ---- formats and modes


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("options", [{"quality": 95}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg(decoder, options):
    data = encoded(picture(), **options)
    pillow = Image.open(io.BytesIO(data))
    (rgb,), (gray,) = (decode_images([data], mode=mode, decoder=decoder) for mode in ("RGB", "L"))
    assert rgb.dtype == torch.uint8
    assert rgb.stride(0) == 1  # the decoder's own memory
    assert close(rgb, chw(np.array(pillow)))
    assert close(gray, chw(np.array(pillow.convert("L"))))
    (rgba,) = decode_images([data], mode="RGBA", decoder=decoder)
    assert torch.equal(rgba[:3], rgb)
    assert (rgba[3] == 255).all()
    assert torch.equal(decode_images([data], mode="unchanged", decoder=decoder)[0], rgb)
    rgb += 1  # it may be written to


@pytest.mark.parametrize("decoder", DECODERS)
def test_gray_and_cmyk_jpeg(decoder):
    gray = encoded(picture(channels=1)[..., 0])
    (same,) = decode_images([gray], mode="unchanged", decoder=decoder)
    (three,) = decode_images([gray], decoder=decoder)
    assert close(same, chw(picture(channels=1)))
    assert torch.equal(three, same.expand(3, -1, -1))
    cmyk = Image.fromarray(picture()).convert("CMYK")
    data = encoded(cmyk, quality=95)
    for mode in ("RGB", "unchanged"):
        assert close(decode_images([data], mode=mode, decoder=decoder)[0], chw(picture()), 12)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_other_formats(form):
    image = Image.fromarray(picture())
    data = encoded(image, form, **({"lossless": True} if form == "WEBP" else {}))
    expected = chw(picture()) if form != "GIF" else chw(np.array(Image.open(io.BytesIO(data)).convert("RGB")))
    assert torch.equal(decode_images([data])[0], expected)


def test_alpha():
    rgba, gray_alpha = picture(channels=4), picture(channels=4)[..., [0, 3]]
    data, two = encoded(rgba, "PNG"), encoded(Image.fromarray(gray_alpha, "LA"), "PNG")
    for mode in ("RGBA", "unchanged"):
        assert torch.equal(decode_images([data], mode=mode)[0], chw(rgba))
    assert torch.equal(decode_images([data])[0], chw(rgba[..., :3]))  # the colours under it
    assert torch.equal(decode_images([two], mode="unchanged")[0], chw(gray_alpha))
    assert torch.equal(decode_images([two], mode="L")[0], chw(gray_alpha[..., 0]))
    assert torch.equal(decode_images([two])[0], chw(gray_alpha[..., 0]).expand(3, -1, -1))


def test_palettes():
    image = Image.fromarray(picture()).quantize(200)
    expected = chw(np.array(image.convert("RGB")))
    assert torch.equal(decode_images([encoded(image, "PNG")])[0], expected)
    assert torch.equal(decode_images([encoded(image, "PNG")], mode="unchanged")[0], expected)
    clear = encoded(image, "PNG", transparency=int(np.array(image)[0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(decode_images([clear])[0], expected)
        found = decode_images([clear], mode="unchanged")[0]
    assert found.shape[0] == 4
    assert found[3, 0, 0] == 0
    assert torch.equal(
        decode_images([encoded(image.convert("1"), "PNG")], mode="unchanged")[0].unique(),
        torch.tensor([0, 255], dtype=torch.uint8),
    )


def test_sixteen_bits():
    wide = (np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21).astype(np.uint16)
    for data in (encoded(Image.fromarray(wide), "PNG"), encoded(Image.fromarray(wide), "TIFF")):
        (found,) = decode_images([data], mode="unchanged")
        assert torch.equal(found, chw((wide >> 8).astype(np.uint8)))
        assert torch.equal(decode_images([data])[0], found.expand(3, -1, -1))


# ---- orientation and size


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("orientation", range(10))
def test_orientation(decoder, orientation):
    """0 and 9 are none."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("JPEG", "PNG", "WEBP"):
        data = encoded(picture(), form, exif=exif)
        pillow = Image.open(io.BytesIO(data))
        (ours,) = decode_images([data], decoder=decoder)
        assert close(ours, chw(np.array(ImageOps.exif_transpose(pillow).convert("RGB"))))
        (lying,) = decode_images([data], decoder=decoder, exif=False)
        assert close(lying, chw(np.array(pillow.convert("RGB"))))
        assert close(decode_images([Image.open(io.BytesIO(data))])[0], ours)


def test_the_header_agrees_with_pillow():
    for endian in ("<", ">"):
        exif = Image.Exif()
        exif.endian = endian
        exif[0x010F], exif[0x0112] = "a camera", 6
        for options in ({}, {"progressive": True}, {"comment": b"\xff\xd9 not yet"}):
            header = jpeg_header(encoded(picture(30, 20), exif=exif, **options))
            assert header == (20, 30, 3, 6, True)
    assert jpeg_header(encoded(picture()[..., 0])).channels == 1
    assert jpeg_header(b"\xff\xd8\xff") is None
    data = encoded(picture())
    for cut in range(0, len(data), 7):  # wherever it ends, it says so
        header = jpeg_header(data[:cut])
        assert header is None or not header.whole


@pytest.mark.parametrize("decoder", DECODERS)
def test_least_size(decoder):
    data = encoded(picture(401, 640))
    for least, height in ((1, 51), (51, 51), (52, 101), (101, 101), (102, 201), (201, 201), (202, 401), (5000, 401)):
        (ours,) = decode_images([data], min_size=least, decoder=decoder)
        assert ours.shape == (3, height, 640 * height // 401 if height == 401 else {51: 80, 101: 160, 201: 320}[height])
        small = Image.fromarray(picture(401, 640)).resize((ours.shape[2], height), Image.Resampling.BOX)
        assert close(ours, chw(np.array(small)), 6)
    assert decode_images([data], min_size=60, mode="L", decoder=decoder)[0].shape == (1, 101, 160)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(picture(401, 640), exif=exif)
    assert decode_images([turned], min_size=60, decoder=decoder)[0].shape == (3, 160, 101)
    assert decode_images([encoded(picture(401, 640), "PNG")], min_size=60, decoder=decoder)[0].shape == (3, 401, 640)


def test_reduction():
    assert [reduction(80, 90, least) for least in (None, 81, 80, 41, 40, 20, 10, 1)] == [1, 1, 1, 1, 2, 4, 8, 8]


# ---- sources


def test_sources(tmp_path):
    data = encoded(picture(), "PNG")
    path = tmp_path / "image.png"
    path.write_bytes(data)
    expected = chw(picture())
    pixels, four = picture(), picture(channels=4)
    with path.open("rb") as file:
        sources = [data, bytearray(data), memoryview(data), path, str(path), file, io.BytesIO(data), Image.open(path)]
        sources += [np.frombuffer(data, np.uint8), torch.tensor(list(data), dtype=torch.uint8), pixels, four]
        found = decode_images(sources)
    assert all(torch.equal(image, expected) for image in found)
    assert found[-2].data_ptr() == pixels.ctypes.data  # not copied
    assert found[-1].data_ptr() == four.ctypes.data
    flat = pixels[..., 0]
    (gray,), (three,) = decode_images([flat], mode="L"), decode_images([flat])
    assert gray.data_ptr() == three.data_ptr() == flat.ctypes.data
    assert torch.equal(three, gray.expand(3, -1, -1))
    luma = chw(np.array(Image.fromarray(pixels).convert("L")))
    assert torch.equal(decode_images([pixels], mode="L")[0], luma)
    assert torch.equal(decode_images([pixels], mode="RGBA")[0][:3], expected)
    assert torch.equal(decode_images([pixels[:, ::-1]])[0], expected.flip(2))
    assert decode_images([]) == []
    untouched = Image.open(io.BytesIO(encoded(picture(400, 400))))
    decode_images([untouched], min_size=10)
    assert untouched.size == (400, 400)


# ---- what is broken


def broken() -> list[bytes]:
    jpeg, png = encoded(picture(200, 200)), encoded(picture(), "PNG")
    huge = bytearray(jpeg)
    at = huge.find(b"\xff\xc0")
    huge[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # 65535 x 65535 pixels
    return [b"", b"not an image at all", jpeg[: len(jpeg) // 2], jpeg[:30], png[: len(png) // 2], png[:20], bytes(huge)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_broken_images_are_skipped(decoder):
    good = encoded(picture())
    sources = [good, *broken(), "/nowhere/image.jpg", good]
    found = decode_images(sources, on_error="skip", decoder=decoder)
    assert found.kept == [0, len(sources) - 1]
    assert torch.equal(*found.images)
    assert [place for place, _ in found.errors] == list(range(1, len(sources) - 1))
    assert all("\n" not in reason and reason.startswith(f"image {place}") for place, reason in found.errors)
    assert found.errors[-1][1] == f"image {len(sources) - 2} (/nowhere/image.jpg): No such file or directory"
    assert found.errors[0][1] == "image 1: it is empty"
    assert found.errors[1][1] == "image 2: it is no image of a format that is known"


@pytest.mark.parametrize("decoder", DECODERS)
def test_broken_images_raise(decoder, tmp_path):
    path = tmp_path / "broken.jpg"
    for data in broken():
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"^decode_images: image 1 \(.*broken.jpg\) cannot be decoded: [^\n]+$"):
            decode_images([encoded(picture()), path], decoder=decoder)


def test_what_fast_decoders_refuse_goes_to_pillow(monkeypatch):
    if "simplejpeg" not in available_decoders():
        pytest.skip("simplejpeg is not installed")
    import simplejpeg

    def refuse(*args, **options):
        raise ValueError("it cannot")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    assert close(decode_images([encoded(picture())], decoder="simplejpeg")[0], chw(picture()), 12)


def test_without_decoders(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        ImportError, match=r"^decode_images: needs Pillow, which is not installed: pip install sslfast\[images\]$"
    ):
        decode_images([encoded_png])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"^decode_images: decoder 'cv2' needs opencv-python-headless, which is not installed$"
    ):
        decode_images([], decoder="cv2")
    assert available_decoders() == []


encoded_png = encoded(picture(), "PNG")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sources": b"123"}, TypeError, "sources must be a list, got bytes"),
        ({"sources": [3]}, TypeError, "sources must be bytes, paths, files, Pillow images or arrays, got int"),
        (
            {"sources": [np.zeros((2, 2))]},
            TypeError,
            "arrays must be uint8 (n,), (H, W) or (H, W, C), got float64 of shape (2, 2)",
        ),
        (
            {"sources": [np.zeros((2, 2, 5), np.uint8)]},
            TypeError,
            "arrays of pixels must be (H, W) or (H, W, C), C 1 to 4, got shape (2, 2, 5)",
        ),
        ({"mode": "BGR"}, ValueError, "mode must be 'RGB', 'L', 'RGBA' or 'unchanged', got 'BGR'"),
        ({"decoder": "best"}, ValueError, "decoder must be 'simplejpeg', 'cv2' or 'pillow', got 'best'"),
        ({"min_size": 0}, ValueError, "min_size must be at least 1, got 0"),
        ({"exif": 1}, TypeError, "exif must be a bool, got 1"),
        ({"on_error": "ignore"}, ValueError, "on_error must be 'raise' or 'skip', got 'ignore'"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        decode_images(**{"sources": [], **arguments})
    assert str(raised.value) == f"decode_images: {message}"
