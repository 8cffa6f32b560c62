"""JPEG files to uint8 tensors beside each decoder called by hand, on one core: 500 x 375 at quality 90, as ImageNet's,
and 2000 x 1500 where 256 pixels of the smaller side are needed.

sslfast decodes with the fastest that is installed, so it is to be as fast as that one by hand (predicted 0.95: the
header is read for the orientation) and faster than Pillow. At the least size of 256 the others decode the whole file;
libjpeg's scaled transforms leave the entropy decoding, about half of the time, and 1/16 of the rest: predicted 2.

Floor: the file read and the pixels written.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case


class Inputs(NamedTuple):
    files: list[bytes]
    least: int | None


def make_inputs(device: torch.device, *, count: int, width: int, height: int, least: int | None) -> Inputs:
    """Smooth pictures with noise, of about as many bytes a pixel as photographs have."""
    image = peers.load("PIL.Image")
    random = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8)).resize((width // 2, height // 2), 3)
        rough = np.asarray(coarse) * 0.85 + random.integers(0, 30, (height // 2, width // 2, 3))
        file = io.BytesIO()
        image.fromarray(rough.astype(np.uint8)).resize((width, height), 2).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return Inputs(files, least)


def ours(inputs: Inputs) -> Call:
    from sslfast.augment import decode_images

    peers.load("cv2").setNumThreads(1)
    return lambda: decode_images(inputs.files, min_size=inputs.least)


def pillow(inputs: Inputs) -> Call:
    image = peers.load("PIL.Image")
    return lambda: [tensor(np.array(image.open(io.BytesIO(file)).convert("RGB"))) for file in inputs.files]


def opencv(inputs: Inputs) -> Call:
    cv2 = peers.load("cv2")
    cv2.setNumThreads(1)

    def decode(file: bytes) -> Tensor:
        return tensor(cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))

    return lambda: [decode(file) for file in inputs.files]


def simplejpeg(inputs: Inputs) -> Call:
    decode = peers.load("simplejpeg").decode_jpeg
    return lambda: [tensor(decode(file)) for file in inputs.files]


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def check(inputs: Inputs, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """The same pictures, up to the decoder; at a least size smaller ones."""
    for mine, other in zip(ours, theirs, strict=True):
        if inputs.least is not None:
            assert inputs.least <= min(mine.shape[1:]) < 2 * inputs.least, "not the scale that is needed"
            other = torch.nn.functional.interpolate(other[None].float(), mine.shape[1:], mode="area")[0]
        assert mine.shape == other.shape, f"shape {tuple(other.shape)}, ours {tuple(mine.shape)}"
        assert float((mine.float() - other.float()).abs().mean()) < 3, "another picture"


def case(op: str, count: int, width: int, height: int, least: int | None = None, **options: Any) -> Case:
    shrink = 1 if least is None else 16
    return Case(
        op=op,
        size=f"{count} of {width}x{height}",
        dtype="jpeg",
        make_inputs=partial(make_inputs, count=count, width=width, height=height, least=least),
        providers={"sslfast": ours, "Pillow": pillow, "cv2": opencv, "simplejpeg": simplejpeg},
        check=check,
        work=count * (3 * width * height / shrink + 0.4 * width * height),
        unit="B",
        formula="3.4 a pixel" if least is None else "3 a pixel written, 0.4 one stored",
        devices=("cpu",),
        one_thread_only=True,
        **options,
    )


def cases() -> list[Case]:
    return [
        case("decode_images", 16, 500, 375),
        case("decode_images, 256 needed", 4, 2000, 1500, 256),
        case("decode_images", 4, 64, 48, quick=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
