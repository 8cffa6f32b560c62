"""What transforms say to bad arguments, and how they present themselves."""

from __future__ import annotations

import math
from enum import IntEnum

import pytest
import torch

from sslfast import augment as A

CROP = A.RandomResizedCrop(4)

ARGUMENTS = [
    (lambda: A.RandomResizedCrop(0), ValueError, "RandomResizedCrop: size must be in [1, 16777216], got 0"),
    (
        lambda: A.RandomResizedCrop((8, 8, 8)),
        ValueError,
        "RandomResizedCrop: size must be an int or (height, width), got (8, 8, 8)",
    ),
    (lambda: A.RandomResizedCrop(8.0), TypeError, "RandomResizedCrop: size must be an int, got float"),
    (
        lambda: A.RandomResizedCrop(8, (1.0, 0.08)),
        ValueError,
        "RandomResizedCrop: scale must be (low, high) with 0 < low <= high <= 1, got (1.0, 0.08)",
    ),
    (
        lambda: A.RandomResizedCrop(8, ratio=(2.0, 1.0)),
        ValueError,
        "RandomResizedCrop: ratio must be (low, high) with 0 < low <= high, got (2.0, 1.0)",
    ),
    (lambda: A.RandomResizedCrop(8, 0.5), TypeError, "RandomResizedCrop: scale must be a tuple of numbers, got float"),
    (lambda: A.RandomResizedCrop(8, (0.1, math.nan)), ValueError, "RandomResizedCrop: scale must be finite, got nan"),
    (
        lambda: A.RandomResizedCrop(8, interpolation="lanczos"),
        ValueError,
        "RandomResizedCrop: interpolation must be one of nearest, bilinear, bicubic, got 'lanczos'",
    ),
    (
        lambda: A.RandomResizedCrop(8, antialias="no"),
        TypeError,
        "RandomResizedCrop: antialias must be a bool, got 'no'",
    ),
    (lambda: A.Resize((4, 4), max_size=9), ValueError, "Resize: max_size needs size to be an int, got (4, 4)"),
    (lambda: A.Resize(9, max_size=9), ValueError, "Resize: max_size must be in [10, 16777216], got 9"),
    (
        lambda: A.RandomCrop(4, padding=(1, 2, 3)),
        ValueError,
        "RandomCrop: padding must be an int, or 2 or 4 of them, got (1, 2, 3)",
    ),
    (
        lambda: A.RandomCrop(4, padding_mode="wrap"),
        ValueError,
        "RandomCrop: padding_mode must be 'constant', 'edge', 'reflect' or 'symmetric', got 'wrap'",
    ),
    (lambda: A.RandomCrop(4, None, 0.5), TypeError, "RandomCrop: pad_if_needed must be a bool, got 0.5"),
    (
        lambda: A.RandomCrop((9, 4), padding=(0, 1))(torch.zeros(1, 3, 6, 8)),
        ValueError,
        "RandomCrop: images must be at least (9, 4) with their padding unless pad_if_needed, got (8, 8)",
    ),
    (lambda: A.ToDtype(torch.uint8, scale=False), ValueError, "ToDtype: scale must be True for torch.uint8, got False"),
    (
        lambda: A.RandomRotation(9, expand=True),
        ValueError,
        "RandomRotation: expand must be False, as views of a batch have one size, got True",
    ),
    (
        lambda: A.RandomAffine(9, center=(1, 2, 3)),
        ValueError,
        "RandomAffine: center must hold 2 numbers, got (1, 2, 3)",
    ),
    (
        lambda: A.RandomCrop(4, fill=255),
        ValueError,
        "RandomCrop: fill must be a number in [0, 1], or one for each channel, got 255",
    ),
    (
        lambda: A.RandomHorizontalFlip(1.5),
        ValueError,
        "RandomHorizontalFlip: p must be a probability in [0, 1], got 1.5",
    ),
    (lambda: A.RandomAffine(-3.0), ValueError, "RandomAffine: degrees must be at least 0, or (low, high), got -3.0"),
    (
        lambda: A.RandomAffine(3, translate=(0.5, 1.5)),
        ValueError,
        "RandomAffine: translate must be two shares in [0, 1], got (0.5, 1.5)",
    ),
    (
        lambda: A.RandomAffine(3, shear=(90, 90)),
        ValueError,
        "RandomAffine: shear must be between -90 and 90, without these two, got (90, 90)",
    ),
    (
        lambda: A.RandomAffine(3, shear=(0, 1, -90, 0)),
        ValueError,
        "RandomAffine: shear must be between -90 and 90, without these two, got (0, 1, -90, 0)",
    ),
    (
        lambda: A.RandomAffine(3, shear=(1, 2, 3)),
        ValueError,
        "RandomAffine: shear must be a number, or 2 or 4 of them, got (1, 2, 3)",
    ),
    (
        lambda: A.RandomAffine(3, interpolation="bicubic"),
        ValueError,
        "RandomAffine: interpolation must be nearest or bilinear, got 'bicubic'",
    ),
    (
        lambda: A.ColorJitter(brightness=-1),
        ValueError,
        "ColorJitter: brightness must be at least 0, or (low, high), got -1",
    ),
    (
        lambda: A.ColorJitter(contrast=(1.2, 0.8)),
        ValueError,
        "ColorJitter: contrast must be (low, high), ascending and in [0, inf], got (1.2, 0.8)",
    ),
    (lambda: A.ColorJitter(hue=0.7), ValueError, "ColorJitter: hue must be in [0, 0.5], or (low, high), got 0.7"),
    (lambda: A.GaussianBlur(4), ValueError, "GaussianBlur: kernel_size must be odd, got 4"),
    (lambda: A.GaussianBlur((3, 4)), ValueError, "GaussianBlur: kernel_size must be odd, got (3, 4)"),
    (
        lambda: A.GaussianBlur((3, 5, 7)),
        ValueError,
        "GaussianBlur: kernel_size must be an int or (width, height), got (3, 5, 7)",
    ),
    (lambda: A.GaussianBlur((3, 5.0)), TypeError, "GaussianBlur: kernel_size must be an int, got float"),
    (
        lambda: A.GaussianBlur(3, (0.0, 1.0)),
        ValueError,
        "GaussianBlur: sigma must be positive, or (low, high), ascending and positive, got (0.0, 1.0)",
    ),
    (
        lambda: A.GaussianBlur(3, (2.0, 1.0)),
        ValueError,
        "GaussianBlur: sigma must be positive, or (low, high), ascending and positive, got (2.0, 1.0)",
    ),
    *(
        (
            lambda sigma=sigma: A.GaussianBlur(3, sigma),
            ValueError,
            f"GaussianBlur: sigma must be positive, or (low, high), ascending and positive, got {sigma}",
        )
        for sigma in (0.0, -1.0)
    ),
    (
        lambda: A.SimCLRAugment(8, sigma=(-0.1, 2.0)),
        ValueError,
        "SimCLRAugment: sigma must be positive, or (low, high), ascending and positive, got (-0.1, 2.0)",
    ),
    (
        lambda: A.SimCLRAugment(8, scale=(1.0, 0.2)),
        ValueError,
        "SimCLRAugment: scale must be (low, high) with 0 < low <= high <= 1, got (1.0, 0.2)",
    ),
    (
        lambda: A.RandomResizedCrop(8, (0.0, 1.0)),
        ValueError,
        "RandomResizedCrop: scale must be (low, high) with 0 < low <= high <= 1, got (0.0, 1.0)",
    ),
    (
        lambda: A.RandomAffine(3, scale=(2.0, 0.5)),
        ValueError,
        "RandomAffine: scale must be (low, high), ascending and in [1e-06, inf], got (2.0, 0.5)",
    ),
    *(
        (
            make,
            ValueError,
            f"{name}: interpolation must be one of nearest, bilinear, bicubic, got 'cubic'",
        )
        for name, make in (
            ("Resize", lambda: A.Resize(8, "cubic")),
            ("RandomRotation", lambda: A.RandomRotation(8, "cubic")),
            ("RandAugment", lambda: A.RandAugment(interpolation="cubic")),
            ("TrivialAugmentWide", lambda: A.TrivialAugmentWide(interpolation="cubic")),
            ("SimCLRAugment", lambda: A.SimCLRAugment(8, interpolation="cubic")),
        )
    ),
    (lambda: A.RandomSolarize(128), ValueError, "RandomSolarize: threshold must be in [0, 1], got 128"),
    (lambda: A.RandomPosterize(9), ValueError, "RandomPosterize: bits must be in [0, 8], got 9"),
    (lambda: A.Normalize((0.5,), (0.0,)), ValueError, "Normalize: std must be positive, got (0.0,)"),
    (
        lambda: A.Normalize((0.5,), (1.0, 1.0)),
        ValueError,
        "Normalize: mean and std must have one number per channel each, got (0.5,) and (1.0, 1.0)",
    ),
    (
        lambda: A.ToDtype(torch.int8),
        TypeError,
        "ToDtype: dtype must be float32, bfloat16, float16 or uint8, got torch.int8",
    ),
    (lambda: A.RandAugment(magnitude=31), ValueError, "RandAugment: magnitude must be in [0, 30], got 31"),
    (lambda: A.Compose([]), ValueError, "Compose: transforms must be a list of at least one transform, got []"),
    (
        lambda: A.Compose([CROP, torch.nn.Identity()]),
        TypeError,
        "Compose: transforms[1] must be a transform of sslfast.augment, got Identity",
    ),
    (
        lambda: A.MultiView([len]),
        TypeError,
        "MultiView: transforms[0] must be a transform of sslfast.augment, got builtin_function_or_method",
    ),
    (
        lambda: A.ToDtype((torch.float32,)),
        TypeError,
        "ToDtype: dtype must be float32, bfloat16, float16 or uint8, got (torch.float32,)",
    ),
    (lambda: A.SwAVAugment(sizes=[]), ValueError, "SwAVAugment: sizes must hold at least one value, got []"),
    (lambda: A.MoCoV1Augment(8, kernel_size=4), ValueError, "MoCoV1Augment: kernel_size must be odd, got 4"),
    (
        lambda: A.BYOLAugment(8, solarize_threshold=2),
        ValueError,
        "BYOLAugment: solarize_threshold must be in [0, 1], got 2",
    ),
    (
        lambda: A.SimCLRAugment(8, jitter=(-1, 0, 0, 0), jitter_prob=0),
        ValueError,
        "SimCLRAugment: jitter's brightness must be at least 0, or (low, high), got -1",
    ),
    (lambda: A.ImageNetAugment(8, magnitude=31), ValueError, "ImageNetAugment: magnitude must be in [0, 30], got 31"),
    (lambda: A.SimCLRAugment(8, 0), ValueError, "SimCLRAugment: views must be in [1, 1024], got 0"),
    (
        lambda: A.DINOAugment(blur_prob=(1.0, 0.1)),
        ValueError,
        "DINOAugment: blur_prob must hold one value for each of first global view, second global view, local views, "
        "got (1.0, 0.1)",
    ),
    (
        lambda: A.SwAVAugment(sizes=(224,)),
        ValueError,
        "SwAVAugment: views must hold one value for each of kind 0, got (2, 6)",
    ),
    (
        lambda: A.SwAVAugment(sizes=224),
        ValueError,
        "SwAVAugment: sizes must hold one value for each of kind 0, got 224",
    ),
    (
        lambda: A.SimCLRAugment(8, jitter=0.8),
        ValueError,
        "SimCLRAugment: jitter must hold brightness, contrast, saturation and hue, got 0.8",
    ),
    (lambda: A.MAEAugment("8"), TypeError, "MAEAugment: size must be an int, got str"),
    (
        lambda: A.BYOLAugment(blur_prob=1.0),
        ValueError,
        "BYOLAugment: blur_prob must hold one value for each of first view, second view, got 1.0",
    ),
]


@pytest.mark.parametrize(("make", "error", "text"), ARGUMENTS)
def test_bad_arguments(make: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


def test_public_names_and_reprs() -> None:
    for name in A.__all__:
        assert getattr(A, name).__doc__
    assert repr(A.GaussianBlur(3)) == "GaussianBlur(kernel_size=3, sigma=(0.1, 2.0), p=1.0)"
    assert A.GaussianBlur([7, 7]).kernel_size == 7
    assert A.GaussianBlur((3, 5)).kernel_size == (3, 5)
    assert "RandomResizedCrop(size=(4, 4)" in repr(A.Compose([CROP]))


def test_interpolation_of_torchvision_and_pillow_is_taken_by_name() -> None:
    class Mode:
        value = "bicubic"

    class Numbered(IntEnum):
        BICUBIC = 3
        LANCZOS = 1

    assert A.Resize(4, Mode()).interpolation == "bicubic"
    assert A.Resize(4, Numbered.BICUBIC).interpolation == "bicubic"
    with pytest.raises(ValueError, match="interpolation must be one of nearest, bilinear, bicubic, got <"):
        A.Resize(4, Numbered.LANCZOS)
