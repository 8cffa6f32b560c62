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


KINDS = ("ColorJitter", "RandomGrayscale")
ALL = [*RECIPES, A.DINOAugment, A.DINOv2Augment, A.SwAVAugment, A.MSNAugment, A.ImageNetAugment, A.ImageNetEval]
TWINS = (A.SimCLRAugment, A.MoCoV1Augment, A.MoCoV2Augment, A.SimSiamAugment)


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
        (A.MoCoV1Augment(gray_first=False, jitter_prob=0.8), lightly.MoCoV1Transform()),
        (A.BYOLAugment(interpolation="bilinear"), lightly.BYOLTransform()),
        (A.DINOAugment(local_views=6), lightly.DINOTransform()),
        (A.SwAVAugment(), lightly.SwaVTransform()),
        (A.MSNAugment(jitter=(0.8, 0.8, 0.8, 0.2)), lightly.MSNTransform()),
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
            assert mine["RandomResizedCrop"].interpolation == getattr(crop.interpolation, "value", crop.interpolation)
            order = [name for name in steps if name in ("RandomApply", "RandomGrayscale")]
            assert [name.replace("ColorJitter", "RandomApply") for name in mine if name in KINDS] == order
            if "GaussianBlur" not in mine:
                assert steps["GaussianBlur"].prob == 0
                continue
            assert mine["GaussianBlur"].p == steps["GaussianBlur"].prob
            assert mine["GaussianBlur"].sigma == pytest.approx(tuple(steps["GaussianBlur"].sigmas))


def test_defaults_are_the_papers() -> None:
    """What the papers or their code have otherwise than lightly."""

    def first(recipe: A.MultiView, step: str) -> torch.nn.Module:
        return parts(recipe.transforms[0])[step]

    modes = {
        "bicubic": (A.BYOLAugment, A.DINOAugment, A.DINOv2Augment, A.MAEAugment, A.CLIPAugment),
        "bilinear": (*TWINS, A.MoCoV3Augment, A.IJEPAAugment, A.SwAVAugment, A.MSNAugment),
    }
    for mode, recipes in modes.items():
        for recipe in recipes:
            assert {parts(view)["RandomResizedCrop"].interpolation for view in recipe().transforms} == {mode}
    kernels = {A.DINOAugment: {23, 9}, A.DINOv2Augment: {9}, A.SwAVAugment: {23}, A.MSNAugment: {23, 9}}
    for recipe, sizes in kernels.items():
        assert {parts(view)["GaussianBlur"].kernel_size for view in recipe().transforms} == sizes
    assert first(A.MSNAugment(), "ColorJitter").brightness == pytest.approx((0.6, 1.4))
    assert first(A.MSNAugment(), "ColorJitter").hue == pytest.approx((-0.1, 0.1))
    assert [name for name in parts(A.MoCoV1Augment().transforms[0]) if name in KINDS] == [*reversed(KINDS)]
    assert [name for name in parts(A.MoCoV2Augment().transforms[0]) if name in KINDS] == [*KINDS]
    assert first(A.MoCoV1Augment(), "ColorJitter").p == 1.0


def test_every_number_is_an_argument() -> None:
    """Given to every recipe that has the step, it arrives in every view."""
    numbers = {
        "ratio": ("RandomResizedCrop", "ratio", (0.5, 1.5)),
        "interpolation": ("RandomResizedCrop", "interpolation", "nearest"),
        "scale": ("RandomResizedCrop", "scale", (0.5, 0.75)),
        "hflip_prob": ("RandomHorizontalFlip", "p", 0.25),
        "jitter": ("ColorJitter", "saturation", (0.75, 1.25)),
        "jitter_prob": ("ColorJitter", "p", 0.25),
        "gray_prob": ("RandomGrayscale", "p", 0.25),
        "sigma": ("GaussianBlur", "sigma", (0.5, 1.5)),
        "kernel_size": ("GaussianBlur", "kernel_size", 5),
        "solarize_threshold": ("RandomSolarize", "threshold", 0.25),
        "mean": ("Normalize", "mean", (0.25,)),
        "std": ("Normalize", "std", (0.25,)),
        "dtype": ("ToDtype", "dtype", torch.float16),
    }
    alike = {"scale", "ratio", "interpolation", "hflip_prob", "mean", "std", "dtype"}
    coloured = (set(numbers) - {"solarize_threshold"}, (*TWINS, A.BYOLAugment, A.MoCoV3Augment))
    crops = (set(numbers) - {"solarize_threshold", "scale"}, (A.DINOAugment, A.DINOv2Augment, A.SwAVAugment))
    solarized = ({"solarize_threshold"}, (A.BYOLAugment, A.MoCoV3Augment, A.DINOAugment, A.DINOv2Augment))
    plain = (alike, (A.MAEAugment, A.IJEPAAugment, A.CLIPAugment, A.ImageNetAugment))
    for names, recipes in (coloured, crops, solarized, plain, (crops[0], (A.MSNAugment,))):
        for recipe in recipes:
            given = {name: numbers[name][2] for name in names}
            given |= {"jitter": (0.0, 0.0, 0.25, 0.0)} if "jitter" in names else {}
            given |= {"blur_prob": 0.5} if recipe is A.MoCoV1Augment else {}
            augment = recipe(**given)
            for view in augment.transforms if isinstance(augment, A.MultiView) else [augment]:
                for name in names:
                    step, attribute, value = numbers[name]
                    if step in parts(view) or step != "RandomSolarize":
                        assert getattr(parts(view)[step], attribute) == value, (recipe, name)
    assert [recipe(views=3).views for recipe in TWINS] == [3] * 4
    eval_steps = parts(A.ImageNetEval(resize=40, interpolation="bicubic", mean=(0.5,), std=(0.25,)))
    assert (eval_steps["Resize"].size, eval_steps["Resize"].interpolation) == (40, "bicubic")
    assert parts(A.ImageNetAugment(rand_augment=3, magnitude=4))["RandAugment"].magnitude == 4


@pytest.mark.parametrize("recipe", ALL)
def test_errors_name_the_recipe(recipe: type) -> None:
    with pytest.raises(TypeError, match=rf"^{recipe.__name__}.__init__\(\) got an unexpected keyword argument 'hflip'"):
        recipe(hflip=0.5)
    with pytest.raises(ValueError, match=rf"^{recipe.__name__}: interpolation must be one of nearest, bilinear, "):
        recipe(interpolation="cubic")
    with pytest.raises(TypeError, match=rf"^{recipe.__name__}: dtype must be float32, "):
        recipe(dtype=torch.int8)
    if recipe is not A.ImageNetEval:
        with pytest.raises(
            ValueError, match=rf"^{recipe.__name__}: hflip_prob must be a probability in \[0, 1\], got 2$"
        ):
            recipe(hflip_prob=2)
        with pytest.raises(ValueError, match=rf"^{recipe.__name__}: ratio must be \(low, high\) with 0 < low <= high"):
            recipe(ratio=(2.0, 1.0))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: A.SimCLRAugment(8, jitter=(0, 0, 0, 1)), ValueError, "jitter's hue must be in [0, 0.5]"),
        (lambda: A.SimCLRAugment(8, kernel_size=4), ValueError, "kernel_size must be odd, got 4"),
        (
            lambda: A.BYOLAugment(8, blur_prob=(1.5, 0)),
            ValueError,
            "blur_prob must be a probability in [0, 1], got 1.5",
        ),
        (lambda: A.BYOLAugment(8, solarize_threshold=2), ValueError, "solarize_threshold must be in [0, 1], got 2"),
        (lambda: A.DINOAugment("8"), TypeError, "DINOAugment: global_size must be an int, got str"),
        (lambda: A.DINOv2Augment(local_scale=(0, 1)), ValueError, "local_scale must be (low, high) with 0 < low"),
        (lambda: A.MoCoV1Augment(8, gray_first=1), TypeError, "gray_first must be a bool, got 1"),
        (
            lambda: A.ImageNetAugment(8, rand_augment=1, magnitude=31),
            ValueError,
            "magnitude must be in [0, 30], got 31",
        ),
        (lambda: A.ImageNetEval(8, resize=0), ValueError, "resize must be in [1, 16777216], got 0"),
    ],
)
def test_bad_numbers(make: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
    assert str(caught.value).split(":")[0].endswith(("Augment", "Eval"))


def test_imagenets_generator() -> None:
    """An int seeds a generator: calls differ, a run repeats; what a call is given comes first."""
    images = photos(3, 3, 40, 50)
    augment, again = A.ImageNetAugment(8, generator=3), A.ImageNetAugment(8, generator=3)
    first, second = augment(images), augment(images)
    assert not torch.equal(first, second)
    assert torch.equal(first, again(images))
    assert torch.equal(second, again(images))
    assert torch.equal(augment(images, generator=5), A.ImageNetAugment(8)(images, generator=5))


def test_evaluation_is_one_pass() -> None:
    transform = A.ImageNetEval()
    assert len(transform._plan.segments) == 1
    assert transform(photos(2, 3, 300, 400)).shape == (2, 3, 224, 224)
    trained = A.ImageNetAugment(32, rand_augment=2)(photos(2, 3, 64, 48), generator=1)
    assert trained.shape == (2, 3, 32, 32)
