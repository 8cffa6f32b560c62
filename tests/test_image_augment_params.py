"""Parameters of image_augment: equal bits from the operator and its definition, and the right distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from image_augment_cases import FACTORS, RULES, STRENGTH, noise
from peer_oracle import peer
from torch import Tensor

from sslfast.augment import PARAMS, SimCLRAugment, sample_params
from sslfast.reference import image_augment as reference


@pytest.mark.parametrize(
    ("size", "rules"),
    [
        ((256, 256), {}),
        ((32, 32), {}),
        ((480, 37), {}),  # a narrow image: most tries fail, the fallback is wider than allowed
        ((19, 300), {"scale": (0.5, 1.0)}),
        ((1, 1), {}),
        ((1, 9), {"ratio": (0.1, 0.2)}),  # the fallback has less than one pixel before it is clipped
        ((100, 100), {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}),
        ((224, 224), {"ratio": (1e-3, 1e3)}),
        ((50, 70), {"hflip_prob": 1.0, "jitter_prob": 0.0, "gray_prob": 1.0}),
    ],
)
def test_params_equal_the_reference_bit_for_bit(device: torch.device, size: tuple[int, int], rules: dict) -> None:
    rules = {**RULES, **rules}
    for seed in (0, -1, 0x0123456789ABCDEF):
        got = sample_params(200, size, views=3, **rules, **STRENGTH, generator=seed, row_offset=2**33, device=device)
        want = reference.sample_params(200, size, views=3, **rules, jitter=FACTORS, seed=seed, row_offset=2**33)
        assert got.dtype == torch.float32
        assert torch.equal(got.cpu(), want)
        top, left, height, width = got[..., :4].unbind(-1)
        assert (height >= 1).all()
        assert (width >= 1).all()
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + height <= size[0]).all()
        assert (left + width <= size[1]).all()


def test_reference_exponential() -> None:
    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    torch.testing.assert_close(reference.exponential(x), x.exp(), rtol=1e-15, atol=0)


def test_views_of_shards_equal_the_whole(device: torch.device) -> None:
    images = noise(7, 3, 21, 30).to(device)
    aug = SimCLRAugment(16, views=3)
    whole = aug(images, generator=5, row_offset=100)
    parts = [aug(images[a:b], generator=5, row_offset=100 + a) for a, b in ((0, 2), (2, 7))]
    for view, *shards in zip(whole, *parts, strict=True):
        assert torch.equal(view, torch.cat(shards))
    assert not torch.equal(whole[0], whole[1])


def test_threads_and_repetition_change_nothing() -> None:
    images = noise(9, 3, 40, 28)
    aug = SimCLRAugment(24)
    threads = torch.get_num_threads()
    try:
        runs = []
        for n in (1, 2, 3, 3):
            torch.set_num_threads(n)
            runs.append(torch.stack(aug(images, generator=1)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(runs[0], run) for run in runs)


def test_generators() -> None:
    images = noise(4, 3, 20, 20)
    aug, same = SimCLRAugment(8, generator=3), SimCLRAugment(8, generator=3)
    first, second = aug(images), aug(images)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(same(images)[0], first[0])
    assert torch.equal(same(images)[0], second[0])
    seed = torch.tensor(11)
    assert torch.equal(aug(images, generator=seed)[1], aug(images, generator=11)[1])
    torch.manual_seed(0)
    drawn = SimCLRAugment(8)(images)
    torch.manual_seed(0)
    assert torch.equal(SimCLRAugment(8)(images)[0], drawn[0])
    params = aug.sample_params(images, generator=4)
    assert torch.equal(params, sample_params(4, (20, 20), views=2, generator=4))
    for a, b in zip(aug.apply_params(images, params), aug(images, generator=4), strict=True):
        assert torch.equal(a, b)


# ---- distributions, 20,000 views each, fixed seeds


def drawn(size: tuple[int, int], **rules: object) -> dict[str, Tensor]:
    params = sample_params(10_000, size, views=2, generator=2024, **rules).reshape(-1, len(PARAMS)).double()
    return dict(zip(PARAMS, params.unbind(-1), strict=True))


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    assert scipy.stats.kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3


def test_crops_are_those_of_torchvision() -> None:
    """Large sides, so that rounding is fine; the oracle is a plain rewrite of make_params with NumPy's draws."""
    size = 60_000
    p = drawn((size, size))
    rng = np.random.default_rng(7)
    areas, ratios = (
        rng.uniform(0.08, 1, (40_000, 10)),
        np.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3), (40_000, 10))),
    )
    w, h = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = (w <= 1) & (h <= 1)
    chosen = fits.argmax(1)[fits.any(1)], fits.any(1)
    w, h = w[chosen[1], chosen[0]], h[chosen[1], chosen[0]]
    ratio, area = p["width"] / p["height"], p["width"] * p["height"] / size**2
    cropped = area < 1
    assert (1 - cropped.double().mean()) < 0.001
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
    p = drawn((24, 18))
    for name in ("top", "left", "height", "width"):
        theirs = torch.tensor([box[name] for box in boxes])
        table = torch.stack([torch.bincount(v.long(), minlength=25) for v in (theirs, p[name])])
        table = table[:, table.sum(0) > 20]
        assert scipy.stats.chi2_contingency(table.numpy()).pvalue > 1e-3, name


def test_choices_and_factors_are_uniform() -> None:
    p = drawn((64, 64), **STRENGTH, **RULES)
    n = len(p["order"])
    assert scipy.stats.chisquare(torch.bincount(p["order"].long(), minlength=24).numpy()).pvalue > 1e-3
    for name, probability in (("flip", 0.5), ("jitter", 0.8), ("gray", 0.2)):
        assert set(p[name].unique().tolist()) == {0.0, 1.0}
        assert scipy.stats.binomtest(int(p[name].sum()), n, probability).pvalue > 1e-3, name
    for name, (low, high) in zip(("brightness", "contrast", "saturation", "hue"), FACTORS, strict=True):
        assert_uniform(p[name], low, high)
    columns = torch.stack(
        [p[name] for name in ("flip", "jitter", "gray", "order", "brightness", "contrast", "saturation", "hue")]
    )
    assert (torch.corrcoef(columns) - torch.eye(8)).abs().max() < 0.03


def test_factor_ranges() -> None:
    p = drawn((8, 8), brightness=1.5, contrast=(0.9, 0.9), saturation=(2.0, 3.0), hue=(0.1, 0.4))
    assert_uniform(p["brightness"], 0, 2.5)
    assert p["contrast"].unique().tolist() == [pytest.approx(0.9)]
    assert_uniform(p["saturation"], 2, 3)
    assert_uniform(p["hue"], 0.1, 0.4)
