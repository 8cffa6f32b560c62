"""From JPEG files to both of SimCLR's views of a batch: decoding, augmentation and collation, beside lightly's preset.

The files are in memory. lightly's way is Pillow's decoder and its preset, image by image, then a stack; ours is
``decode_images`` and the augmentation of the list. Pillow's decoder before our augmentation says what
decoding is of it.

Floor: both views written once, 4 bytes a value.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_image_augment import make_inputs as make_images
from benchmarks.harness import Call, Case


class Files(NamedTuple):
    jpegs: list[bytes]


def make_inputs(device: torch.device, *, rows: int) -> Files:
    """JPEGs of 500 x 375 at quality 90."""
    if device.type != "cpu":
        raise RuntimeError("works on the CPU only")
    image = peers.load("PIL.Image")
    files = []
    for pixels in make_images(device, rows=rows, side=500, size=224).images[:, :, :375]:
        file = io.BytesIO()
        image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return Files(files)


def _ours(inputs: Files, decoder: str | None) -> Call:
    from sslfast.augment import SimCLRAugment, decode_images

    augment = SimCLRAugment(224)
    options = {} if decoder is None else {"decoder": decoder}
    return lambda: augment(decode_images(inputs.jpegs, **options))


def lightly(inputs: Files) -> Call:
    image, transform = peers.load("PIL.Image"), peers.load("lightly.transforms").SimCLRTransform(input_size=224)

    def load() -> list[Tensor]:
        pairs = [transform(image.open(io.BytesIO(jpeg)).convert("RGB")) for jpeg in inputs.jpegs]
        return [torch.stack(views) for views in zip(*pairs, strict=True)]

    return load


def check(inputs: Files, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """Shapes and types."""
    assert [(view.shape, view.dtype) for view in theirs] == [(view.shape, view.dtype) for view in ours]


def case(rows: int, **options: Any) -> Case:
    return Case(
        op="image_loader",
        size=f"{rows} of 500x375",
        dtype="jpeg to fp32",
        make_inputs=partial(make_inputs, rows=rows),
        providers={
            "sslfast": lambda inputs: _ours(inputs, None),
            "Pillow, then sslfast": lambda inputs: _ours(inputs, "pillow"),
            "lightly": lightly,
        },
        check=check,
        work=rows * 2 * 3 * 224**2 * 4,
        unit="B",
        formula="2 * 3 * 4 S S B an image",
        **options,
    )


def cases() -> list[Case]:
    return [case(16)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
