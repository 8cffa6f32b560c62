"""Whole recipes of views beside lightly's presets: DINO's multi-crop and MAE's crop, from the images to all views.

lightly's take Pillow images one by one and blur with Pillow's three boxes; the batch of each view is what comes out, so
they also stack. Ours take the same images as one uint8 batch. Floor: the box of every view read once (1 byte a value),
4 bytes a value written. On a GPU: SimCLR's two views and DINO's ten in bf16 (gpu_views.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import gpu_views, peers
from benchmarks.bench_image_augment import Inputs, make_inputs
from benchmarks.harness import Call, Case

LOCAL_VIEWS = 6  # lightly's


def _stacked(views: list[Tensor]) -> Tensor:
    """Every view of every image in one row: what a check can compare."""
    return torch.cat([view.flatten() for view in views])


def dino(inputs: Inputs) -> Call:
    from sslfast.augment import DINOAugment

    augment = DINOAugment(local_views=LOCAL_VIEWS)
    return lambda: augment(inputs.images)


def mae(inputs: Inputs) -> Call:
    from sslfast.augment import MAEAugment

    augment = MAEAugment()
    return lambda: augment(inputs.images)


def _lightly(inputs: Inputs, name: str) -> Call:
    images = inputs.on_cpu().permute(0, 2, 3, 1).contiguous().numpy()
    pictures = [peers.load("PIL.Image").fromarray(image) for image in images]
    transform = getattr(peers.load("lightly.transforms"), name)()
    return lambda: [torch.stack(views) for views in zip(*map(transform, pictures), strict=True)]


def check(inputs: Inputs, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """Shapes, types, and brightness on average."""
    assert [view.shape for view in theirs] == [view.shape for view in ours], "shapes differ"
    assert {view.dtype for view in theirs} == {view.dtype for view in ours}, "dtypes differ"
    our, their = (float(_stacked(views).mean()) for views in (ours, theirs))
    assert abs(our - their) < 0.3, f"mean {their:.3f}, ours {our:.3f}"


def case(op: str, make: Any, preset: str, views: list[int], rows: int = 16, side: int = 256) -> Case:
    return Case(
        op=op,
        size=f"{rows} of {side}",
        dtype="uint8 to fp32",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=224),
        providers={"sslfast": make, "lightly": lambda inputs: _lightly(inputs, preset)},
        check=check,
        work=rows * 3 * sum(4 * size**2 + size**2 for size in views),
        unit="B",
        formula="15 S S B a view",
        memory=False,
    )


def cases() -> list[Case]:
    return [
        case("dino_augment", dino, "DINOTransform", [224] * 2 + [96] * LOCAL_VIEWS),
        case("mae_augment", mae, "MAETransform", [224]),
        gpu_views.case("simclr_augment", "SimCLRAugment", gpu_views.SIMCLR, check, rows=256),
        gpu_views.case("dino_augment", "DINOAugment", gpu_views.DINO, check, rows=64),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
