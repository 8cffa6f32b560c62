"""Images and parameters that the tests of image_augment share."""

from __future__ import annotations

import torch
from torch import Tensor

from sslfast.augment import PARAMS

RULES = {"scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3), "hflip_prob": 0.5, "jitter_prob": 0.8, "gray_prob": 0.2}
STRENGTH = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
FACTORS = ((1 - 0.8, 1 + 0.8),) * 3 + ((-0.2, 0.2),)
RGB = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {
    "flip": 0.0,
    "jitter": 1.0,
    "order": 0.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,
    "gray": 0.0,
}


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def photos(rows: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth images: noise stretched, with exact black, white and gray regions."""
    coarse = torch.rand(rows, channels, 5, 5) * 1.4 - 0.2
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    x[..., : height // 8, : width // 2] = 0.5
    return (x * 255).round().byte()


def row(image: Tensor, **columns: float) -> Tensor:
    """Parameters by hand, (N, 1, 12): the whole image, unchanged where nothing is said."""
    values = {"top": 0, "left": 0, "height": image.shape[2], "width": image.shape[3], **PLAIN, **columns}
    return torch.tensor([values[name] for name in PARAMS], device=image.device).float().expand(len(image), 1, -1)
