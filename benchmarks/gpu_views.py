"""Recipes of views as they are measured on a GPU: uint8 batches there, bf16 views out, beside torchvision and kornia.

Everybody gets the batch on the card. torchvision goes through it image by image, because it draws once for a whole
batch; kornia takes the batch, draws the order of the jitter's steps once, does not antialias, and computes in float32.
Floor of a view: its box read once (the mean of the scale, 1 byte a value), 2 bytes a value written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import peers, view_peers
from benchmarks.harness import Call, Case
from benchmarks.view_peers import Inputs, View, make_inputs

SIMCLR = [View(224)] * 2
DINO = view_peers.dino(local_views=8)


def ours(inputs: Inputs, *, recipe: str) -> Call:
    import sslfast.augment

    augment = getattr(sslfast.augment, recipe)(dtype=torch.bfloat16)
    return lambda: augment(inputs.images)


def case(
    op: str,
    recipe: str,
    views: list[View],
    check: Callable[[Any, Any, Any], None],
    *,
    rows: int,
    side: int = 256,
) -> Case:
    """The case of a recipe: ``rows`` images of ``side``, everybody on the card."""
    return Case(
        op=op,
        size=f"{rows} of {side}, {len(views)} views",
        dtype="uint8 to bf16",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=views[0].size),
        providers={
            "sslfast": partial(ours, recipe=recipe),
            "torchvision tensors": partial(view_peers.torchvision_tensors, views=views, dtype=torch.bfloat16),
            "kornia": partial(view_peers.kornia, views=views, dtype=torch.bfloat16),
        },
        check=check,
        work=rows * sum(view.bytes_of(side) for view in views),
        unit="B",
        formula="3 (s H W + 2 S S) B a view, s the mean scale",
        memory=True,
        devices=("cuda",),
    )


def ours_rand_augment(inputs: Inputs) -> Call:
    from sslfast import augment as A

    steps = [A.RandomResizedCrop(inputs.size), A.RandomHorizontalFlip(), A.RandAugment(), A.ToDtype(torch.bfloat16)]
    transform = A.Compose(steps)
    return lambda: [transform(inputs.images)]


def torchvision_rand_augment(inputs: Inputs) -> Call:
    v2 = peers.load("torchvision.transforms.v2")
    crop, dtype = v2.RandomResizedCrop(inputs.size, antialias=True), v2.ToDtype(torch.bfloat16, scale=True)
    transform, images = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandAugment(), dtype]), list(inputs.images)
    return lambda: [torch.stack([transform(image) for image in images])]


def rand_augment(check: Callable[[Any, Any, Any], None], *, rows: int, side: int = 256) -> Case:
    """One view of a crop and two steps of RandAugment, which wait for the view before them."""
    view = View(224)
    return Case(
        op="rand_augment",
        size=f"{rows} of {side}",
        dtype="uint8 to bf16",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=view.size),
        providers={"sslfast": ours_rand_augment, "torchvision tensors": torchvision_rand_augment},
        check=check,
        work=rows * view.bytes_of(side),
        unit="B",
        formula="3 (s H W + 2 S S) B, s the mean scale",
        memory=True,
        devices=("cuda",),
    )
