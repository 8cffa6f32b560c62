"""SimCLR's views of float images and the gradient of the images, as adversarial training needs them, beside kornia.

The recipe is that of bench_image_augment.py. kornia differentiates its steps by autograd, which keeps every one of
their results; ours makes the views again in the backward pass, row by row. torchvision's second version changes some
results in place and has no gradient through its hue.

Floor of a view: the crop read twice (0.48 of the image on average), the view written and its gradient read, and the
image's gradient written, 4 bytes a value.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import view_peers
from benchmarks.bench_image_augment import view_of
from benchmarks.harness import Call, Case


class Inputs(NamedTuple):
    images: Tensor  # float, in [0, 1]
    weight: Tensor  # the gradient of the views
    size: int


def make_inputs(device: torch.device, *, rows: int, side: int, size: int) -> Inputs:
    images = view_peers.make_inputs(device, rows=rows, side=side, size=size).images / 255
    return Inputs(images.requires_grad_(), torch.randn(rows, 3, size, size, device=device), size)


def ours(inputs: Inputs) -> Call:
    from sslfast.augment import SimCLRAugment

    augment = SimCLRAugment(inputs.size, views=1, blur_prob=view_of(inputs).blur)
    return lambda: torch.autograd.grad(augment(inputs.images)[0], inputs.images, inputs.weight)[0]


def kornia(inputs: Inputs) -> Call:
    steps = view_peers.kornia_steps(view_of(inputs), inputs.images.device)
    return lambda: torch.autograd.grad(steps(inputs.images), inputs.images, inputs.weight)[0]


def check(inputs: Inputs, theirs: Tensor, ours: Tensor) -> None:
    """Shape and type, the share of pixels that views do not show, and the size of the others' gradients."""
    assert theirs.shape == ours.shape, f"shape {tuple(theirs.shape)}, ours {tuple(ours.shape)}"
    assert theirs.dtype == ours.dtype, f"dtype {theirs.dtype}, ours {ours.dtype}"
    assert bool(theirs.isfinite().all()), "a gradient is not finite"
    unseen = [(float((grad == 0).all(1).float().mean())) for grad in (theirs, ours)]
    size = [float(grad[grad != 0].square().mean().sqrt()) for grad in (theirs, ours)]
    assert abs(unseen[0] - unseen[1]) < 0.15, f"{unseen[0]:.2f} of pixels unseen, ours {unseen[1]:.2f}"
    assert 0.6 < size[0] / size[1] < 1.6, f"gradients of size {size[0]:.2f}, ours {size[1]:.2f}"


def case(rows: int, side: int, size: int, **options: Any) -> Case:
    return Case(
        op="simclr_augment",
        size=f"{rows} of {side} to {size}",
        dtype="fp32",
        mode="forward+backward",
        make_inputs=partial(make_inputs, rows=rows, side=side, size=size),
        providers={"sslfast": ours, "kornia": kornia},
        check=check,
        work=rows * 12 * (1.96 * side**2 + 2 * size**2),
        unit="B",
        formula="12 (1.96 H W + 2 S S) B a view",
        **options,
    )


def cases() -> list[Case]:
    return [case(16, 256, 224, memory=True), case(256, 32, 32), case(8, 32, 32, quick=True)]


def test_case(case: Case, guard: Any) -> None:
    guard(case)
