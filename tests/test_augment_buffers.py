"""Views into given buffers and in a layout that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import noise, photos

from sslfast import augment as A

LAST, FIRST = torch.channels_last, torch.contiguous_format


def test_a_call_writes_where_it_is_told(device: torch.device) -> None:
    images = noise(3, 3, 12, 14).to(device)
    transform = A.Compose([A.RandomResizedCrop(7), A.GaussianBlur(3), A.ToDtype()])
    want = transform(images, generator=4)
    for layout in (FIRST, LAST):
        out = torch.empty(3, 3, 7, 7, device=device).contiguous(memory_format=layout)
        assert transform(images, generator=4, out=out) is not None
        assert torch.equal(out, want)


@pytest.mark.parametrize("make", [lambda: A.SimCLRAugment(9), lambda: A.DINOAugment(10, local_size=6, local_views=2)])
def test_a_recipe_writes_where_it_is_told(device: torch.device, make: object) -> None:
    images = photos(2, 3, 20, 24).to(device)
    recipe = make()
    want = recipe(images, generator=7)
    out = [torch.full_like(view, torch.nan) for view in want]
    for call in (
        lambda: recipe(images, generator=7, out=out),
        lambda: recipe.apply_params(images, recipe.sample_params(images, generator=7), out=out),
    ):
        got = call()
        assert all(a.data_ptr() == b.data_ptr() for a, b in zip(got, out, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(out, want, strict=True))


def test_a_recipe_over_arrays_writes_where_it_is_told() -> None:
    images = photos(2, 3, 20, 24).permute(0, 2, 3, 1).contiguous().numpy()
    recipe = A.DINOAugment(10, local_size=6, local_views=2).host()
    want = recipe(images, seed=7)
    out = [np.full_like(view, np.nan) for view in want]
    assert all(a is b for a, b in zip(recipe(images, seed=7, out=out), out, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(out, want, strict=True))


@pytest.mark.parametrize("images", ["batch", "channels last", "list"])
def test_layout_that_is_asked_for(device: torch.device, images: str) -> None:
    batch = photos(3, 3, 20, 24).to(device)
    given = {"batch": batch, "channels last": batch.contiguous(memory_format=LAST), "list": list(batch)}[images]
    transform, recipe = A.RandomResizedCrop(9), A.SimCLRAugment(8)
    want = transform(batch, generator=2), recipe(batch, generator=2)
    for layout in (FIRST, LAST):
        view = transform(given, generator=2, memory_format=layout)
        assert view.is_contiguous(memory_format=layout)
        assert torch.equal(view, want[0])
        views = recipe(given, generator=2, memory_format=layout)
        assert all(one.is_contiguous(memory_format=layout) for one in views)
        assert all(torch.equal(a, b) for a, b in zip(views, want[1], strict=True))


IMAGES = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: A.SimCLRAugment(4)(IMAGES, out=[torch.zeros(2, 3, 4, 4)]),
            ValueError,
            "SimCLRAugment: out must be a list of 2 tensors, got 1",
        ),
        (
            lambda: A.SimCLRAugment(4)(IMAGES, out=torch.zeros(2, 2, 3, 4, 4)),
            ValueError,
            "SimCLRAugment: out must be a list of 2 tensors, got Tensor",
        ),
        (
            lambda: A.SimCLRAugment(4).host()(IMAGES.numpy(), seed=0, layout="NCHW", out=[]),
            ValueError,
            "SimCLRAugment: out must be a list of 2 arrays, got 0",
        ),
        (
            lambda: A.Resize((4, 4))(IMAGES, out=torch.zeros(2, 3, 4, 4, requires_grad=True)),
            ValueError,
            "Resize: out must not require a gradient, which what is written there has none of",
        ),
        (
            lambda: A.Resize((4, 4))(IMAGES.clone().requires_grad_(), out=torch.zeros(2, 3, 4, 4)),
            ValueError,
            "Resize: out must be None for images that require a gradient, got a tensor",
        ),
        (
            lambda: A.RandomVerticalFlip(1.0)(IMAGES, out=IMAGES),
            ValueError,
            "RandomVerticalFlip: out must not share memory with images, got a tensor that does",
        ),
        (
            lambda: A.RandomVerticalFlip(1.0)(list(IMAGES[:1].expand(2, 3, 8, 8)), out=IMAGES),
            ValueError,
            "RandomVerticalFlip: out must not share memory with images, got a tensor that does",
        ),
        (
            lambda: A.RandomVerticalFlip(1.0).host()(IMAGES.numpy(), seed=0, out=IMAGES.numpy()),
            ValueError,
            "RandomVerticalFlip: out must not share memory with images, got an array that does",
        ),
        (
            lambda: A.Resize((4, 4))(IMAGES, memory_format=torch.preserve_format),
            ValueError,
            "Resize: memory_format must be torch.contiguous_format or torch.channels_last, got torch.preserve_format",
        ),
        (
            lambda: A.Resize((4, 4))(IMAGES, memory_format="NHWC"),
            ValueError,
            "Resize: memory_format must be torch.contiguous_format or torch.channels_last, got str",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
