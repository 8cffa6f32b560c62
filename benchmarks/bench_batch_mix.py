"""MixUp and CutMix of a batch beside torchvision and timm: class ids in, images and soft targets of 1000 classes out.

Floor: the batch read once and written once; of boxes in place, the box read and written, 0.31 of the image on average.
Predicted from the bytes: MixUp 4.5 (both peers make a rolled or mirrored copy, scale it, scale the batch, and add: nine
passes of a batch to two), CutMix out of place 2 (a rolled copy and a clone), CutMix in place 4 (a mirrored copy of the
batch for the sake of a box).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import Call, Case

CLASSES = 1000
BOX = 0.31  # share of an image, uniform lambda, boxes cut at the borders


class Inputs(NamedTuple):
    images: Tensor
    labels: Tensor


def make_inputs(device: torch.device, *, shape: tuple[int, ...], dtype: torch.dtype) -> Inputs:
    return Inputs(torch.randn(shape).to(device, dtype), torch.randint(0, CLASSES, shape[:1]).to(device))


def ours(inputs: Inputs, *, cut: bool, inplace: bool) -> Call:
    from sslfast.augment import CutMix, MixUp, RandomMix

    if not inplace:
        transform: Any = (CutMix if cut else MixUp)(num_classes=CLASSES)
        return lambda: transform(*inputs)
    transform = RandomMix(float(not cut), float(cut), num_classes=CLASSES, label_smoothing=0.0, inplace=True)
    images = inputs.images.clone()
    return lambda: transform(images, inputs.labels)


def torchvision(inputs: Inputs, *, cut: bool) -> Call:
    v2 = peers.load("torchvision.transforms.v2")
    transform = (v2.CutMix if cut else v2.MixUp)(num_classes=CLASSES)
    return lambda: transform(*inputs)


def timm(inputs: Inputs, *, cut: bool) -> Call:
    mixup = peers.load("timm.data.mixup")
    transform = mixup.Mixup(float(not cut), float(cut), label_smoothing=0.0, num_classes=CLASSES)
    images = inputs.images.clone()
    return lambda: transform(images, inputs.labels)


def check(
    inputs: Inputs, theirs: tuple[Tensor, Tensor], ours: tuple[Tensor, Tensor], *, cut: bool, inplace: bool
) -> None:
    """Out of place every image is a mixture of itself and the one before it; in place it has met many calls'."""
    for images, targets in (theirs, ours):
        assert images.shape == inputs.images.shape, "another shape"
        assert images.dtype == inputs.images.dtype, "another type"
        assert targets.shape == (len(images), CLASSES), "another shape of targets"
        assert torch.allclose(targets.sum(1), targets.new_ones(())), "targets do not sum to 1"
        if inplace:
            continue
        own, other = inputs.images, inputs.images.roll(1, 0)
        if cut:
            assert bool(((images == own) | (images == other)).all()), "a pixel is neither image's"
        else:
            own, other, mixed = own.float(), other.float(), images.float()
            lam = ((mixed - other) * (own - other)).sum() / (own - other).square().sum()
            tolerance = 1e-5 if images.dtype == torch.float32 else 0.1
            assert torch.allclose(mixed, lam * own + (1 - lam) * other, atol=tolerance), "no mixture of two images"


def case(op: str, shape: tuple[int, ...], dtype: torch.dtype, *, cut: bool, inplace: bool, **options: Any) -> Case:
    theirs = {"timm": partial(timm, cut=cut)} if inplace else {"torchvision": partial(torchvision, cut=cut)}
    values, size = torch.Size(shape).numel(), torch.finfo(dtype).bits // 8
    return Case(
        op=op,
        size="x".join(map(str, shape)),
        dtype={torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype],
        make_inputs=partial(make_inputs, shape=shape, dtype=dtype),
        providers={"sslfast": partial(ours, cut=cut, inplace=inplace), **theirs},
        check=partial(check, cut=cut, inplace=inplace),
        work=2 * values * size * (BOX if cut and inplace else 1),
        unit="B",
        formula="2 e a value in a box" if cut and inplace else "2 e a value",
        **options,
    )


def cases() -> list[Case]:
    large = (64, 3, 224, 224)
    found = []
    for op, cut in (("mixup", False), ("cutmix", True)):
        for dtype in (torch.float32, torch.bfloat16):
            found.append(case(op, large, dtype, cut=cut, inplace=False, memory=dtype == torch.float32))
            found.append(case(f"{op} in place", large, dtype, cut=cut, inplace=True))
        small: dict[str, Any] = {"quick": True, "one_thread_only": True}
        found.append(case(op, (8, 3, 32, 32), torch.float32, cut=cut, inplace=False, **small))
        found.append(case(f"{op} in place", (8, 3, 32, 32), torch.float32, cut=cut, inplace=True, **small))
    return found


def test_case(case: Case, guard: Any) -> None:
    guard(case)
