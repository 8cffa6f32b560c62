"""Draws the gallery of docs/augment.md and docs/augment_batch.md: ``python docs/augment_figures.py [folder]``.

One sheet per family of transforms, a row per transform at several strengths, and one with the views of every recipe.
Seeds are fixed. Needs matplotlib, whose sample photograph of Grace Hopper (US Navy, public domain) is the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib import cbook
from torch import Tensor

from sslfast import augment as A
from sslfast.augment._transform import Transform

FOLDER = Path(__file__).resolve().parent / "images" / "augment"
SIDE = 160  # of a view in a sheet
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which the sheet of recipes undoes

Row = list[tuple[str, Tensor]]


def photograph() -> Tensor:
    """The upper part of the photograph, uint8 (1, 3, 512, 512)."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        pixels = plt.imread(file, format="jpg")
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None, :, :512]


def one(images: Tensor, transform: Transform, seed: int = 0) -> Tensor:
    """The view of one image by one transform, (H, W, 3) of bytes."""
    return A.Compose([transform])(images, generator=seed)[0].permute(1, 2, 0)


def small(images: Tensor) -> Tensor:
    return A.Resize((SIDE, SIDE))(images)


def draws(name: str, images: Tensor, transform: Transform, count: int = 5) -> Row:
    """A transform with several seeds."""
    return [(name if seed == 0 else "", one(images, transform, seed + 1)) for seed in range(count)]


def strengths(images: Tensor, transforms: dict[str, Transform]) -> Row:
    return [(name, one(images, transform)) for name, transform in transforms.items()]


def geometry(images: Tensor) -> list[Row]:
    tiny = small(images)
    padded = A.RandomCrop(SIDE, padding=SIDE // 4, fill=0.5)
    return [
        draws("RandomResizedCrop", images, A.RandomResizedCrop(SIDE)),
        strengths(
            A.CenterCrop(64)(images),
            {
                "nearest": A.Resize((SIDE, SIDE), "nearest"),
                "bilinear": A.Resize((SIDE, SIDE)),
                "bicubic": A.Resize((SIDE, SIDE), "bicubic"),
                "to 32, antialias": A.Compose([A.Resize((32, 32))]),
                "to 32, without": A.Compose([A.Resize((32, 32), antialias=False)]),
            },
        ),
        draws("RandomCrop, padding", tiny, padded),
        strengths(images, {f"CenterCrop({side})": A.CenterCrop(side) for side in (96, 192, 320, 512, 640)}),
        [
            *strengths(tiny, {"horizontal flip": A.RandomHorizontalFlip(1.0), "vertical": A.RandomVerticalFlip(1.0)}),
            *draws("RandomRotation(45)", tiny, A.RandomRotation(45, "bilinear"), 3),
        ],
        strengths(tiny, {f"rotation {v:+}": A.RandomRotation((v, v), "bilinear") for v in (-90, -30, -10, 10, 45)}),
        strengths(
            tiny,
            {
                "scale 0.5": A.RandomAffine(0, scale=(0.5, 0.5), interpolation="bilinear"),
                "scale 1.5": A.RandomAffine(0, scale=(1.5, 1.5), interpolation="bilinear"),
                "shear x 20": A.RandomAffine(0, shear=(20, 20), interpolation="bilinear"),
                "shear y 20": A.RandomAffine(0, shear=(0, 0, 20, 20), interpolation="bilinear"),
                "all, fill 0.5": A.RandomAffine((20, 20), (0, 0), (0.8, 0.8), (15, 15), "bilinear", 0.5),
            },
        ),
        draws("RandomAffine", tiny, A.RandomAffine(15, (0.2, 0.2), (0.7, 1.3), 20, "bilinear", 0.5)),
    ]


def colours(images: Tensor) -> list[Row]:
    tiny = small(images)
    levels = (0.25, 0.6, 1.0, 1.5, 2.0)
    rows = [
        strengths(tiny, {f"{name} {value}": A.ColorJitter(**{name: (value, value)}) for value in levels})
        for name in ("brightness", "contrast", "saturation")
    ]
    rows.append(strengths(tiny, {f"hue {v:+}": A.ColorJitter(hue=(v, v)) for v in (-0.4, -0.2, 0.0, 0.2, 0.4)}))
    rows.append(draws("ColorJitter, SimCLR's", tiny, A.ColorJitter(0.8, 0.8, 0.8, 0.2)))
    rows.append(strengths(tiny, {f"solarize {v}": A.RandomSolarize(v, 1.0) for v in (0.9, 0.7, 0.5, 0.3, 0.0)}))
    rows.append(strengths(tiny, {f"posterize {v}": A.RandomPosterize(v, 1.0) for v in (6, 4, 3, 2, 1)}))
    rows.append(
        strengths(
            tiny,
            {
                "grayscale": A.RandomGrayscale(1.0),
                "invert": A.RandomInvert(1.0),
                "autocontrast": A.Compose([A.ColorJitter(contrast=(0.4, 0.4)), A.RandomAutocontrast(1.0)]),
                "equalize": A.RandomEqualize(1.0),
                "": A.ColorJitter(),
            },
        )
    )
    return rows


def neighbourhoods(images: Tensor) -> list[Row]:
    tiny = small(images)
    return [
        strengths(tiny, {f"blur, sigma {v}": A.GaussianBlur(23, v) for v in (0.1, 0.5, 1.0, 2.0, 4.0)}),
        strengths(tiny, {f"sharpness {v}": A.RandomAdjustSharpness(v, 1.0) for v in (0.0, 0.5, 1.0, 3.0, 8.0)}),
        draws("RandAugment(2, 9)", tiny, A.RandAugment()),
        draws("RandAugment(3, 20)", tiny, A.RandAugment(3, 20)),
        draws("TrivialAugmentWide", tiny, A.TrivialAugmentWide()),
    ]


RECIPES: dict[str, A.MultiView] = {
    "SimCLR": A.SimCLRAugment(SIDE, 4),
    "MoCo v1": A.MultiView([A.MoCoV1Augment(SIDE).transforms[0]] * 4),
    "MoCo v2, SimSiam": A.MultiView([A.MoCoV2Augment(SIDE).transforms[0]] * 4),
    "MoCo v3": A.MultiView([*A.MoCoV3Augment(SIDE).transforms] * 2),
    "BYOL": A.MultiView([*A.BYOLAugment(SIDE).transforms] * 2),
    "SwAV": A.SwAVAugment((SIDE, 69), (2, 2)),
    "DINO": A.DINOAugment(SIDE, local_size=69, local_views=2),
    "DINOv2": A.DINOv2Augment(SIDE, local_size=70, local_views=2),
    "MSN": A.MSNAugment((SIDE, 69), (2, 2)),
    "MAE": A.MultiView([A.MAEAugment(SIDE).transforms[0]] * 4),
    "I-JEPA": A.MultiView([A.IJEPAAugment(SIDE).transforms[0]] * 4),
    "CLIP": A.MultiView([A.CLIPAugment(SIDE, mean=MEAN, std=STD).transforms[0]] * 4),
    "ImageNet": A.MultiView([A.ImageNetAugment(SIDE)] * 4),
    "ImageNetEval": A.MultiView([A.ImageNetEval(SIDE, resize=SIDE * 8 // 7)]),
    "ImageNet, RandAugment": A.MultiView([A.ImageNetAugment(SIDE, rand_augment=2)] * 4),
}


def recipes(images: Tensor) -> list[Row]:
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    rows = []
    for name, recipe in RECIPES.items():
        views = [(view[0] * std + mean).clamp(0, 1).permute(1, 2, 0) for view in recipe(images, generator=3)]
        rows.append([(name if k == 0 else "", view) for k, view in enumerate(views)])
    return rows


def batches(images: Tensor, count: int = 5) -> list[Row]:
    """Erased images, and the photograph mixed with its mirrored negative."""
    tiny = small(images)
    negative = A.Compose([A.RandomHorizontalFlip(1.0), A.RandomInvert(1.0)])(tiny)
    pairs = torch.cat([tiny, negative]).div(255).repeat(count, 1, 1, 1)
    rows = []
    for name, erase in {
        "RandomErasing": A.RandomErasing(1.0),
        "value='random'": A.RandomErasing(1.0, value="random"),
    }.items():
        erased = erase(pairs[::2], generator=1)
        assert isinstance(erased, Tensor)
        rows.append([(name if k == 0 else "", view) for k, view in enumerate(pixels(erased))])
    mixes = {
        "MixUp": A.MixUp(mode="elem"),
        "CutMix": A.CutMix(mode="elem"),
        "RandomMix": A.RandomMix(cutmix_alpha=1.0, mode="elem", num_classes=None),
    }
    for name, mix in mixes.items():
        params = mix.sample_params(pairs, generator=4)
        mixed, targets = mix(pairs, params=params)[:2]
        assert isinstance(targets, A.MixedLabels)
        shares = targets.lam.expand(2 * count)[::2].tolist()
        rows.append([(f"{name}, {lam:.2f}", view) for lam, view in zip(shares, pixels(mixed[::2]), strict=True)])
    return rows


def pixels(images: Tensor) -> list[Tensor]:
    return list(images.clamp(0, 1).permute(0, 2, 3, 1))


SHEETS = {
    "geometry": geometry,
    "colours": colours,
    "neighbourhoods": neighbourhoods,
    "recipes": recipes,
    "batches": batches,
}


def save(rows: list[Row], path: Path, dpi: int) -> None:
    columns = max(map(len, rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=(1.7 * columns, 1.85 * len(rows)), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, (title, view) in zip(line, row, strict=False):
            axis.imshow(view.numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=8, loc="left")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=dpi, pil_kwargs={"quality": 85})
    plt.close(figure)


def main(folder: Path = FOLDER, dpi: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = photograph()
    for name, draw in SHEETS.items():
        save(draw(images), folder / f"{name}.jpg", dpi)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
