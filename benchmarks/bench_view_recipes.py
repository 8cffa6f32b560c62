"""Whole recipes of views beside lightly's presets and the other pipelines: both of SimCLR's, DINO's multi-crop, and
MAE's crop, from the images to all views.

lightly's take Pillow images one by one and blur with Pillow's three boxes; the batch of each view is what comes out, so
they also stack. view_peers.py has the others. Ours take the same images as one uint8 batch. Floor: the box of every
view read once (the mean of the scale, 1 byte a value), 4 bytes a value written. On a GPU: SimCLR's two views and DINO's
ten in bf16 (gpu_views.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import gpu_views, peers, view_peers
from benchmarks.harness import Call, Case
from benchmarks.view_peers import Inputs, View, make_inputs

LOCAL_VIEWS = 6  # lightly's


def _stacked(views: list[Tensor]) -> Tensor:
    """Every view of every image in one row: what a check can compare."""
    return torch.cat([view.flatten() for view in views])


def ours(inputs: Inputs, *, recipe: str, **arguments: Any) -> Call:
    import sslfast.augment

    augment = getattr(sslfast.augment, recipe)(**arguments)
    return lambda: augment(inputs.images)


def lightly(inputs: Inputs, *, preset: str, **arguments: Any) -> Call:
    pictures = view_peers.pil_images(inputs)
    transform = getattr(peers.load("lightly.transforms"), preset)(**arguments)
    return lambda: [torch.stack(views) for views in zip(*map(transform, pictures), strict=True)]


def check(inputs: Inputs, theirs: list[Tensor], ours: list[Tensor]) -> None:
    """Shapes, types, and brightness on average."""
    assert [view.shape for view in theirs] == [view.shape for view in ours], "shapes differ"
    assert {view.dtype for view in theirs} == {view.dtype for view in ours}, "dtypes differ"
    our, their = (float(_stacked(views).mean()) for views in (ours, theirs))
    assert abs(our - their) < 0.3, f"mean {their:.3f}, ours {our:.3f}"


def case(
    op: str,
    views: list[View],
    ours: Callable[[Inputs], Call],
    lightly: Callable[[Inputs], Call],
    others: dict[str, Any],
    *,
    rows: int = 16,
    side: int = 256,
) -> Case:
    return Case(
        op=op,
        size=f"{rows} of {side}, {len(views)} view{'s' * (len(views) > 1)}",
        dtype="uint8 to fp32",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=views[0].size),
        providers={"sslfast": ours, "lightly": lightly}
        | {name: partial(make, views=views) for name, make in others.items()},
        check=check,
        work=rows * sum(view.bytes_of(side, 4) for view in views),
        unit="B",
        formula="3 (s H W + 4 S S) B a view, s the mean scale",
        devices=("cpu",),
    )


def cases() -> list[Case]:
    simclr, small = [View(224)] * 2, [View(32, blur=0.0)] * 2
    mae = [View(224, (0.2, 1.0), interpolation="bicubic")]
    return [
        case(
            "simclr_augment",
            simclr,
            partial(ours, recipe="SimCLRAugment"),
            partial(lightly, preset="SimCLRTransform"),
            {},
        ),
        case(
            "simclr_augment",
            small,
            partial(ours, recipe="SimCLRAugment", size=32, blur_prob=0.0),
            partial(lightly, preset="SimCLRTransform", input_size=32, gaussian_blur=0.0),
            {},
            rows=256,
            side=32,
        ),
        case(
            "dino_augment",
            view_peers.dino(LOCAL_VIEWS),
            partial(ours, recipe="DINOAugment", local_views=LOCAL_VIEWS),
            partial(lightly, preset="DINOTransform"),
            view_peers.ALL,
        ),
        case("mae_augment", mae, partial(ours, recipe="MAEAugment"), partial(lightly, preset="MAETransform"), {}),
        gpu_views.case("simclr_augment", "SimCLRAugment", gpu_views.SIMCLR, check, rows=256),
        gpu_views.case("dino_augment", "DINOAugment", gpu_views.DINO, check, rows=64),
        gpu_views.rand_augment(check, rows=256),
    ]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
