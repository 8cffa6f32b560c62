"""Gradients of views with respect to float images are those of torchvision."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from image_augment_cases import in_floats, row
from peer_oracle import peer

from sslfast import augment as A


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(2)


@pytest.fixture
def F() -> ModuleType:
    return peer("torchvision.transforms.v2.functional")


def torchvision_operations(F: ModuleType, first: ModuleType) -> list[tuple[A.Compose, dict[str, float], object]]:
    jitter, linear = A.ColorJitter(0.5, 0.5, 0.5, 0.2), F.InterpolationMode.BILINEAR
    unit = {"jitter": 1, "brightness": 1, "contrast": 1, "saturation": 1}
    crop = in_floats(A.RandomResizedCrop((15, 40)))
    box = {"top": 5, "left": 3, "height": 20, "width": 11}
    centred = {"affine": 1, "angle": 20, "translate_x": 3, "translate_y": -2, "scale": 1.2, "shear_x": 9}
    normal = A.Compose([A.RandomHorizontalFlip(), A.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))])
    return [
        (crop, box, lambda x: F.resized_crop(x, 5, 3, 20, 11, [15, 40], antialias=True)),
        (normal, {"hflip": 1}, lambda x: F.normalize(F.hflip(x), [0.5, 0.4, 0.3], [0.2, 0.3, 0.25])),
        (in_floats(jitter), unit | {"brightness": 1.5}, lambda x: F.adjust_brightness(x, 1.5)),
        (in_floats(jitter), unit | {"contrast": 1.8}, lambda x: F.adjust_contrast(x, 1.8)),
        (in_floats(jitter), unit | {"contrast": 0.3}, lambda x: F.adjust_contrast(x, 0.3)),
        (in_floats(jitter), unit | {"saturation": 1.7}, lambda x: F.adjust_saturation(x, 1.7)),
        (in_floats(jitter), unit | {"hue": 0.21}, lambda x: first.adjust_hue(x, 0.21)),
        (in_floats(jitter), unit | {"hue": -0.4}, lambda x: first.adjust_hue(x, -0.4)),
        (in_floats(A.RandomGrayscale()), {"gray": 1}, lambda x: F.rgb_to_grayscale(x, 3)),
        (in_floats(A.GaussianBlur(9)), {"blur": 1, "sigma": 1.3}, lambda x: F.gaussian_blur(x, [9, 9], [1.3, 1.3])),
        (in_floats(A.RandomSolarize(0.6)), {"solarize": 1, "threshold": 0.6}, lambda x: F.solarize(x, 0.6)),
        (in_floats(A.RandomInvert()), {"invert": 1}, F.invert),
        (
            in_floats(A.RandomAdjustSharpness(1.9)),
            {"sharpness": 1, "factor": 1.9},
            lambda x: first.adjust_sharpness(x, 1.9),
        ),
        (
            in_floats(A.RandomAffine(20, interpolation="bilinear")),
            centred,
            lambda x: first.affine(x, 20.0, [3, -2], 1.2, [9.0, 0.0], interpolation=linear, fill=[0.0] * 3),
        ),
    ]


@pytest.mark.parametrize("number", range(14))
def test_gradients_are_those_of_torchvision(F: ModuleType, number: int) -> None:
    """The second version changes in place what its own autograd needs: there the first. Neither has auto contrast."""
    transform, columns, function = torchvision_operations(F, peer("torchvision.transforms.functional"))[number]
    images = (0.02 + 0.96 * torch.rand(3, 3, 26, 31)).requires_grad_()
    view = transform.apply_params(images, row(transform, images, **columns))
    exact = images.detach().double().requires_grad_()
    want = function(exact)
    weight = torch.randn(want.shape)
    (found,) = torch.autograd.grad((view * weight).sum(), images)
    (expected,) = torch.autograd.grad((want * weight).sum(), exact)
    off = (found - expected).abs() / (1 + expected.abs())
    assert (off > 2e-5).double().mean() < 2e-3, off.max()
