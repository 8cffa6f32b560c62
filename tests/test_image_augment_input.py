"""What SimCLRAugment, sample_params and apply_params say to bad input, and how they present themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from image_augment_cases import RGB, row

import sslfast
from sslfast.augment import SimCLRAugment, apply_params, sample_params

IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
ELSEWHERE = torch.empty(1, dtype=torch.int64, device="meta")  # a seed where nothing can read it


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SimCLRAugment(8)(IMAGES.float()), TypeError, "SimCLRAugment: images must be uint8, got torch.float32"),
        (lambda: SimCLRAugment(8)([1]), TypeError, "SimCLRAugment: images must be a tensor, got list"),
        (
            lambda: SimCLRAugment(8)(IMAGES[0]),
            ValueError,
            "SimCLRAugment: images must have shape (N, C, H, W), got (3, 8, 8)",
        ),
        (
            lambda: SimCLRAugment(8)(IMAGES[:, :2]),
            ValueError,
            "SimCLRAugment: images must have 1 or 3 channels, got shape (2, 2, 8, 8)",
        ),
        (
            lambda: SimCLRAugment(8)(IMAGES[:, :, :0]),
            ValueError,
            "SimCLRAugment: images must have height and width in [1, 16777216], got shape (2, 3, 0, 8)",
        ),
        (
            lambda: SimCLRAugment(8)(IMAGES, row_offset=-1),
            ValueError,
            "SimCLRAugment: row_offset must be at least 0, got -1",
        ),
        (
            lambda: SimCLRAugment(8)(IMAGES, generator=0.5),
            TypeError,
            "SimCLRAugment: generator must be None, an int, a torch.Generator or an int64 tensor, got float",
        ),
        (lambda: SimCLRAugment(0), ValueError, "SimCLRAugment: size must be in [1, 16777216], got 0"),
        (
            lambda: SimCLRAugment((8, 8, 8)),
            ValueError,
            "SimCLRAugment: size must be an int or (height, width), got (8, 8, 8)",
        ),
        (lambda: SimCLRAugment(8.0), TypeError, "SimCLRAugment: size must be an int, got float"),
        (lambda: SimCLRAugment(8, 0), ValueError, "SimCLRAugment: views must be in [1, 67108864], got 0"),
        (
            lambda: SimCLRAugment(8, scale=(1.0, 0.08)),
            ValueError,
            "SimCLRAugment: scale must be (low, high) with 0 < low <= high <= 1, got (1.0, 0.08)",
        ),
        (lambda: SimCLRAugment(8, scale=0.5), TypeError, "SimCLRAugment: scale must be a tuple of numbers, got float"),
        (
            lambda: SimCLRAugment(8, scale=(0.1, 0.2, 0.3)),
            ValueError,
            "SimCLRAugment: scale must be (low, high), got (0.1, 0.2, 0.3)",
        ),
        (
            lambda: SimCLRAugment(8, ratio=(2, 1)),
            ValueError,
            "SimCLRAugment: ratio must be (low, high) with 0 < low <= high, got (2, 1)",
        ),
        (
            lambda: SimCLRAugment(8, hflip_prob=1.5),
            ValueError,
            "SimCLRAugment: hflip_prob must be a probability in [0, 1], got 1.5",
        ),
        (
            lambda: SimCLRAugment(8, jitter_prob=-0.1),
            ValueError,
            "SimCLRAugment: jitter_prob must be a probability in [0, 1], got -0.1",
        ),
        (lambda: SimCLRAugment(8, gray_prob="no"), TypeError, "SimCLRAugment: gray_prob must be a number, got str"),
        (lambda: SimCLRAugment(8, hue=0.6), ValueError, "SimCLRAugment: hue must be in [0, 0.5], got 0.6"),
        (
            lambda: SimCLRAugment(8, hue=(-0.6, 0.1)),
            ValueError,
            "SimCLRAugment: hue must be (low, high), ascending and in [-0.5, 0.5], got (-0.6, 0.1)",
        ),
        (lambda: SimCLRAugment(8, brightness=-1), ValueError, "SimCLRAugment: brightness must be at least 0, got -1"),
        (
            lambda: SimCLRAugment(8, contrast=(2, 1)),
            ValueError,
            "SimCLRAugment: contrast must be (low, high), ascending and not negative, got (2, 1)",
        ),
        (
            lambda: SimCLRAugment(8, saturation=math.nan),
            ValueError,
            "SimCLRAugment: saturation must be finite, got nan",
        ),
        (
            lambda: SimCLRAugment(8, mean=(0.5, 0.5)),
            ValueError,
            "SimCLRAugment: mean must be None or a tuple of 1 or 3 numbers, got (0.5, 0.5)",
        ),
        (
            lambda: SimCLRAugment(8, std=(0.5, 0, 0.5)),
            ValueError,
            "SimCLRAugment: std must be positive, got (0.5, 0, 0.5)",
        ),
        (
            lambda: SimCLRAugment(8, **RGB)(IMAGES[:, :1]),
            ValueError,
            "SimCLRAugment: mean must have one number per channel (1), got 3",
        ),
        (
            lambda: SimCLRAugment(8, dtype=torch.float16),
            TypeError,
            "SimCLRAugment: dtype must be torch.float32 or torch.bfloat16, got torch.float16",
        ),
        (
            lambda: apply_params(IMAGES, row(IMAGES).double(), 8),
            TypeError,
            "apply_params: params must be float32, got torch.float64",
        ),
        (
            lambda: apply_params(IMAGES, row(IMAGES)[:, 0], 8),
            ValueError,
            "apply_params: params must have shape (2, V, 12), got (2, 12)",
        ),
        (
            lambda: apply_params(IMAGES, row(IMAGES)[:1], 8),
            ValueError,
            "apply_params: params must have shape (2, V, 12), got (1, 1, 12)",
        ),
        (lambda: apply_params(IMAGES, None, 8), TypeError, "apply_params: params must be a tensor, got NoneType"),
        (
            lambda: apply_params(IMAGES, row(IMAGES).to("meta"), 8),
            ValueError,
            "apply_params: params must be on cpu, like images, got meta",
        ),
        (lambda: sample_params(-1, (8, 8)), ValueError, "sample_params: rows must be at least 0, got -1"),
        (lambda: sample_params(1, (8, 0)), ValueError, "sample_params: image_size must be in [1, 16777216], got 0"),
        (
            lambda: sample_params(1, (8, 8), generator=ELSEWHERE, device="cpu"),
            ValueError,
            "sample_params: generator must be on the CPU, got meta",
        ),
        (
            lambda: SimCLRAugment(8)(IMAGES, generator=ELSEWHERE),
            ValueError,
            "SimCLRAugment: generator must be on the CPU, got meta",
        ),
        (lambda: sample_params(1, (8, 8), views=0), ValueError, "sample_params: views must be in [1, 67108864], got 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input(make: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value) == text


def test_repr_and_public_names() -> None:
    assert repr(SimCLRAugment(32)) == "SimCLRAugment(size=(32, 32), views=2, dtype=torch.float32)"
    assert sslfast.augment.SimCLRAugment is SimCLRAugment


def test_constructors_generator() -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    augment = [SimCLRAugment(8), SimCLRAugment(8, generator=3), SimCLRAugment(8, generator=np.int64(3))]
    assert torch.equal(torch.rand(1), expected), "constructing draws nothing from the global generator"
    first, second = ([views[0] for views in (a(images), a(images))] for a in augment[1:])
    assert not torch.equal(first[0], first[1]), "an int seeds a stream: calls differ"
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "any integer is an int"
    fixed = SimCLRAugment(8, generator=torch.tensor(3))
    assert torch.equal(fixed(images)[0], fixed(images)[0]), "a tensor is the seed itself, at every call"
