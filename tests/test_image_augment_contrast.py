"""Jitters that never draw contrast: the views they make, and what becomes of rows that ask for a contrast anyway."""

from __future__ import annotations

import re
from math import nan

import pytest
import torch
from image_augment_cases import expected, in_floats, photos, row
from torch import Tensor

from sslfast import augment as A
from sslfast import ops
from sslfast.augment._gradient import gradient_in_torch
from sslfast.augment._transform import Transform

JITTERED = {"jitter": 1, "brightness": 1.2, "contrast": 1, "saturation": 0.7, "hue": 0.1}
LISTS = {  # of one segment each
    "alone": lambda jitter: [jitter(0.5)],
    "of a crop": lambda jitter: [A.RandomResizedCrop((9, 13)), jitter(0.5, 0.4, 0.2), A.GaussianBlur(5)],
    "behind a blur": lambda jitter: [A.GaussianBlur(5), jitter(0.5, 0.4, 0.2)],
    "behind another": lambda jitter: [A.ColorJitter(0.3, 0.5), jitter(0.5, 0.4), A.RandomSolarize(0.4, 0.5)],
    "before another": lambda jitter: [jitter(0.5, hue=0.1), A.ColorJitter(0.3, 0.5), A.RandomGrayscale(0.5)],
    "before a rotation": lambda jitter: [jitter(0.5, 0.4, 0.1), A.RandomRotation(20)],
    "behind equalize": lambda jitter: [A.RandomAutocontrast(1.0), jitter(0.5, 0.4), A.RandomAdjustSharpness(2.0)],
}


def without(brightness: float, saturation: float = 0.0, hue: float = 0.0) -> A.ColorJitter:
    return A.ColorJitter(brightness, 0.0, saturation, hue)


def with_one(brightness: float, saturation: float = 0.0, hue: float = 0.0) -> A.ColorJitter:
    """Which may draw a contrast other than 1."""
    return A.ColorJitter(brightness, 0.8, saturation, hue)


@pytest.mark.parametrize("name", LISTS)
def test_views_are_those_of_a_contrast_of_one(device: torch.device, name: str) -> None:
    """By the reference; and draws of all else are the same."""
    images = photos(5, 3, 23, 31).to(device)
    transform, other = (in_floats(*LISTS[name](jitter)) for jitter in (without, with_one))
    params = transform.sample_params(images, generator=5)
    for column, drawn, others in zip(
        transform.columns, params.unbind(1), other.sample_params(images, generator=5).unbind(1), strict=True
    ):
        assert torch.equal(drawn, others) or column.startswith("contrast")
    got = transform.apply_params(images, params)
    off = (got.cpu().double() - expected(transform, images, params.cpu())).abs()
    assert (off > 2e-5).double().mean() < 2e-3
    torch.testing.assert_close(got, other.apply_params(images, params), atol=1e-5, rtol=0)


def test_which_jitters_have_none() -> None:
    """Whose range is [1, 1], whatever else they draw."""
    images = photos(1, 3, 8, 8)
    for jitter, has in (
        *((A.ColorJitter(), False), (A.ColorJitter(0.8, 0, 0.3, 0.1), False), (A.ColorJitter(contrast=(1, 1)), False)),
        *((A.ColorJitter(contrast=0.1), True), (A.ColorJitter(contrast=(1, 1.5)), True), (A.SimCLRAugment(8), True)),
    ):
        transform = jitter.transforms[0] if isinstance(jitter, A.SimCLRAugment) else jitter
        params = row(transform, images, **(JITTERED | {"contrast": 1.5}))
        if has:
            transform.apply_params(images, params)
        else:
            with pytest.raises(ValueError, match="contrast"):
                transform.apply_params(images, params)


@pytest.mark.parametrize("value", [0.0, 0.7, -1.0, nan])
def test_a_contrast_that_is_not_drawn_is_refused(value: float) -> None:
    """On the CPU, of any row that its jitter acts on, of the jitter that has none."""
    images = photos(3, 3, 6, 7)
    two = in_floats(A.CenterCrop(5), A.ColorJitter(contrast=0.5), A.RandomResizedCrop(4), A.ColorJitter(0.5))
    params = two.sample_params(images, generator=1)
    place = two.columns.index("contrast_2")
    params[0, two.columns.index("contrast")] = 0.6
    two.apply_params(images, params)
    params[1, place] = value
    text = re.escape(f"params must have contrast 1 for a ColorJitter without it, got {value:g}")
    arrays = images.numpy(), params.numpy()
    views, both = A.MultiView([two, two]), [two.sample_params(images), params]
    for name, call in (
        ("Compose", lambda: two.apply_params(images, params)),
        ("Compose", lambda: two.host().apply_params(*arrays, layout="NCHW")),
        ("MultiView", lambda: views.apply_params(images, both)),
        ("MultiView", lambda: views.host().apply_params(arrays[0], [one.numpy() for one in both], layout="NCHW")),
    ):
        with pytest.raises(ValueError, match=f"^{name}: {text}$"):
            call()
    two.apply_masks(images[:, 0], params)  # of colours masks know nothing
    params[1, two.columns.index("jitter_2")] = 0
    assert two.apply_params(images, params).isfinite().all()


def views_of(transform: Transform, images: Tensor, params: Tensor) -> Tensor:
    """By the operator, which does not read parameters on the host."""
    (segment,) = transform._plan.segments
    size, channels = segment.view_size("views", [(images.shape[2], images.shape[3])]), images.shape[1]
    asked = (None, segment.codes, segment.settings, *size, [0.0] * channels, [1.0] * channels, torch.float32, False)
    return ops.image_augment([images], params[:, None].contiguous(), *asked)[0]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", LISTS)
def test_its_view_is_nan(device: torch.device, name: str, channels: int) -> None:
    """That view alone, all of it, wherever the jitter stands in the list."""
    images = photos(3, channels, 23, 31).to(device)
    transform = in_floats(*LISTS[name](without))
    params = transform.sample_params(images, generator=5)
    contrasts = [k for k, column in enumerate(transform.columns) if column.startswith("contrast")]
    (place,) = [k for k in contrasts if bool((params[:, k] == 1).all())]
    want = views_of(transform, images, params)
    assert want.isfinite().all()
    params[1, place] = 0.9
    got = views_of(transform, images, params)
    assert got[1].isnan().all()
    assert torch.equal(got[::2], want[::2])
    params[1, place - 3] = 0  # where the jitter does not act, nothing asks for it
    assert views_of(transform, images, params).isfinite().all()


def test_its_gradient_is_nan() -> None:
    """On every backend, but not where the jitter does not act."""
    images = torch.rand(2, 3, 9, 11)
    transform = in_floats(A.ColorJitter(0.5), A.RandomGrayscale(1.0))
    (segment,) = transform._plan.segments
    params = row(transform, images, **JITTERED, gray=1)
    params[1, transform.columns.index("contrast")] = 0.9
    arguments = (torch.ones_like(images), images, params[:, None], segment.codes, segment.settings, [1.0] * 3)
    for found in (ops.image_augment_backward(*arguments), gradient_in_torch(*arguments)):
        assert found[0].isfinite().all()
        assert found[1].isnan().all()
    params[1, transform.columns.index("jitter")] = 0
    for found in (ops.image_augment_backward(*arguments), gradient_in_torch(*arguments)):
        assert found.isfinite().all()
