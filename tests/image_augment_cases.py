"""Images and parameters that the tests of image_augment share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast._image_steps import COLUMNS, INTERPOLATIONS, NO_FILL
from sslfast.augment import Compose, ToDtype
from sslfast.augment._transform import Transform
from sslfast.reference import image_augment as reference


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def photos(rows: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth images: noise stretched, with exact black, white and gray regions."""
    coarse = torch.rand(rows, channels, 5, 5) * 1.4 - 0.2
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    x[..., : height // 8, : width // 2] = 0.5
    return (x * 255).round().byte()


def in_floats(*transforms: Transform) -> Compose:
    """The transforms, with views of floats in [0, 1]."""
    return Compose([*transforms, ToDtype()])


def row(transform: Transform, images: Tensor, **columns: float) -> Tensor:
    """Parameters by hand for every image: the whole image, unchanged where nothing is said."""
    height, width = images.shape[-2:]
    size = transform._plan.segments[0].resample.view(height, width)
    plain = {"height": height, "width": width, "target_height": size[0], "target_width": size[1], "scale": 1}
    values = {**plain, **columns}
    assert set(columns) <= set(transform.columns)
    one = torch.tensor([float(values.get(name, 0)) for name in transform.columns])
    return one.expand(len(images), -1).contiguous().to(images.device)


def expected(transform: Transform, images: Tensor, params: Tensor) -> Tensor:
    """The views of ``params`` by the reference in float64, before normalisation."""
    (segment,) = transform._plan.segments
    one = segment.resample
    settings = reference.Settings(one.interpolation, one.antialias, one.fill, padding_mode=one.padding_mode)
    for step in segment.steps:
        if step.name == "blur":
            settings = settings._replace(kernel_size=(int(step.settings[0]), int(step.settings[1])))
        if step.name in ("affine", "choice"):
            fill = None if step.settings[1] == NO_FILL else step.fill or step.settings[1]
            mode = INTERPOLATIONS[int(step.settings[0])]
            settings = settings._replace(affine_interpolation=mode, affine_fill=fill)
    views = []
    for image, values in zip(images.cpu(), params.tolist(), strict=True):
        steps, start = [], 0
        for name in ("resample", *(step.name for step in segment.steps)):
            steps.append((name, values[start : start + len(COLUMNS[name])]))
            start += len(COLUMNS[name])
        size = segment.resample.view(*image.shape[-2:])
        views.append(reference.view(image, steps, size, settings))
    return torch.stack(views)
