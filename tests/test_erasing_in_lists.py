"""Random erasing as the end of a list of transforms, and of uint8 images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import noise, photos

from sslfast import augment as A
from sslfast import host
from sslfast.reference.random_erase import erase_boxes as reference

STEPS = (A.RandomResizedCrop((14, 17)), A.RandomHorizontalFlip())
FORMS = {
    "normalised": ([A.Normalize()], 0.25),
    "per channel, half": ([A.Normalize(), A.ToDtype(torch.float16)], (0.5, -1.0, 2.0)),
    "noise": ([A.Normalize()], "random"),
    "uint8": ([], 37),
}


def listed(form: str, p: float = 0.7) -> tuple[A.Compose, A.Compose]:
    """With erasing, and without."""
    last, value = FORMS[form]
    erasing = A.RandomErasing(p, value=value)
    return A.Compose([*STEPS, erasing, *last]), A.Compose([*STEPS, *last])


@pytest.mark.parametrize("form", FORMS)
def test_the_views_with_their_boxes_erased(device: torch.device, form: str) -> None:
    images = photos(24, 3, 20, 26).to(device)
    with_boxes, without = listed(form)
    params = with_boxes.sample_params(images, generator=5)
    views, plain = with_boxes(images, generator=5), without(images, generator=5)
    assert with_boxes.columns[-6:] == tuple(f"erase_{name}" for name in A.ERASE_PARAMS)
    assert torch.equal(params[:, :-6], without.sample_params(images, generator=5))
    want = reference(plain.cpu(), params[:, -6:].cpu(), FORMS[form][1])
    if form == "noise":
        torch.testing.assert_close(views.cpu(), want, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(views.cpu(), want)
    assert 0.3 < (params[:, -4] > 0).float().mean() < 1  # some are, some are not
    out = torch.empty_like(views)
    assert torch.equal(with_boxes(images, generator=5, out=out), views)
    last = with_boxes(images, generator=5, memory_format=torch.channels_last)
    assert torch.equal(last, views)
    shard = with_boxes(images[9:], generator=5, row_offset=9)
    assert torch.equal(shard, views[9:])


def test_views_of_one_image_have_boxes_of_their_own(device: torch.device) -> None:
    images = photos(40, 3, 20, 26).to(device)
    transform = listed("normalised", p=1.0)[0]
    recipe = A.MultiView([transform, transform])
    params = recipe.sample_params(images, generator=1)
    boxes = [one[:, -6:-2] for one in params]
    assert (boxes[0] != boxes[1]).any(1).float().mean() > 0.9
    views = recipe(images, generator=1)
    for view, one in zip(views, params, strict=True):
        assert torch.equal(view, transform.apply_params(images, one))


def test_two_boxes(device: torch.device) -> None:
    """Two boxes are drawn apart, and erased in order."""
    images = torch.zeros(30, 1, 16, 16, device=device)
    twice = A.Compose([A.RandomErasing(1.0, value=1.0), A.RandomErasing(1.0, value=2.0)])
    params = twice.sample_params(images, generator=2)
    assert twice.columns[-6:] == tuple(f"erase_{name}_2" for name in A.ERASE_PARAMS)
    assert (params[:, -12:-8] != params[:, -6:-2]).any(1).float().mean() > 0.9
    want = A.erase_boxes(A.erase_boxes(images, params[:, -12:-6], 1.0), params[:, -6:], 2.0)
    assert torch.equal(twice(images, generator=2), want)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays(form: str, layout: str) -> None:
    images = photos(9, 3, 20, 26)
    transform = listed(form)[0]
    recipe = A.MultiView([transform, A.RandomResizedCrop(8), transform])
    want = recipe(images, generator=-3)
    again = host.ImageViews.from_json(recipe.host().to_json())
    for views in (recipe.host(), again):
        got = views(images.permute(0, 2, 3, 1).numpy(), seed=-3, out_layout=layout)
        for a, b in zip(got, want, strict=True):
            a = a if layout == "NCHW" else a.transpose(0, 3, 1, 2)
            assert np.array_equal(a, b.numpy())


def test_masks_and_gradients_pass() -> None:
    images = torch.rand(6, 3, 12, 12, requires_grad=True)
    transform = A.Compose([A.RandomResizedCrop(9), A.RandomErasing(1.0, value=0.5)])
    params = transform.sample_params(images, generator=1)
    transform.apply_params(images, params).sum().backward()
    mask = transform.apply_params(torch.ones_like(images), params)
    assert (mask == 0.5).any()
    plain = A.RandomResizedCrop(9)
    other = images.detach().clone().requires_grad_()
    (plain.apply_params(other, params[:, :-6]) * (mask != 0.5)).sum().backward()
    torch.testing.assert_close(images.grad, other.grad)
    masks = torch.ones(6, 12, 12, dtype=torch.uint8)
    assert torch.equal(transform.apply_masks(masks, params), plain.apply_masks(masks, params[:, :-6]))


def test_bytes_are_erased_as_torchvision_does(device: torch.device) -> None:
    images = noise(5, 3, 9, 11).to(device)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = images.contiguous(memory_format=layout)
        for value in (0, 255, (1, 2, 3)):
            erased, params = A.RandomErasing(1.0, value=value)(given, return_params=True, generator=3)
            assert torch.equal(erased.cpu(), reference(images.cpu(), params.cpu(), value))
            copy = given.clone()
            A.erase_boxes(copy, params, value, inplace=True)
            assert torch.equal(copy, erased)
    array = images.cpu().numpy()
    assert np.array_equal(host.erase_boxes(array, params.cpu().numpy(), (1, 2, 3)), erased.cpu().numpy())


IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: A.Compose([A.RandomErasing(), A.RandomInvert()]),
            "Compose: transforms after RandomErasing must be Normalize, ToDtype or RandomErasing",
        ),
        (
            lambda: A.Compose([A.RandomErasing(generator=1)]),
            "RandomErasing: generator must be None in a list of transforms, which draws for it, got one",
        ),
        (
            lambda: A.Compose([A.RandomErasing()] * 17),
            "Compose: transforms must have at most 16 RandomErasing, got more",
        ),
        (
            lambda: A.Compose([A.RandomErasing(value=(1.0, 2.0))])(IMAGES),
            "Compose: value must have 1 or 3 numbers, one per channel, at most 64, got 2",
        ),
        (
            lambda: A.Compose([A.RandomErasing(value="random")])(IMAGES),
            'Compose: value must be a number, or one per channel, for uint8 images, got "random"',
        ),
        (
            lambda: A.RandomErasing(value=256)(IMAGES),
            "RandomErasing: value must be in [0, 255] for uint8 images, got (256.0,)",
        ),
        (
            lambda: host.erase_boxes(IMAGES.numpy(), np.zeros((2, 6), np.float32), -1.0),
            "erase_boxes: value must be in [0, 255] for uint8 images, got (-1.0,)",
        ),
    ],
)
def test_bad_input(call: object, text: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        call()
    assert str(caught.value) == text
