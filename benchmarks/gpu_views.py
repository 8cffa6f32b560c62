"""Recipes of views as they are measured on a GPU: uint8 batches there, bf16 views out, beside torchvision and kornia.

Everybody gets the batch on the card. torchvision goes through it image by image, because it draws once for a whole
batch; kornia takes the batch, draws the order of the jitter's steps once, does not antialias, and computes in float32.
Floor of a view: its box read once (the mean of the scale, 1 byte a value), 2 bytes a value written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.bench_image_augment import FLIP, GRAY, JITTER, MEAN, RATIO, SIGMA, STD, Inputs, make_inputs
from benchmarks.harness import Call, Case

Factors = tuple[float, float, float, float]


class View(NamedTuple):
    """One kind of view: what differs between the recipes."""

    size: int
    scale: tuple[float, float]
    blur: float  # probability
    jitter: Factors = (0.8, 0.8, 0.8, 0.2)
    solarize: float = 0.0
    interpolation: str = "bilinear"

    @property
    def kernel(self) -> int:
        """Ours: the odd number at or below a tenth of the side plus one."""
        return max(3, int(0.1 * self.size) // 2 * 2 + 1)

    def bytes_of(self, side: int) -> float:
        """The floor of one view of an image of ``side``."""
        return 3 * (sum(self.scale) / 2 * side**2 + 2 * self.size**2)


SIMCLR = [View(224, (0.08, 1.0), 0.5)] * 2
_DINO = partial(View, jitter=(0.4, 0.4, 0.2, 0.1), interpolation="bicubic")
DINO = [
    _DINO(224, (0.4, 1.0), 1.0),
    _DINO(224, (0.4, 1.0), 0.1, solarize=0.2),
    *[_DINO(96, (0.05, 0.4), 0.5)] * 8,
]


def ours(inputs: Inputs, *, recipe: str) -> Call:
    import sslfast.augment

    augment = getattr(sslfast.augment, recipe)(dtype=torch.bfloat16)
    return lambda: augment(inputs.images)


def torchvision(inputs: Inputs, *, views: list[View]) -> Call:
    v2, images = peers.load("torchvision.transforms.v2"), list(inputs.images)

    def steps(view: View) -> Callable[[Tensor], Tensor]:
        mode = v2.InterpolationMode(view.interpolation)
        return v2.Compose(
            [
                v2.RandomResizedCrop(view.size, view.scale, RATIO, mode, antialias=True),
                v2.RandomHorizontalFlip(FLIP),
                v2.RandomApply([v2.ColorJitter(*view.jitter)], JITTER),
                v2.RandomGrayscale(GRAY),
                v2.RandomApply([v2.GaussianBlur(view.kernel, SIGMA)], view.blur),
                *([v2.RandomSolarize(128, view.solarize)] if view.solarize else []),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
                v2.ToDtype(torch.bfloat16),
            ]
        )

    made = [steps(view) for view in views]
    return lambda: [torch.stack([one(image) for image in images]) for one in made]


def kornia(inputs: Inputs, *, views: list[View]) -> Call:
    k, device = peers.load("kornia.augmentation"), inputs.images.device
    mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)

    def steps(view: View) -> torch.nn.Sequential:
        size, mode = (view.size, view.size), view.interpolation
        solarize = k.RandomSolarize((0.5, 0.5), (0.0, 0.0), p=view.solarize)
        return torch.nn.Sequential(
            k.RandomResizedCrop(size, view.scale, RATIO, resample=mode, align_corners=False, cropping_mode="slice"),
            k.RandomHorizontalFlip(FLIP),
            k.ColorJitter(*view.jitter, p=JITTER),
            k.RandomGrayscale(p=GRAY),
            k.RandomGaussianBlur((view.kernel, view.kernel), SIGMA, p=view.blur),
            *([solarize] if view.solarize else []),
            k.Normalize(mean, std),
        ).to(device)

    made = [steps(view) for view in views]

    def call() -> list[Tensor]:
        floats = inputs.images / 255
        return [one(floats).bfloat16() for one in made]

    return call


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
            "torchvision tensors": partial(torchvision, views=views),
            "kornia": partial(kornia, views=views),
        },
        check=check,
        work=rows * sum(view.bytes_of(side) for view in views),
        unit="B",
        formula="3 (s H W + 2 S S) B a view, s the mean scale",
        memory=True,
        devices=("cuda",),
    )
