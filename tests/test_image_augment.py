"""Views of image_augment against their definition in sslfast.reference and against torchvision."""

from __future__ import annotations

import itertools

import pytest
import torch
from image_augment_cases import RGB, RULES, STRENGTH, noise, photos, row
from peer_oracle import peer
from torch import Tensor

from sslfast import ops
from sslfast.augment import PARAMS, SimCLRAugment, apply_params, sample_params
from sslfast.reference import image_augment as reference


def assert_reference(images: Tensor, params: Tensor, size: tuple[int, int], tolerance: float = 1e-5) -> None:
    normal = RGB if images.shape[1] == 3 else {"mean": (0.5,), "std": (0.5,)}
    got = apply_params(images, params, size)
    want = reference.apply_params(images.cpu(), params.cpu(), size, **normal)
    assert len(got) == len(want) == params.shape[1]
    for a, b in zip(got, want, strict=True):
        assert a.is_contiguous()
        torch.testing.assert_close(a.cpu().double(), b, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("channels", "source", "size"),
    [
        (3, (40, 33), (24, 24)),
        (3, (64, 64), (64, 64)),  # no scaling for whole-image crops
        (3, (20, 20), (37, 50)),  # up only, odd sizes
        (3, (150, 90), (7, 40)),  # rows down, columns down or up: many taps
        (3, (9, 700), (16, 17)),  # more than a window of taps
        (3, (1, 1), (3, 2)),
        (3, (1, 30), (4, 4)),
        (3, (30, 1), (1, 1)),
        (1, (28, 28), (28, 28)),
        (1, (15, 60), (20, 9)),
    ],
)
def test_views_equal_the_reference(
    device: torch.device, channels: int, source: tuple[int, int], size: tuple[int, int]
) -> None:
    for images in (noise(12, channels, *source), photos(12, channels, *source)):
        params = sample_params(12, source, views=2, **RULES, **STRENGTH, generator=9)
        assert_reference(images.to(device), params.to(device), size)


@pytest.mark.parametrize("order", range(24))
def test_every_order(device: torch.device, order: int) -> None:
    images = photos(2, 3, 16, 16).to(device)
    params = row(images, order=order, brightness=1.4, contrast=1.6, saturation=0.3, hue=0.17)
    assert_reference(images, params, (16, 16))


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"flip": 1},
        {"brightness": 1.7},
        {"brightness": 0},
        {"contrast": 1.8},
        {"contrast": 0},
        {"saturation": 1.8},
        {"saturation": 0},
        {"hue": -0.5},
        {"hue": 0.13},
        {"hue": 0.5},
        {"gray": 1},
        {"jitter": 0, "brightness": 0.1, "hue": 0.4, "contrast": 3},
        {"jitter": 0, "gray": 1, "flip": 1},
    ],
    ids=str,
)
def test_each_operation_alone(device: torch.device, columns: dict[str, float]) -> None:
    for channels in (1, 3):
        images = torch.cat([noise(1, channels, 20, 35), photos(1, channels, 20, 35)]).to(device)
        assert_reference(images, row(images, **columns), (20, 35))


def test_gray_pixels_have_no_hue(device: torch.device) -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16).to(device)
    (view,) = apply_params(images, row(images, hue=0.3), 16, mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(view, images / 255, atol=1e-6, rtol=0)


def test_boxes_by_hand_stay_inside(device: torch.device) -> None:
    images = noise(1, 3, 10, 12).to(device)
    inside = row(images, top=6, left=8, height=4, width=4)
    beyond = row(images, top=6, left=8, height=400, width=1e30)
    assert torch.equal(apply_params(images, beyond, 5)[0], apply_params(images, inside, 5)[0])
    corner = row(images, top=-3, left=float("nan"), height=-1, width=float("-inf"))
    pixel = row(images, top=0, left=0, height=1, width=1)
    assert torch.equal(apply_params(images, corner, 5)[0], apply_params(images, pixel, 5)[0])
    wild = row(images, order=1e9, hue=7.0, brightness=-2.0)
    tame = row(images, order=23, hue=0.5, brightness=0.0)
    assert torch.equal(apply_params(images, wild, 5)[0], apply_params(images, tame, 5)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_strides(device: torch.device, channels: int) -> None:
    images = noise(5, channels, 30, 22).to(device)
    params = sample_params(5, (30, 22), generator=1, device=device)
    want = apply_params(images, params, 16)[0]
    wide = torch.zeros(5, channels, 60, 44, dtype=torch.uint8, device=device)
    wide[:, :, ::2, 1::2] = images
    apart = params.repeat(1, 1, 2)[..., : len(PARAMS)]
    for other in (
        images.contiguous(memory_format=torch.channels_last),
        wide[:, :, ::2, 1::2],
        images.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        torch.testing.assert_close(apply_params(other, apart, 16)[0], want, atol=1e-6, rtol=0)
    one = images[:1].expand(5, -1, -1, -1)
    torch.testing.assert_close(
        apply_params(one, params, 16)[0], apply_params(one.clone(), params, 16)[0], atol=0, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_bfloat16_is_float32_rounded(device: torch.device, channels: int) -> None:
    images = noise(20, channels, 30, 30).to(device)
    params = sample_params(20, (30, 30), generator=2, device=device)
    wide, narrow = (apply_params(images, params, (21, 18), dtype=dtype)[0] for dtype in (torch.float32, torch.bfloat16))
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(wide.bfloat16(), narrow)


def test_normalisation(device: torch.device) -> None:
    images = photos(3, 3, 16, 16).to(device)
    params = row(images)
    (plain,) = apply_params(images, params, 16, mean=[0, 0, 0], std=[1, 1, 1])
    (default,) = apply_params(images, params, 16)
    mean, std = (torch.tensor(RGB[k], device=device)[:, None, None] for k in ("mean", "std"))
    torch.testing.assert_close(default, (plain - mean) / std, atol=1e-6, rtol=0)
    one = images[:, :1]
    torch.testing.assert_close(apply_params(one, params, 16)[0], plain[:, :1] * 2 - 1, atol=1e-6, rtol=0)


def test_empty_batch(device: torch.device) -> None:
    views = SimCLRAugment((5, 6), views=3)(torch.empty(0, 3, 9, 9, dtype=torch.uint8, device=device), generator=0)
    assert [tuple(v.shape) for v in views] == [(0, 3, 5, 6)] * 3


# ---- views against torchvision


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_views_equal_torchvision(dtype: torch.dtype) -> None:
    """The whole chain; torchvision's float32 resize places its taps to about 1e-5 of a pixel, its float64 exactly."""
    F = peer("torchvision.transforms.v2.functional")
    images = torch.cat([photos(20, 3, 70, 90), noise(4, 3, 70, 90)])
    params = sample_params(24, (70, 90), generator=3)
    (got,) = apply_params(images, params, (48, 56))
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for image, values, view in zip(images, params[:, 0].tolist(), got, strict=True):
        top, left, height, width, flip, jitter, order, *factors, gray = values
        x = F.to_dtype(image, dtype, scale=True)
        x = F.resized_crop(x, int(top), int(left), int(height), int(width), [48, 56], antialias=True)
        x = F.horizontal_flip(x) if flip else x
        for k in list(itertools.permutations(range(4)))[int(order)] if jitter else ():
            x = adjust[k](x, factors[k])
        x = F.rgb_to_grayscale(x, 3) if gray else x
        want = F.normalize(x, RGB["mean"], RGB["std"])
        torch.testing.assert_close(view.to(dtype), want, atol=2e-4 if dtype == torch.float32 else 2e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_equals_torchvision(channels: int) -> None:
    F = peer("torchvision.transforms.v2.functional")
    images = photos(3, channels, 40, 40)
    x = images.double() / 255
    keep = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    cases = [
        ({"flip": 1}, F.horizontal_flip(x)),
        ({"brightness": 1.5}, F.adjust_brightness(x, 1.5)),
        ({"contrast": 1.7}, torch.stack([F.adjust_contrast(image, 1.7) for image in x])),
        ({"saturation": 1.9}, F.adjust_saturation(x, 1.9)),
        *(({"hue": f}, F.adjust_hue(x, f)) for f in (-0.5, -0.13, 0.2, 0.5)),
        ({"gray": 1}, F.rgb_to_grayscale(x, channels)),
    ]
    for columns, want in cases:
        (got,) = apply_params(images, row(images, **columns), 40, **keep)
        torch.testing.assert_close(got.double(), want, atol=2e-6, rtol=0, msg=lambda m, c=columns: f"{c}: {m}")
    for size in ((23, 31), (40, 64), (96, 8)):
        want = F.resized_crop(x, 5, 3, 30, 34, list(size), antialias=True)
        (got,) = apply_params(images, row(images, top=5, left=3, height=30, width=34), size, **keep)
        torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=0)


# ---- torch


def test_opcheck(device: torch.device) -> None:
    images, seed = noise(4, 3, 12, 10).to(device), torch.tensor(3)
    rules = ([0.08, 1.0], [0.75, 1.25], 0.5, 0.8, [0.2, 1.8] * 3 + [-0.2, 0.2], 0.2)
    torch.library.opcheck(ops.image_augment_params, (images, seed, 4, 2, 12, 10, *rules, 0))
    params = sample_params(4, (12, 10), views=2, generator=0, device=device)
    for dtype in (torch.float32, torch.bfloat16):
        torch.library.opcheck(ops.image_augment, (images, params, 6, 7, [0.5] * 3, [0.5] * 3, dtype))


def test_compiles_to_one_graph(device: torch.device) -> None:
    aug = SimCLRAugment(8)
    images, seed = noise(4, 3, 12, 10).to(device), torch.tensor(3, device=device)
    compiled = torch.compile(lambda x, s: aug(x, generator=s), fullgraph=True)
    for a, b in zip(compiled(images, seed), aug(images, generator=seed), strict=True):
        assert torch.equal(a, b)
