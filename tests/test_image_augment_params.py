"""Parameters of views: equal bits, shards, and distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from image_augment_cases import noise
from peer_oracle import peer
from torch import Tensor

from sslfast import _image_steps, ops
from sslfast import augment as A
from sslfast.reference import image_augment as reference
from sslfast.reference import image_augment_params as reference_params

JITTER = (0.8, 0.8, 0.8, 0.2)
LISTS = {
    "everything": lambda: [
        *(A.RandomResizedCrop((20, 31), (0.05, 0.9), (0.5, 3.0)), A.RandomHorizontalFlip(0.3), A.RandomVerticalFlip()),
        *(A.ColorJitter(*JITTER, p=0.8), A.RandomGrayscale(0.2), A.GaussianBlur(9, p=0.4), A.RandomSolarize(0.3)),
        *(A.RandomPosterize(3), A.RandomAdjustSharpness((0.5, 2.0))),
    ],
    "others": lambda: [
        *(A.RandomInvert(), A.RandomAutocontrast(), A.RandomEqualize(0.0)),
        A.RandomAffine(30, (0.3, 0.2), (0.5, 2.0), (-5, 9, -20, 3)),
    ],
    "about a point": lambda: [
        *(A.RandomRotation(200, center=(3.0, 40.5)), A.RandomAffine(9, (0.1, 0.2), None, 20, center=(-7.25, 0.0))),
    ],
    "choices": lambda: [A.RandomResizedCrop(50), A.RandAugment(2, 17), A.TrivialAugmentWide()],
    "resize and crop": lambda: [A.Resize(30, max_size=40), A.CenterCrop((21, 28))],
    "exact resize": lambda: [A.Resize((13, 40))],
    "centre of a smaller image": lambda: [A.CenterCrop((99, 40))],
    "padded crop": lambda: [A.RandomCrop((24, 30), padding=(1, 2, 3, 4))],
    "crop of a smaller image": lambda: [A.RandomCrop(200, padding=3, pad_if_needed=True)],
}


@pytest.mark.parametrize("size", [(64, 48), (5, 90), (1, 1)])
@pytest.mark.parametrize("name", LISTS)
def test_params_equal_the_reference_bit_for_bit(device: torch.device, name: str, size: tuple[int, int]) -> None:
    transform = A.Compose(LISTS[name]())
    (segment,) = transform._plan.segments
    view = segment.resample.view(*size)
    names = ("resample", *(step.name for step in segment.steps))
    rules = (segment.resample.rules(view), *(step.rules for step in segment.steps))
    numbers = torch.tensor([0, 5, 2**40, 7, -3])
    seed = 2**63 - 25
    like = torch.empty((), device=device)
    for first_view in (0, 3):
        got = ops.image_augment_params(
            *(like, torch.tensor(seed), numbers.to(device), 0, 5, 2, first_view, None, *size),
            *(segment.codes, segment.rules(view)),
        )
        want = reference_params.sample_params(
            numbers, 2, size, list(zip(names, rules, strict=True)), seed=seed, first_view=first_view
        )
        assert torch.equal(got.cpu(), want), transform.columns


def test_lists_of_codes_agree() -> None:
    assert _image_steps.CHOICES == reference.CHOICES
    assert list(_image_steps.CODES) == list(_image_steps.COLUMNS)
    assert list(_image_steps.CODES.values()) == list(range(12))
    fake = ops._augment._COLUMNS
    assert fake == tuple(len(columns) for columns in _image_steps.COLUMNS.values())


def test_reference_exponential() -> None:
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    torch.testing.assert_close(reference_params.exponential(x), x.exp(), rtol=1e-15, atol=0)


def test_shards_and_permuted_rows_equal_the_whole(device: torch.device) -> None:
    images = noise(8, 3, 30, 22).to(device)
    views = A.BYOLAugment(16)
    whole = views(images, generator=7)
    shards = [views(images[:5], generator=7), views(images[5:], generator=7, row_offset=5)]
    for v in range(2):
        assert torch.equal(whole[v], torch.cat([shard[v] for shard in shards]))
    ids = torch.tensor([3, 0, 7, 6, 5, 1, 2, 4], device=device)
    permuted = views(images[ids], generator=7, sample_ids=ids)
    assert torch.equal(permuted[1], whole[1][ids])


def test_generators() -> None:
    images = noise(4, 3, 20, 20)
    views, same = A.SimCLRAugment(8, generator=3), A.SimCLRAugment(8, generator=3)
    first, second = views(images), views(images)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(same(images)[0], first[0])
    assert torch.equal(same(images)[0], second[0])
    seed = torch.tensor(11)
    assert torch.equal(views(images, generator=seed)[1], views(images, generator=11)[1])
    torch.manual_seed(0)
    drawn = A.SimCLRAugment(8)(images)
    torch.manual_seed(0)
    assert torch.equal(A.SimCLRAugment(8)(images)[0], drawn[0])


# ---- distributions, 20,000 draws each, fixed seeds


def drawn(transform: A.Compose, size: tuple[int, int] = (64, 64)) -> dict[str, Tensor]:
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(20_000, 3, *size)
    params = transform.sample_params(images, generator=2024).double()
    return dict(zip(transform.columns, params.unbind(-1), strict=True))


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    assert scipy.stats.kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3


def assert_happens(values: Tensor, p: float) -> None:
    assert set(values.unique().tolist()) == {0.0, 1.0}
    assert scipy.stats.binomtest(int(values.sum()), len(values), p).pvalue > 1e-3


def test_crops_are_those_of_torchvision() -> None:
    """Large sides, so that rounding is fine; the oracle is a plain rewrite of make_params with NumPy's draws."""
    size = 60_000
    p = drawn(A.Compose([A.RandomResizedCrop(8)]), (size, size))
    rng = np.random.default_rng(7)
    areas = rng.uniform(0.08, 1, (40_000, 10))
    ratios = np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), (40_000, 10)))
    w, h = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = (w <= 1) & (h <= 1)
    chosen = fits.argmax(1)[fits.any(1)], fits.any(1)
    w, h = w[chosen[1], chosen[0]], h[chosen[1], chosen[0]]
    ratio, area = p["width"] / p["height"], p["width"] * p["height"] / size**2
    assert (area == 1).double().mean() < 0.001
    assert scipy.stats.ks_2samp(area.numpy(), w * h).pvalue > 1e-3
    assert scipy.stats.ks_2samp(ratio.log().numpy(), np.log(w / h)).pvalue > 1e-3
    place = torch.stack([p["top"] / (size - p["height"] + 1), p["left"] / (size - p["width"] + 1)])
    assert_uniform(place[0], 0, 1)
    assert_uniform(place[1], 0, 1)
    assert abs(torch.corrcoef(place)[0, 1]) < 0.03


def test_crops_of_small_images_against_torchvision() -> None:
    crop = peer("torchvision.transforms.v2").RandomResizedCrop(8)
    image = torch.zeros(3, 24, 18)
    boxes = [crop.make_params([image]) for _ in range(3000)]
    p = drawn(A.Compose([A.RandomResizedCrop(8)]), (24, 18))
    for name in ("top", "left", "height", "width"):
        theirs = torch.tensor([box[name] for box in boxes])
        table = torch.stack([torch.bincount(v.long(), minlength=25) for v in (theirs, p[name])])
        table = table[:, table.sum(0) > 20]
        assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3, name


def test_random_crops_lie_anywhere() -> None:
    p = drawn(A.Compose([A.RandomCrop(32, padding=4), A.RandomHorizontalFlip(0.3)]), (32, 32))
    for name in ("offset_top", "offset_left"):
        count = torch.bincount(p[name].long() + 4, minlength=9)
        assert len(count) == 9
        assert scipy.stats.chisquare(count.numpy()).pvalue > 1e-3
    assert_happens(p["hflip"], 0.3)
    crop = A.Compose([A.RandomCrop((20, 12), padding=1, pad_if_needed=True)])  # torchvision pads both sides by the lack
    p = drawn(crop, (13, 16))
    count = torch.bincount(p["offset_top"].long() + 6, minlength=6)
    assert len(count) == 6
    assert scipy.stats.chisquare(count.numpy()).pvalue > 1e-3
    assert set(p["offset_left"].unique().tolist()) == set(range(-1, 6))


def test_choices_and_factors_are_uniform_and_independent() -> None:
    p = drawn(A.Compose(LISTS["everything"]()))
    assert scipy.stats.chisquare(torch.bincount(p["order"].long(), minlength=24).numpy()).pvalue > 1e-3
    chances = {"hflip": 0.3, "vflip": 0.5, "jitter": 0.8, "gray": 0.2, "blur": 0.4, "solarize": 0.5, "sharpness": 0.5}
    for name, chance in chances.items():
        assert_happens(p[name], chance)
    ranges = {"brightness": (0.2, 1.8), "contrast": (0.2, 1.8), "saturation": (0.2, 1.8), "hue": (-0.2, 0.2)}
    ranges |= {"sigma": (0.1, 2.0), "factor": (0.5, 2.0)}
    for name, (low, high) in ranges.items():
        assert_uniform(p[name], low, high)
    columns = torch.stack([p[name] for name in ("order", *chances, *ranges)])
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 0.035


def test_what_has_only_a_chance_happens_as_often() -> None:
    chances = {"invert": 0.3, "autocontrast": 0.5, "equalize": 0.7, "posterize": 0.2, "affine": 0.6}
    p = drawn(
        A.Compose(
            [
                *(A.RandomInvert(0.3), A.RandomAutocontrast(0.5), A.RandomEqualize(0.7), A.RandomPosterize(3, 0.2)),
                A.RandomAffine(10, p=0.6),
            ]
        )
    )
    for name, chance in chances.items():
        assert_happens(p[name], chance)
    columns = torch.stack([p[name] for name in chances])
    assert (torch.corrcoef(columns) - torch.eye(len(columns))).abs().max() < 0.03


def test_angles_of_rotations() -> None:
    assert_uniform(drawn(A.Compose([A.RandomRotation(75)]))["angle"], -75, 75)
    assert_uniform(drawn(A.Compose([A.RandomRotation((10, 90))]))["angle"], -90, -10)  # counterclockwise


def test_factor_ranges() -> None:
    p = drawn(A.Compose([A.ColorJitter(1.5, (0.9, 0.9), (2.0, 3.0), (0.1, 0.4))]))
    assert_uniform(p["brightness"], 0, 2.5)
    assert p["contrast"].unique().tolist() == [pytest.approx(0.9)]
    assert_uniform(p["saturation"], 2, 3)
    assert_uniform(p["hue"], 0.1, 0.4)


def test_affine_ranges() -> None:
    p = drawn(A.Compose(LISTS["others"]()), (200, 100))
    assert_uniform(p["angle"], -30, 30)
    assert_uniform(p["scale"], 0.5, 2.0)
    assert_uniform(p["shear_x"], -5, 9)
    assert_uniform(p["shear_y"], -20, 3)
    for name, most in (("translate_x", 30), ("translate_y", 40)):
        inner = p[name][p[name].abs() < most].long() + most - 1
        assert p[name].abs().max() == most
        assert torch.equal(p[name], p[name].round())
        assert scipy.stats.chisquare(torch.bincount(inner, minlength=2 * most - 1).numpy()).pvalue > 1e-3


def test_rand_augment_draws_like_torchvision() -> None:
    """Every operation equally often, its magnitude torchvision's, signs even."""
    space = peer("torchvision.transforms.v2").RandAugment._AUGMENTATION_SPACE
    names = [name.lower().replace("_", "") for name in space]
    transform = A.Compose([A.RandomResizedCrop((80, 120)), A.RandAugment(1, 9)])
    p = drawn(transform)
    count = torch.bincount(p["choice"].long(), minlength=14)
    assert scipy.stats.chisquare(count.numpy()).pvalue > 1e-3
    for code, name in enumerate(_image_steps.CHOICES):
        function, signed = list(space.values())[names.index(name.replace("_", ""))]
        magnitudes = function(31, 80, 120)
        got = p["magnitude"][p["choice"] == code]
        if magnitudes is None:
            continue
        want = float(magnitudes[9])
        want = float(int(want)) if name.startswith("translate") else want
        assert got.abs().unique().tolist() == [pytest.approx(want, abs=1e-6)], name
        if signed and want:
            assert scipy.stats.binomtest(int((got > 0).sum()), len(got), 0.5).pvalue > 1e-3, name


def test_trivial_augment_draws_any_magnitude() -> None:
    p = drawn(A.Compose([A.TrivialAugmentWide()]))
    count = torch.bincount(p["choice"].long(), minlength=14)
    assert scipy.stats.chisquare(count.numpy()).pvalue > 1e-3
    for name in ("shear_x", "rotate", "brightness"):
        magnitude = p["magnitude"][p["choice"] == _image_steps.CHOICES.index(name)]
        moved = magnitude[magnitude != 0]
        assert scipy.stats.binomtest(int((moved > 0).sum()), len(moved), 0.5).pvalue > 1e-3
    rotation = p["magnitude"][p["choice"] == _image_steps.CHOICES.index("rotate")]
    bins = (rotation.abs() / 4.5).round().long()
    assert scipy.stats.chisquare(torch.bincount(bins, minlength=31).numpy()).pvalue > 1e-3
