"""Images whose form is unusual: an alpha channel, channels of their own, sides of one pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import expected, in_floats, noise, photos, row
from peer_oracle import peer

from sslfast import augment as A

OF_COLOURS = [  # of 1 or 3 channels alone
    ("ColorJitter", "jitter", lambda: A.ColorJitter(0.4)),
    ("RandomGrayscale", "gray", A.RandomGrayscale),
    ("RandomAutocontrast", "autocontrast", A.RandomAutocontrast),
    ("RandomEqualize", "equalize", A.RandomEqualize),
    ("RandomAdjustSharpness", "sharpness", lambda: A.RandomAdjustSharpness(2.0)),
    ("RandAugment", "choice", A.RandAugment),
    ("TrivialAugmentWide", "choice", A.TrivialAugmentWide),
    ("SimCLRAugment", "jitter", lambda: A.SimCLRAugment(4)),
    ("ImageNetAugment", "choice", lambda: A.ImageNetAugment(4, rand_augment=1)),
]


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize(("name", "step", "make"), OF_COLOURS)
def test_colours_of_an_alpha_channel_are_refused(name: str, step: str, make: object, channels: int) -> None:
    images, text = noise(2, channels, 6, 6), f"{name}: {step} needs images of 1 or 3 channels, got {channels}"
    transform = make()
    if name in ("SimCLRAugment", "ImageNetAugment"):  # whose numbers are of three channels
        text = f"{name}: {step} needs images of 1 or 3 channels, got {channels}"
    with pytest.raises(ValueError, match="channels") as caught:
        transform(images)
    assert str(caught.value) == text
    with pytest.raises(ValueError, match="channels") as caught:
        transform.host()(images.numpy(), seed=1, layout="NCHW")
    assert str(caught.value) == text


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["solarize", "posterize", "invert", "gaussian_blur"])
def test_what_works_on_pixels_changes_alpha_too(device: torch.device, name: str, channels: int) -> None:
    """As torchvision's tensors; Pillow refuses RGBA."""
    transform, columns, arguments = {
        "solarize": (A.RandomSolarize(), {"solarize": 1, "threshold": 0.4}, (0.4,)),
        "posterize": (A.RandomPosterize(3), {"posterize": 1, "bits": 3}, (3,)),
        "invert": (A.RandomInvert(), {"invert": 1}, ()),
        "gaussian_blur": (A.GaussianBlur(3), {"blur": 1, "sigma": 0.8}, ([3, 3], [0.8, 0.8])),
    }[name]
    images = photos(1, channels, 9, 11)
    transform = in_floats(transform)
    got = transform.apply_params(images.to(device), row(transform, images, **columns).to(device)).cpu()
    plain = images / 255
    assert all((got[:, c] != plain[:, c]).any() for c in range(channels))
    want = getattr(peer("torchvision.transforms.v2.functional"), name)(plain, *arguments)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_every_transform_takes_sides_of_one_pixel(device: torch.device, size: tuple[int, int]) -> None:
    """In several lists, as an image has one crop."""
    images = photos(2, 3, *size).to(device)
    moving = [
        A.RandomResizedCrop((3, 2)),
        A.Resize((4, 3)),
        A.Resize(2),
        A.CenterCrop((3, 5)),
        A.RandomCrop(4, 2, True),
        *(A.RandomCrop(4, 2, True, padding_mode=mode) for mode in ("edge", "reflect", "symmetric")),
        A.RandomHorizontalFlip(1.0),
        A.RandomVerticalFlip(1.0),
    ]
    others = [
        *(A.ColorJitter(0.4, 0.4, 0.4, 0.1), A.RandomGrayscale(1.0), A.GaussianBlur(5), A.RandomSolarize(p=1.0)),
        *(A.RandomInvert(1.0), A.RandomAutocontrast(1.0), A.RandomAdjustSharpness(1.5, 1.0)),
        *(A.RandomRotation(30, "bilinear"), A.RandomAffine(30, (0.5, 0.5), (0.5, 2.0), 10)),
    ]
    for transform in (*moving, *others, A.Compose([A.RandomResizedCrop(1), *others[:6]])):
        composed = in_floats(transform)
        params = composed.sample_params(images, generator=3)
        got, want = composed.apply_params(images, params).cpu().double(), expected(composed, images, params.cpu())
        off = (got - want).abs() > 2e-5
        # A pixel halfway between two, or at a threshold, may tip over.
        assert off.double().mean() <= (0.5 if isinstance(transform, A.RandomAffine) else 0.0), transform
    for transform in (A.RandomEqualize(1.0), A.RandomPosterize(3, 1.0), A.RandAugment(), A.TrivialAugmentWide()):
        assert in_floats(transform)(images, generator=1).isfinite().all()
    for recipe in (A.SimCLRAugment(3), A.MAEAugment(3), A.ImageNetEval(3, resize=4), A.ImageNetAugment(3)):
        views = recipe(images, generator=1)
        assert all(view.isfinite().all() for view in (views if isinstance(views, list) else [views]))


def test_crops_larger_than_the_image() -> None:
    """A central one is filled, a random one says how much is missing, a resized one enlarges."""
    images = noise(1, 3, 4, 6)
    view = A.CenterCrop((6, 10))(images)
    assert torch.equal(view[:, :, 1:5, 2:8], images)
    assert int(view.count_nonzero()) == int(images.count_nonzero())
    with pytest.raises(ValueError, match="RandomCrop") as caught:
        A.RandomCrop((6, 10))(images)
    want = "RandomCrop: images must be at least (6, 10) with their padding unless pad_if_needed, got (4, 6)"
    assert str(caught.value) == want
    with pytest.raises(ValueError, match="RandomCrop") as caught:
        A.RandomCrop((6, 10)).host()(images.numpy(), seed=0, layout="NCHW")
    assert str(caught.value) == want
    assert A.RandomResizedCrop((50, 60))(images).shape == (1, 3, 50, 60)


def test_no_images_at_all(device: torch.device) -> None:
    empty = noise(0, 3, 9, 9).to(device)
    for transform in (A.RandomResizedCrop(4), A.RandAugment(), A.RandomRotation(9), A.GaussianBlur(3)):
        assert transform(empty).shape[0] == 0
        array = np.zeros((0, 9, 9, 3), np.uint8)
        assert transform.host()(array, seed=0).shape[0] == 0
