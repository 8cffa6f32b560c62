"""Recipes: what each is made of, and that it is lightly's where lightly has it."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos
from peer_oracle import peer

from sslfast import augment as A

RECIPES = [
    *(A.SimCLRAugment, A.MoCoV1Augment, A.MoCoV2Augment, A.MoCoV3Augment, A.BYOLAugment, A.SimSiamAugment),
    *(A.MAEAugment, A.IJEPAAugment, A.CLIPAugment),
]


def parts(view: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {type(step).__name__: step for step in view.transforms}


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_views_or_one(recipe: type[A.MultiView]) -> None:
    images = photos(3, 3, 40, 50)
    augment = recipe(24, dtype=torch.bfloat16, generator=0)
    views = augment(images)
    assert [tuple(v.shape) for v in views] == [(3, 3, 24, 24)] * augment.views
    assert all(v.dtype == torch.bfloat16 and v.isfinite().all() for v in views)
    assert not torch.equal(views[0], views[-1]) or augment.views == 1


def test_multi_crops() -> None:
    images = photos(2, 3, 60, 50)
    shapes = {
        A.DINOAugment(32, local_size=16): [32] * 2 + [16] * 8,
        A.DINOv2Augment(28, local_size=14, local_views=3): [28] * 2 + [14] * 3,
        A.SwAVAugment((32, 16)): [32] * 2 + [16] * 6,
        A.MSNAugment((32, 16)): [32] * 2 + [16] * 10,
    }
    for augment, sides in shapes.items():
        assert [v.shape[-1] for v in augment(images)] == sides


def test_byols_views_differ() -> None:
    first, second = (parts(view) for view in A.BYOLAugment().transforms)
    assert (first["GaussianBlur"].p, second["GaussianBlur"].p) == (1.0, 0.1)
    assert "RandomSolarize" not in first
    assert second["RandomSolarize"].p == 0.2
    assert first["GaussianBlur"].kernel_size == 23


def lightly_steps(transform: object) -> dict[str, object]:
    """The steps of one of lightly's views by name, which lie in lists within lists."""
    inner = getattr(transform, "transform", None)
    steps = getattr(transform, "transforms", None) or getattr(inner, "transforms", None)
    if steps is None or type(transform).__name__ == "RandomApply":
        return {type(transform).__name__: transform}
    return {name: step for one in steps for name, step in lightly_steps(one).items()}


def test_numbers_are_lightlys() -> None:
    """Crop, jitter, gray, blur of every view of lightly's transforms, read off its objects."""
    lightly = peer("lightly.transforms")
    pairs = [
        (A.SimCLRAugment(), lightly.SimCLRTransform(input_size=224)),
        (A.MoCoV2Augment(), lightly.MoCoV2Transform()),
        (A.BYOLAugment(), lightly.BYOLTransform()),
        (A.SwAVAugment(), lightly.SwaVTransform()),
        (A.MSNAugment(), lightly.MSNTransform()),
    ]
    for ours, theirs in pairs:
        assert ours.views == len(theirs.transforms)
        for view, transform in zip(ours.transforms, theirs.transforms, strict=True):
            steps = lightly_steps(transform)
            mine = parts(view)
            crop = steps["RandomResizedCrop"]
            assert mine["RandomResizedCrop"].scale == pytest.approx(crop.scale)
            assert mine["RandomResizedCrop"].size == tuple(crop.size)
            jitter = steps["RandomApply"].transforms[0]
            assert mine["ColorJitter"].p == steps["RandomApply"].p
            for name in ("brightness", "contrast", "saturation", "hue"):
                assert getattr(mine["ColorJitter"], name) == pytest.approx(tuple(getattr(jitter, name)))
            assert mine["RandomGrayscale"].p == steps["RandomGrayscale"].p
            assert mine["GaussianBlur"].p == steps["GaussianBlur"].prob
            assert mine["GaussianBlur"].sigma == pytest.approx(tuple(steps["GaussianBlur"].sigmas))


def test_evaluation_is_one_pass() -> None:
    transform = A.ImageNetEval()
    assert len(transform._plan.segments) == 1
    assert transform(photos(2, 3, 300, 400)).shape == (2, 3, 224, 224)
    trained = A.ImageNetAugment(32, rand_augment=2)(photos(2, 3, 64, 48), generator=1)
    assert trained.shape == (2, 3, 32, 32)
