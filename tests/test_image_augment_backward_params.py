"""Parameters by hand, out of range: the gradient clips them as the view does, on every backend."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch
from image_augment_cases import in_floats, row

from sslfast import augment as A
from sslfast import ops
from sslfast.augment._gradient import gradient_in_torch

UNIT = {"jitter": 1, "brightness": 1, "contrast": 1, "saturation": 1}
BOX = {"top": 1, "left": 2, "height": 3, "width": 5}
CASES = [
    *((A.ColorJitter(contrast=0.5), UNIT | {name: value}) for name in list(UNIT)[1:] for value in (-1, 2e6, nan, inf)),
    *((A.ColorJitter(), UNIT | {"hue": value}) for value in (0.7, -0.9, nan, inf)),
    *((A.ColorJitter(), UNIT | {"brightness": 1.2, "hue": 0.1, "order": value}) for value in (-3, 99, nan)),
    *((A.RandomAdjustSharpness(1.0), {"sharpness": 1, "factor": value}) for value in (-1, nan, inf)),
    *((A.GaussianBlur(5), {"blur": 1, "sigma": value}) for value in (-1, 0, nan, 30)),
    *((A.RandomAffine(10), {"affine": 1, "angle": 30, "scale": value}) for value in (-1, 0, nan)),
    *((A.RandomResizedCrop(6), BOX | {"top": value}) for value in (-3, 20, 1.5, nan, inf)),
    *((A.RandomResizedCrop(6), BOX | {"width": value}) for value in (-3, 0, 20, 3.9, nan)),
    *((A.RandomResizedCrop(6), BOX | {"offset_top": value}) for value in (3.5, 50, nan)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_parameters_out_of_range(number: int) -> None:
    transform, columns = CASES[number]
    transform = in_floats(transform)
    images = 0.1 + 0.8 * torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(number))
    (segment,) = transform._plan.segments
    params = row(transform, images, **columns)
    grad = torch.linspace(-1, 1, transform.apply_params(images, params).numel())
    grad = grad.view_as(transform.apply_params(images, params))
    arguments = (grad, images, params[:, None], segment.codes, segment.settings, [1.0] * 3)
    torch.testing.assert_close(
        gradient_in_torch(*arguments), ops.image_augment_backward(*arguments), atol=2e-5, rtol=1e-5
    )
