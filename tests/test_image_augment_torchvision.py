"""Every operation against torchvision's float functionals for the same parameters."""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
import torch
from image_augment_cases import in_floats, noise, photos, row
from peer_oracle import peer

from sslfast import augment as A
from sslfast._image_steps import CHOICES


@pytest.fixture
def F() -> ModuleType:
    torch.manual_seed(1)
    return peer("torchvision.transforms.v2.functional")


def close(transform: A.Compose, want: torch.Tensor, images: torch.Tensor, atol: float = 2e-6, **columns: float) -> None:
    got = transform.apply_params(images, row(transform, images, **columns))
    torch.testing.assert_close(got.double(), want.double(), atol=atol, rtol=0)


@pytest.mark.parametrize("size", [(23, 31), (40, 64), (96, 8), (160, 200)])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_resized_crop(F: ModuleType, interpolation: str, antialias: bool, size: tuple[int, int]) -> None:
    """A bicubic view is clamped."""
    images = photos(4, 3, 70, 90)
    mode = peer("torchvision.transforms.v2").InterpolationMode(interpolation)
    want = F.resized_crop(images.double() / 255, 5, 3, 30, 34, list(size), interpolation=mode, antialias=antialias)
    transform = in_floats(A.RandomResizedCrop(size, interpolation=interpolation, antialias=antialias))
    close(transform, want.clamp(0, 1), images, top=5, left=3, height=30, width=34)


@pytest.mark.parametrize(("source", "target"), [((77, 33), (65, 209)), ((60, 70), (200, 30)), ((50, 49), (41, 93))])
def test_nearest_takes_the_pixel_that_torch_takes(
    F: ModuleType, source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Where a place is a whole number, the step in float32 decides."""
    images = photos(2, 3, *source)
    mode = peer("torchvision.transforms.v2").InterpolationMode.NEAREST
    for x in (images, images.float() / 255):
        assert torch.equal(A.Resize(target, "nearest")(x), F.resize(x, list(target), interpolation=mode))


def test_resize_and_crops(F: ModuleType) -> None:
    images = photos(3, 3, 70, 90)
    x = images.double() / 255
    for transform, want in (
        (in_floats(A.Resize(50), A.CenterCrop((40, 70))), F.center_crop(F.resize(x, [50]), [40, 70])),
        (in_floats(A.Resize(50), A.CenterCrop((43, 31))), F.center_crop(F.resize(x, [50]), [43, 31])),
        (in_floats(A.Resize(50, max_size=60)), F.resize(x, [50], max_size=60)),
        (in_floats(A.Resize((30, 95))), F.resize(x, [30, 95])),
        (in_floats(A.CenterCrop((81, 61))), F.center_crop(x, [81, 61])),
        (in_floats(A.CenterCrop((35, 99))), F.center_crop(x, [35, 99])),
    ):
        torch.testing.assert_close(transform(images).double(), want, atol=2e-6, rtol=0)
    padded = F.crop(F.pad(x, [4, 3, 2, 1], fill=0.25), 2, 11, 65, 60)
    transform = in_floats(A.RandomCrop((65, 60), padding=(4, 3, 2, 1), fill=0.25))
    close(transform, padded, images, target_height=70, target_width=90, offset_top=-1, offset_left=7)
    for mode in ("edge", "reflect", "symmetric"):
        whole = F.pad(x, [14, 13, 62, 1], padding_mode=mode)
        transform = in_floats(A.RandomCrop((84, 166), padding=(14, 13, 62, 1), padding_mode=mode))
        close(transform, whole, images, target_height=70, target_width=90, offset_top=-13, offset_left=-14)
        reverse = F.horizontal_flip(F.crop(whole, 5, 60, 70, 99))
        transform = in_floats(
            A.RandomCrop((70, 99), padding=(14, 13, 62, 1), padding_mode=mode), A.RandomHorizontalFlip()
        )
        places = {"offset_top": 5 - 13, "offset_left": 60 - 14, "hflip": 1}
        close(transform, reverse, images, target_height=70, target_width=90, **places)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours(F: ModuleType, channels: int) -> None:
    images = photos(3, channels, 40, 44)
    x = images.double() / 255
    jitter = in_floats(A.ColorJitter(0.8, 0.8, 0.8, 0.2))
    plain = {"jitter": 1, "brightness": 1, "contrast": 1, "saturation": 1}
    close(jitter, F.adjust_brightness(x, 1.5), images, **{**plain, "brightness": 1.5})
    close(jitter, torch.stack([F.adjust_contrast(one, 1.7) for one in x]), images, **{**plain, "contrast": 1.7})
    close(jitter, F.adjust_saturation(x, 1.9), images, **{**plain, "saturation": 1.9})
    for shift in (-0.5, -0.13, 0.2, 0.5):
        close(jitter, F.adjust_hue(x, shift), images, **{**plain, "hue": shift})
    close(in_floats(A.RandomGrayscale()), F.rgb_to_grayscale(x, channels), images, gray=1)
    close(in_floats(A.RandomSolarize()), F.solarize(x, 0.4321), images, solarize=1, threshold=0.4321)
    close(in_floats(A.RandomPosterize(3)), F.posterize(x.float(), 3), images, posterize=1, bits=3)
    close(in_floats(A.RandomInvert()), F.invert(x), images, invert=1)
    close(in_floats(A.RandomEqualize()), F.equalize(images).double() / 255, images, equalize=1)
    narrow = images // 2 + 20
    close(in_floats(A.RandomAutocontrast()), F.autocontrast(narrow.double() / 255), narrow, autocontrast=1)
    for sharpness in (0.0, 0.3, 1.9):
        want = F.adjust_sharpness(x, sharpness)
        close(in_floats(A.RandomAdjustSharpness(1.0)), want, images, sharpness=1, factor=sharpness)


BLURS = [(3, 0.5), (5, 0.8), (9, 1.3), (23, 0.1), (23, 2.0), (61, 9.0), ((3, 9), 1.2), ((21, 1), 2.0)]


@pytest.mark.parametrize(("kernel_size", "sigma"), BLURS)
def test_blur(F: ModuleType, kernel_size: int | tuple[int, int], sigma: float) -> None:
    """What lies beyond 4.5 sigma is left out."""
    images = noise(2, 3, 40, 44)
    kernel = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    want = F.gaussian_blur(images.double() / 255, kernel, [sigma] * 2)
    close(in_floats(A.GaussianBlur(kernel_size)), want, images, atol=1e-5, blur=1, sigma=sigma)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    "values", [(30, 0, 0, 1, 0, 0), (-77, 5, -3, 0.8, 10, -20), (0, 3, 2, 1, 0, 0), (200, 0, 0, 1.5, 5, 0)]
)
def test_affine(F: ModuleType, values: tuple[float, ...], interpolation: str) -> None:
    images = photos(2, 3, 41, 60)
    mode = peer("torchvision.transforms.v2").InterpolationMode(interpolation)
    angle, move_x, move_y, scale, shear_x, shear_y = values
    names = ("angle", "translate_x", "translate_y", "scale", "shear_x", "shear_y")
    transform = in_floats(A.RandomAffine(90, interpolation=interpolation, fill=0.25))
    for corner, centre in ((0, None), (1, [0, 0])):
        want = F.affine(
            *(images.double() / 255, angle, [move_x, move_y], scale, [shear_x, shear_y]),
            interpolation=mode,
            fill=[0.25] * 3,
            center=centre,
        )
        got = transform.apply_params(
            images, row(transform, images, affine=1, corner=corner, **dict(zip(names, values, strict=True)))
        )
        off = (got.double() - want).abs()  # the nearest pixel of a point halfway may be the other one
        assert (off > 5e-6).double().mean() < (0.002 if interpolation == "nearest" else 1e-9), off.max()


def test_rotation_turns_as_torchvision(F: ModuleType) -> None:
    images = photos(2, 3, 40, 40)
    want = F.rotate(images.double() / 255, 90.0)
    got = in_floats(A.RandomRotation((90, 90)))(images)
    torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fill", [0.0, 0.25])
def test_large_noise_turns_as_in_float64(F: ModuleType, fill: float) -> None:
    """Places are doubles: those of float32 are 1e-4 of a pixel off."""
    images = noise(1, 1, 1024, 1024)
    mode = peer("torchvision.transforms.v2").InterpolationMode.BILINEAR
    want = F.rotate(images.double() / 255, 33.0, mode, fill=[fill])
    got = in_floats(A.RandomRotation((33, 33), "bilinear", fill=fill))(images)
    torch.testing.assert_close(got.double(), want, atol=2e-6, rtol=0)


def test_a_border_without_a_fill(F: ModuleType) -> None:
    """``fill=None`` of torchvision's classes and functionals."""
    images = photos(2, 3, 41, 60)
    mode = peer("torchvision.transforms.v2").InterpolationMode.BILINEAR
    for kind, fill in (
        (A.RandomRotation((35, 35), "bilinear", fill=None), None),
        (A.RandomRotation(35, "bilinear"), 0),
    ):
        want = F.rotate(images.double() / 255, 35.0, mode, fill=fill)
        close(in_floats(kind), want, images, affine=1, angle=-35)


@pytest.mark.parametrize("center", [(0.0, 0.0), (11.5, 30.0), (-5.0, 60.25)])
def test_about_a_point(F: ModuleType, center: tuple[float, float]) -> None:
    images = photos(2, 3, 41, 60)
    mode = peer("torchvision.transforms.v2").InterpolationMode.BILINEAR
    x = images.double() / 255
    want = F.rotate(x, 35.0, mode, center=list(center), fill=[0.25] * 3)
    got = in_floats(A.RandomRotation((35, 35), "bilinear", fill=0.25, center=center))(images)
    torch.testing.assert_close(got.double(), want, atol=5e-6, rtol=0)
    want = F.affine(x, 20.0, [0.0, 0.0], 1.3, [9.0, -5.0], mode, [0.25] * 3, list(center))
    got = in_floats(A.RandomAffine((20, 20), None, (1.3, 1.3), (9, 9, -5, -5), "bilinear", fill=0.25, center=center))(
        images
    )
    torch.testing.assert_close(got.double(), want, atol=5e-6, rtol=0)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill", [None, 0, (0.1, 0.5, 0.9)])
def test_operations_of_rand_augment(F: ModuleType, fill: object, interpolation: str) -> None:
    """Through torchvision's own dispatch; None, its default and ours, is not what 0 is at a border."""
    v2 = peer("torchvision.transforms.v2")
    mode = v2.InterpolationMode(interpolation)
    theirs = v2.RandAugment(fill=list(fill) if isinstance(fill, tuple) else fill)
    names = {name.lower().replace("_", ""): name for name in v2.RandAugment._AUGMENTATION_SPACE}
    images = photos(1, 3, 40, 52)
    transform = in_floats(A.RandAugment(1, interpolation=interpolation, fill=fill))
    magnitudes = [0, 0.213, -0.317, 7, -4, 25, 0.5, -0.7, 0.8, 0.9, 4, 0.45, 0, 0]
    for code, (name, magnitude) in enumerate(zip(CHOICES, magnitudes, strict=True)):
        want = theirs._apply_image_or_video_transform(
            images[0].double() / 255,
            names[name.replace("_", "")],
            magnitude,
            interpolation=mode,
            fill=theirs._fill,
        )
        got = transform.apply_params(images, row(transform, images, choice=code, magnitude=magnitude))[0]
        # The nearest pixel of a point halfway may be the other one; a level that posterize keeps, the next one.
        off = (got - want).abs()
        most = 0.01 if interpolation == "nearest" or name == "posterize" else 1e-9
        assert (off > 1e-5).double().mean() < most, (name, off.max())


def test_a_whole_view(F: ModuleType) -> None:
    """SimCLR's chain; torchvision's float64 resize places its taps exactly, its float32 to 1e-5 of a pixel."""
    images = torch.cat([photos(12, 3, 70, 90), noise(4, 3, 70, 90)])
    transform = A.SimCLRAugment((48, 56), blur_prob=0.5).transforms[0]
    params = transform.sample_params(images, generator=3)
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    orders = list(itertools.permutations(range(4)))
    for image, values, view in zip(images, params.tolist(), transform.apply_params(images, params), strict=True):
        p = dict(zip(transform.columns, values, strict=True))
        x = F.to_dtype(image, torch.float64, scale=True)
        box = [int(p[name]) for name in ("top", "left", "height", "width")]
        x = F.resized_crop(x, *box, [48, 56], antialias=True)
        x = F.horizontal_flip(x) if p["hflip"] else x
        factors = [p[name] for name in ("brightness", "contrast", "saturation", "hue")]
        for k in orders[int(p["order"])] if p["jitter"] else ():
            x = adjust[k](x, factors[k])
        x = F.rgb_to_grayscale(x, 3) if p["gray"] else x
        x = F.gaussian_blur(x, [5, 5], [p["sigma"]] * 2) if p["blur"] else x
        want = F.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        torch.testing.assert_close(view.double(), want, atol=6e-5, rtol=0)


@pytest.mark.parametrize("scale", [True, False])
def test_types(F: ModuleType, scale: bool) -> None:
    """Arguments of torchvision's own class."""
    v2 = peer("torchvision.transforms.v2")
    images = photos(2, 3, 9, 11)
    for x in (images, images.float() / 255):
        ours, theirs = A.ToDtype(torch.float32, scale=scale)(x), v2.ToDtype(torch.float32, scale=scale)(x)
        torch.testing.assert_close(ours, theirs, atol=1e-4 if not scale else 2e-6, rtol=0)
    mean, std = (110.0, 120.0, 130.0), (40.0, 50.0, 60.0)
    ours = A.Compose([A.ToDtype(torch.float32, scale=False), A.Normalize(mean, std)])(images)
    torch.testing.assert_close(ours, F.normalize(images.float(), mean, std), atol=1e-5, rtol=0)
