"""RandomErasing of a batch beside torchvision image by image, which erases one box of all of a batch otherwise.

Floor: the batch read once and written once; in place, the boxes written, 0.16 of the area of every second image.
Predicted from the bytes: out of place 2 (torchvision clones the images that are erased, and the batch is put together
again); in place the boxes are few bytes and torchvision's 50 microseconds a call are all: 5. Noise is as much work for
both, 3 nanoseconds a value: 1.5 in place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

ERASED = 0.5 * 0.16  # of all values


def make_inputs(device: torch.device, *, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(device, dtype)


def ours(images: Tensor, *, value: Any, inplace: bool) -> Call:
    from sslfast.augment import RandomErasing

    transform = RandomErasing(value=value, inplace=inplace)
    images = images.clone() if inplace else images
    return lambda: transform(images)


def torchvision(images: Tensor, *, value: Any, inplace: bool) -> Call:
    transform = peers.load("torchvision.transforms.v2").RandomErasing(value=value, inplace=inplace)
    if not inplace:
        return lambda: torch.stack([transform(image) for image in images])
    images = images.clone()

    def call() -> Tensor:
        for image in images:
            transform(image)
        return images

    return call


def check(images: Tensor, theirs: Tensor, ours: Tensor, *, inplace: bool) -> None:
    """Out of place about as many values differ from the batch's; in place the boxes of many calls are there."""
    assert theirs.shape == ours.shape == images.shape, "another shape"
    assert theirs.dtype == ours.dtype == images.dtype, "another type"
    for out in (theirs, ours):
        share = float((out != images).float().mean())
        assert 0 < share < (1 if inplace else 0.3), f"{share:.2f} of the values are erased"


def case(
    op: str, shape: tuple[int, ...], dtype: torch.dtype, *, inplace: bool, value: Any = 0.0, **options: Any
) -> Case:
    values, size = torch.Size(shape).numel(), torch.finfo(dtype).bits // 8
    how = {"value": value, "inplace": inplace}
    return Case(
        op=op,
        size="x".join(map(str, shape)),
        dtype={torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype],
        make_inputs=partial(make_inputs, shape=shape, dtype=dtype),
        providers={"sslfast": partial(ours, **how), "torchvision": partial(torchvision, **how)},
        check=partial(check, inplace=inplace),
        work=values * size * (ERASED if inplace else 2),
        unit="B",
        formula="e an erased value" if inplace else "2 e a value",
        **options,
    )


def cases() -> list[Case]:
    large = (64, 3, 224, 224)
    return [
        case("random_erase", large, torch.float32, inplace=False, memory=True),
        case("random_erase", large, torch.bfloat16, inplace=False),
        case("random_erase in place", large, torch.float32, inplace=True),
        case("random_erase noise in place", large, torch.float32, inplace=True, value="random"),
        case("random_erase", (8, 3, 32, 32), torch.float32, inplace=False, quick=True, one_thread_only=True),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
