"""decode_video: frames by number, of files with and without lost pixels, and what cannot be decoded."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch

from sslfast.augment import decode_video, sample_frames

av = pytest.importorskip("av", reason="videos are made and read with PyAV")


def video(frames: int = 12, codec: str = "ffv1", pixels: str = "bgr0", form: str = "matroska") -> bytes:
    """Frame n is of colour (20 n, 255 - 20 n, 7)."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixels
        for n in range(frames):
            colour = np.full((32, 48, 3), (20 * n, 255 - 20 * n, 7), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


def numbers(found: torch.Tensor) -> list[int]:
    return (found[:, 0, 0, 0] // 20).tolist()


def test_frames_by_number(tmp_path):
    data = video()
    whole = decode_video(data)
    assert whole.shape == (12, 3, 32, 48)
    assert whole.dtype == torch.uint8
    assert whole.stride(1) == 1
    assert numbers(whole) == list(range(12))
    assert torch.equal(whole[3, :, 5, 5], torch.tensor([60, 195, 7], dtype=torch.uint8))
    path = tmp_path / "video.mkv"
    path.write_bytes(data)
    for source in (path, str(path), io.BytesIO(data), bytearray(data)):
        assert torch.equal(decode_video(source, indices=[7, 2, 2, 11]), whole[[7, 2, 2, 11]])
    assert numbers(decode_video(data, start=2, stride=3)) == [2, 5, 8, 11]
    assert numbers(decode_video(data, start=1, stride=4, count=2)) == [1, 5]
    assert numbers(decode_video(data, indices=range(3, 5))) == [3, 4]
    clip = sample_frames(1, 12, 3, stride=4, generator=0)[0, 0]
    assert numbers(decode_video(data, indices=clip)) == clip.tolist()
    assert numbers(decode_video(data, indices=clip.numpy())) == clip.tolist()
    assert torch.equal(decode_video(data, threads=2), whole)
    gray = decode_video(data, mode="L", count=2)
    assert gray.shape == (2, 1, 32, 48)


def test_frames_are_in_the_order_in_which_they_are_shown():
    """Of a codec that stores them in another one."""
    found = decode_video(video(codec="mpeg4", pixels="yuv420p", form="avi"))
    assert (found[:, 0].float().mean((1, 2)) / 20).round().int().tolist() == list(range(12))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": [0, 12]}, "video must have frame 12, it has 12"),
        ({"start": 12}, "video must have frame 12, it has 12"),
        ({"start": 10, "count": 3}, "video must have frame 12, it has 12"),
        ({"source": b"not a video"}, "video cannot be decoded: Invalid data found when processing input"),
        ({"source": "/nowhere.mp4"}, "/nowhere.mp4 cannot be decoded: No such file or directory"),
        ({"indices": [1], "start": 1}, "indices must be None beside start, stride or count, got 1"),
        ({"indices": []}, "indices must be a list of at least one number, got []"),
        ({"indices": [-1]}, "indices must be at least 0, got -1"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"mode": "YUV"}, "mode must be 'RGB' or 'L', got 'YUV'"),
        ({"threads": 0}, "threads must be in [1, 1024], got 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the text is compared
        decode_video(**{"source": video(), **arguments})
    assert str(raised.value) == f"decode_video: {message}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": 3}, "indices must be a list of numbers, got int"),
        ({"indices": 3, "start": 1}, "indices must be a list of numbers, got int"),
        ({"indices": torch.rand(2)}, "indices must be an int, got float"),
        ({"source": None}, "source must be a path, bytes or an open file, got NoneType"),
    ],
)
def test_wrong_types(arguments, message):
    with pytest.raises(TypeError) as raised:
        decode_video(**{"source": video(), **arguments})
    assert str(raised.value) == f"decode_video: {message}"


def test_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ImportError, match=r"^decode_video: needs PyAV, which is not installed: pip install sslfast\[video\]$"
    ):
        decode_video(b"")
