"""How many launches views take: one that draws parameters, one that makes the views, and one more where contrast needs
a mean: of a list with a jitter that may draw it. Boxes that are erased take none.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos
from on_cpu import launches

from sslfast import augment as A

JITTER = (0.8, 0.8, 0.8, 0.2)
WHOLE = {  # lists whose views never wait, and the launches that make them
    "crop and flips": (1, lambda: [A.RandomResizedCrop(40), A.RandomHorizontalFlip(), A.RandomVerticalFlip()]),
    "colours of pixels": (1, lambda: [A.RandomSolarize(), A.RandomPosterize(3), A.RandomGrayscale(), A.RandomInvert()]),
    "blur": (1, lambda: [A.RandomResizedCrop(40), A.GaussianBlur(23)]),
    "jitter": (2, lambda: [A.RandomResizedCrop(40), A.ColorJitter(*JITTER)]),
    "brightness": (1, lambda: [A.RandomResizedCrop(40), A.ColorJitter(0.8), A.GaussianBlur(23)]),
    "contrast of one": (1, lambda: [A.ColorJitter(0.8, (1.0, 1.0), 0.4, 0.1)]),
    "hue behind a blur": (1, lambda: [A.GaussianBlur(5), A.ColorJitter(hue=0.1), A.ColorJitter(0.4)]),
    "one of two jitters": (2, lambda: [A.ColorJitter(0.8), A.ColorJitter(contrast=0.4), A.GaussianBlur(23)]),
    "jitter and blur": (2, lambda: [A.RandomResizedCrop(40), A.ColorJitter(*JITTER), A.GaussianBlur(23)]),
}
WALKS = {
    "affine": lambda: [A.RandomAffine(20, (0.1, 0.2), (0.7, 1.3), 15)],
    "affine about a point": lambda: [A.RandomAffine(20, center=(3.0, 9.0)), A.RandomRotation(10, center=(0.0, 0.0))],
    "statistics": lambda: [A.RandomEqualize(0.6), A.RandomAutocontrast(0.6), A.ColorJitter(*JITTER)],
    "jitter twice": lambda: [A.ColorJitter(*JITTER), A.GaussianBlur(5), A.ColorJitter(*JITTER)],
    "wide blur": lambda: [A.GaussianBlur((61, 5), (6.0, 9.0)), A.RandomAdjustSharpness(3.0, 0.8)],
    "RandAugment": lambda: [A.RandomResizedCrop(44), A.RandAugment(4, 20)],
}


def counted(transform: A.Transform, images: torch.Tensor) -> tuple[int, int]:
    """Launches that draw, and that make views."""
    first = launches()
    params = transform.sample_params(images, generator=torch.tensor(5))
    second = launches()
    transform.apply_params(images, params)
    return second - first, launches() - second


@pytest.mark.parametrize("name", WHOLE)
def test_views_that_never_wait(name):
    made, steps = WHOLE[name]
    assert counted(A.Compose([*steps(), A.ToDtype()]), photos(3, 3, 41, 54)) == (1, made)


@pytest.mark.parametrize("processors", [1, 9])
@pytest.mark.parametrize("name", WALKS)
def test_views_that_wait(monkeypatch, name, processors):
    """By blocks that have views of their own, and by blocks that share them."""
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", str(processors))
    assert counted(A.Compose([*WALKS[name](), A.ToDtype()]), photos(3, 3, 41, 54)) == (1, 1)


BOXES = [lambda: A.RandomErasing(0.9), lambda: A.RandomErasing(0.7, value="random")]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("processors", [1, 9])
@pytest.mark.parametrize("steps", [lambda: [A.RandomResizedCrop((40, 38))], lambda: [A.RandomRotation(20)]])
def test_boxes_take_none_of_their_own(monkeypatch, steps, processors, channels):
    """In views made whole and in views that wait: drawn with the parameters, and written with the views."""
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", str(processors))
    transform = A.Compose([*steps(), A.ToDtype(), *(box() for box in BOXES)])
    assert counted(transform, photos(3, channels, 41, 54)) == (1, 1)


def test_boxes_of_more_values_than_are_taken_along():
    """Each has a launch behind the views; those of 64 have none."""
    for count, made in ((2, 1), (3, 4)):
        boxes = [A.RandomErasing(1.0, value=[0.01 * c for c in range(32)]) for _ in range(count)]
        assert counted(A.Compose([A.RandomResizedCrop(8), A.ToDtype(), *boxes]), photos(2, 32, 11, 12)) == (1, made)


def test_recipes():
    """Both views of a step, which share their transform, or have one each."""
    images = photos(3, 3, 41, 54)
    for recipe, expected in ((A.SimCLRAugment(32), 3), (A.BYOLAugment(32), 6)):
        before = launches()
        recipe(images)
        assert launches() - before == expected
