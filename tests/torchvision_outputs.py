"""What torchvision's float functionals make of one small image, stored for machines that have no torchvision.

``python tests/torchvision_outputs.py`` writes torchvision_outputs.npz anew, with the version that made it. The image is
a formula in integers, so the file holds outputs alone, in float32. ``CASES`` says which parameters of ours ask for the
same: a transform, the columns that are set by hand, and how far two outputs may be apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sslfast import augment as A
from sslfast._image_steps import CHOICES
from sslfast.augment._transform import Transform

FILE = Path(__file__).with_suffix(".npz")
HEIGHT, WIDTH = 17, 17
BOX = {"top": 2, "left": 3, "height": 9, "width": 11}
PLAIN_JITTER = {"jitter": 1, "brightness": 1, "contrast": 1, "saturation": 1}
CLOSE = 2e-6


def image() -> Tensor:
    """uint8 (1, 3, 17, 17), just enough pixels for equalize: waves, a gray corner, a bright and a dark line."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.int64)
    planes = np.stack([(37 * x + 11 * y * y) % 241, (23 * y + 5 * x * x + 60) % 233, (29 * (x + y) + x * y) % 251])
    planes[:, :3, :4] = 128
    planes[:, 6, :] = 250
    planes[:, :, 9] = 3
    return torch.from_numpy(planes.astype(np.uint8))[None]


class Case(NamedTuple):
    """An operation of ours with its parameters, and torchvision's of the same."""

    transform: Callable[[], Transform]
    columns: dict[str, float]
    peer: Callable[[Any, Tensor], Tensor]  # (torchvision.transforms.v2.functional, image in float64)
    atol: float = CLOSE
    odd: float = 0.0  # share of pixels that may be further apart: the nearest pixel of a point halfway


def _crop(how: str, antialias: bool, size: tuple[int, int]) -> Case:
    def peer(F: Any, x: Tensor) -> Tensor:
        mode = F.InterpolationMode(how)
        return F.resized_crop(x, *BOX.values(), list(size), interpolation=mode, antialias=antialias).clamp(0, 1)

    return Case(lambda: A.RandomResizedCrop(size, interpolation=how, antialias=antialias), BOX, peer)


COLOURS = (0.1, 0.9, 0.4)  # a fill a channel


def _affine(how: str, corner: bool, *values: float, fill: float | tuple[float, ...] = 0.25) -> Case:
    names = ("angle", "translate_x", "translate_y", "scale", "shear_x", "shear_y")
    angle, move_x, move_y, scale, shear_x, shear_y = values

    def peer(F: Any, x: Tensor) -> Tensor:
        return F.affine(
            *(x, angle, [move_x, move_y], scale, [shear_x, shear_y]),
            interpolation=F.InterpolationMode(how),
            fill=list(fill) if isinstance(fill, tuple) else [fill] * 3,
            center=[0, 0] if corner else None,
        )

    columns = {"affine": 1, "corner": float(corner), **dict(zip(names, values, strict=True))}
    transform = lambda: A.RandomAffine(90, interpolation=how, fill=fill)  # noqa: E731
    return Case(transform, columns, peer, 2e-5, 0.02 if how == "nearest" else 0.0)


def _blur(kernel_size: int, sigma: float) -> Case:
    def peer(F: Any, x: Tensor) -> Tensor:
        return F.gaussian_blur(x, [kernel_size] * 2, [sigma] * 2)

    return Case(lambda: A.GaussianBlur(kernel_size), {"blur": 1, "sigma": sigma}, peer, 1e-5)


def _jitter(name: str, value: float) -> Case:
    columns = {**PLAIN_JITTER, name: value}
    return Case(lambda: A.ColorJitter(0.9, 0.9, 0.9, 0.5), columns, lambda F, x: getattr(F, f"adjust_{name}")(x, value))


def _sharpness(value: float) -> Case:
    columns = {"sharpness": 1, "factor": value}
    return Case(lambda: A.RandomAdjustSharpness(1.0), columns, lambda F, x: F.adjust_sharpness(x, value))


def _choice(name: str, magnitude: float) -> Case:
    """An operation of RandAugment, by torchvision's own dispatch."""

    def peer(F: Any, x: Tensor) -> Tensor:
        from torchvision.transforms import v2

        theirs = v2.RandAugment()
        names = {key.lower(): key for key in v2.RandAugment._AUGMENTATION_SPACE}
        key = names[name.replace("_", "") if name.replace("_", "") in names else name]
        return theirs._apply_image_or_video_transform(
            x.float(), key, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=theirs._fill
        )

    columns = {"choice": float(CHOICES.index(name)), "magnitude": magnitude}
    return Case(lambda: A.RandAugment(1), columns, peer, 2e-5, 0.02)


def _padded(mode: str = "constant", fill: float | tuple[float, ...] = 0.25) -> Case:
    def peer(F: Any, x: Tensor) -> Tensor:
        how = {"fill": list(fill) if isinstance(fill, tuple) else fill} if mode == "constant" else {}
        return F.crop(F.pad(x, [14, 13, 12, 11], padding_mode=mode, **how), 6, 20, 12, 15)

    columns = {"target_height": HEIGHT, "target_width": WIDTH, "offset_top": -7, "offset_left": 6}
    return Case(lambda: A.RandomCrop((12, 15), (14, 13, 12, 11), fill=fill, padding_mode=mode), columns, peer)


def _rotation(how: str, angle: float) -> Case:
    def peer(F: Any, x: Tensor) -> Tensor:
        return F.rotate(x, angle, F.InterpolationMode(how), fill=list(COLOURS))

    columns = {"affine": 1, "angle": -angle}  # ours turns clockwise
    transform = lambda: A.RandomRotation(90, how, fill=COLOURS)  # noqa: E731
    return Case(transform, columns, peer, 2e-5, 0.02 if how == "nearest" else 0.0)


def _erased(F: Any, x: Tensor) -> Tensor:
    return F.erase(x, 3, 5, 7, 9, torch.tensor(COLOURS, dtype=x.dtype)[:, None, None])


CASES: dict[str, Case] = {
    **{
        f"resized_crop {how} {'antialias' if antialias else 'plain'} {size[0]}x{size[1]}": _crop(how, antialias, size)
        for how in ("nearest", "bilinear", "bicubic")
        for antialias in (True, False)
        for size in ((5, 7), (11, 13))
        if antialias or how != "nearest"
    },
    "resize": Case(lambda: A.Resize((9, 23)), {}, lambda F, x: F.resize(x, [9, 23])),
    "resize and center_crop": Case(
        lambda: A.Compose([A.Resize(11), A.CenterCrop((8, 9))]),
        {"target_height": 11, "target_width": 11, "offset_top": 2, "offset_left": 1},
        lambda F, x: F.center_crop(F.resize(x, [11]), [8, 9]),
    ),
    "pad and crop": _padded(),
    "pad and crop, a fill a channel": _padded(fill=COLOURS),
    **{f"pad and crop, {mode}": _padded(mode) for mode in ("edge", "reflect", "symmetric")},
    "erase": Case(
        lambda: A.RandomErasing(1.0, value=COLOURS),
        {"erase_top": 3, "erase_left": 5, "erase_height": 7, "erase_width": 9},
        _erased,
    ),
    "horizontal_flip": Case(lambda: A.RandomHorizontalFlip(), {"hflip": 1}, lambda F, x: F.horizontal_flip(x)),
    "vertical_flip": Case(lambda: A.RandomVerticalFlip(), {"vflip": 1}, lambda F, x: F.vertical_flip(x)),
    "brightness up": _jitter("brightness", 1.5),
    "brightness down": _jitter("brightness", 0.3),
    "contrast up": _jitter("contrast", 1.7),
    "contrast down": _jitter("contrast", 0.2),
    "saturation up": _jitter("saturation", 1.9),
    "saturation down": _jitter("saturation", 0.1),
    "hue -0.5": _jitter("hue", -0.5),
    "hue 0.2": _jitter("hue", 0.2),
    "grayscale": Case(lambda: A.RandomGrayscale(), {"gray": 1}, lambda F, x: F.rgb_to_grayscale(x, 3)),
    "solarize": Case(
        lambda: A.RandomSolarize(), {"solarize": 1, "threshold": 0.4321}, lambda F, x: F.solarize(x, 0.4321)
    ),
    "posterize": Case(
        lambda: A.RandomPosterize(3), {"posterize": 1, "bits": 3}, lambda F, x: F.posterize(x.float(), 3)
    ),
    "invert": Case(lambda: A.RandomInvert(), {"invert": 1}, lambda F, x: F.invert(x)),
    "autocontrast": Case(lambda: A.RandomAutocontrast(), {"autocontrast": 1}, lambda F, x: F.autocontrast(x)),
    "equalize": Case(
        lambda: A.RandomEqualize(),
        {"equalize": 1},
        lambda F, x: F.equalize((x * 255).round().byte()).double() / 255,
    ),
    "sharpness 0": _sharpness(0.0),
    "sharpness 1.9": _sharpness(1.9),
    "blur 3": _blur(3, 0.5),
    "blur 7": _blur(7, 1.3),
    "blur 13": _blur(13, 2.0),
    "affine nearest": _affine("nearest", False, -77, 5, -3, 0.8, 10, -20),
    "affine bilinear": _affine("bilinear", False, -77, 5, -3, 0.8, 10, -20),
    "affine bilinear corner": _affine("bilinear", True, 31, 1, 2, 1.2, 0, 5),
    "affine, a fill a channel": _affine("bilinear", False, -40, 5, -3, 0.8, 10, -20, fill=COLOURS),
    "rotate nearest": _rotation("nearest", 25.0),
    "rotate bilinear": _rotation("bilinear", -63.0),
    "normalize": Case(
        lambda: A.Normalize(), {}, lambda F, x: F.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), 1e-5
    ),
    **{
        f"RandAugment {name}": _choice(name, magnitude)
        for name, magnitude in zip(
            CHOICES, (0, 0.213, -0.317, 5, -3, 25, 0.5, -0.7, 0.8, 0.9, 4, 0.45, 0, 0), strict=True
        )
    },
}


MIXES = {  # of an image with itself upside down: ours by columns, torchvision's by what it would have drawn
    "mixup": ({"kind": 1.0, "lam": 0.3}, "MixUp", {"lam": 0.3}),
    "cutmix": (
        {"kind": 2.0, "lam": 0.8, "top": 4.0, "left": 2.0, "height": 5.0, "width": 11.0},
        "CutMix",
        {"box": (2, 4, 13, 9), "lam_adjusted": 0.8},
    ),
}


def two_images() -> Tensor:
    """float32 (2, 3, 17, 17)."""
    one = image().float() / 255
    return torch.cat([one, one.flip(2)])


def outputs(F: Any) -> dict[str, np.ndarray]:
    """torchvision's results, (3, H, W) each, in float32."""
    from torchvision.transforms import v2

    x, labels = image()[0].double() / 255, torch.zeros(2, dtype=torch.int64)
    found = {name: case.peer(F, x).float().numpy() for name, case in CASES.items()}
    for name, (_, kind, drawn) in MIXES.items():
        known = {"labels": labels, "batch_size": 2, **drawn}
        found[name] = getattr(v2, kind)(num_classes=2).transform(two_images(), known)[0].numpy()
    return found


def main() -> None:
    """Writes the file."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks import peers

    F = peers.load("torchvision.transforms.v2.functional")
    version = np.array(peers.version("torchvision"))
    np.savez_compressed(FILE, torchvision_version=version, **outputs(F))


if __name__ == "__main__":
    main()
