"""From JPEG files to both of SimCLR's views of a batch: decoding, augmentation and collation.

The files are in memory. lightly's way is Pillow's decoder and its preset, image by image, then a stack; ours is
``decode_images`` and the augmentation of the list. Pillow's decoder before our augmentation says what
decoding is of it. Floor: both views written once, 4 bytes a value.

Then the same through torch's ``DataLoader``, an epoch of four batches without and with worker processes, in images per
second: ours with ``DecodeCollator``, lightly's preset and torchvision's steps inside the data set. The CPU time of the
workers counts, so that the rate is one of a core whoever does the work; what workers add is the views' way through
shared memory.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import peers, view_peers
from benchmarks.harness import Call, Case
from benchmarks.view_peers import View
from sslfast.augment import DecodedBatch

BATCH = 16


class Files(NamedTuple):
    jpegs: list[bytes]


def make_inputs(device: torch.device, *, rows: int) -> Files:
    """JPEGs of 500 x 375 at quality 90."""
    if device.type != "cpu":
        raise RuntimeError("works on the CPU only")
    image = peers.load("PIL.Image")
    files = []
    for pixels in view_peers.make_inputs(device, rows=rows, side=500, size=224).images[:, :, :375]:
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


class _Samples(Dataset[tuple[Any, int]]):
    """Files as they are, or what ``transform`` makes of a Pillow image, and a label."""

    def __init__(self, jpegs: list[bytes], transform: Any = None) -> None:
        self.jpegs, self.transform = jpegs, transform
        self.image = peers.load("PIL.Image")

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        if self.transform is None:
            return self.jpegs[place], place
        return self.transform(self.image.open(io.BytesIO(self.jpegs[place])).convert("RGB")), place


def _epochs(dataset: Dataset[Any], workers: int, collate: Any = None) -> Call:
    """A call is an epoch; it returns the views of the last batch."""
    loader = DataLoader(
        dataset, BATCH, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0, drop_last=True
    )

    def epoch() -> list[Tensor]:
        *_, last = loader
        return last.images if isinstance(last, DecodedBatch) else last[0]

    return epoch


def ours_in_workers(inputs: Files, *, workers: int) -> Call:
    from sslfast.augment import DecodeCollator, SimCLRAugment

    return _epochs(_Samples(inputs.jpegs), workers, DecodeCollator(augment=SimCLRAugment(224)))


def lightly_in_workers(inputs: Files, *, workers: int) -> Call:
    transform = peers.load("lightly.transforms").SimCLRTransform(input_size=224)
    return _epochs(_Samples(inputs.jpegs, transform), workers)


def torchvision_in_workers(inputs: Files, *, workers: int) -> Call:
    steps = view_peers.torchvision_steps(View(224), [peers.load("torchvision.transforms.v2").ToImage()], [])
    return _epochs(_Samples(inputs.jpegs, lambda picture: [steps(picture) for _ in range(2)]), workers)


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


def epoch_case(workers: int, rows: int = 4 * BATCH) -> Case:
    return Case(
        op="image_loader DataLoader",
        size=f"{rows} of 500x375, {workers} worker{'s' * (workers != 1)}",
        dtype="jpeg to fp32",
        make_inputs=partial(make_inputs, rows=rows),
        providers={
            "sslfast": partial(ours_in_workers, workers=workers),
            "lightly": partial(lightly_in_workers, workers=workers),
            "torchvision PIL": partial(torchvision_in_workers, workers=workers),
        },
        check=check,
        work=rows,
        unit="image",
        formula="",
        workers=workers > 0,
        devices=("cpu",),
    )


def cases() -> list[Case]:
    return [case(BATCH), *(epoch_case(workers) for workers in (0, 1, 2))]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
