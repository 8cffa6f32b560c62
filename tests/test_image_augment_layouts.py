"""Views of images in any layout and type, into views of any type, and their normalisation."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import expected, in_floats, noise, photos

from sslfast import augment as A


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_strides(device: torch.device, channels: int) -> None:
    images = noise(3, channels, 20, 16).to(device)
    steps = [A.RandomResizedCrop((9, 21)), A.RandomSolarize(), A.GaussianBlur(3)]
    transform = in_floats(*steps)
    want = transform(images, generator=2)
    padded = torch.zeros(5, channels, 22, 40, dtype=torch.uint8, device=device)
    padded[1:4, :, 1:21, 2:34:2] = images
    for other in (
        images.to(memory_format=torch.channels_last),
        images.transpose(2, 3).contiguous().transpose(2, 3),
        padded[1:4, :, 1:21, 2:34:2],
        images.flip(0)[[2, 1, 0]],
        list(images),
        [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images],
    ):
        assert torch.equal(transform(other, generator=2), want)


def test_every_channel_of_others_is_its_own_image(device: torch.device) -> None:
    images = noise(2, 5, 14, 14).to(device)
    transform = in_floats(A.RandomResizedCrop(9), A.GaussianBlur(3), A.RandomInvert())
    params = transform.sample_params(images, generator=0)
    whole = transform.apply_params(images, params)
    for c in range(5):
        assert torch.equal(whole[:, c : c + 1], transform.apply_params(images[:, c : c + 1], params))


def test_a_list_of_sizes(device: torch.device) -> None:
    images = [noise(3, h, w).to(device) for h, w in ((9, 30), (64, 5), (17, 17))]
    transform = in_floats(A.RandomResizedCrop(8), A.ColorJitter(0.8, 0.8, 0.8, 0.2))
    whole = transform(images, generator=4)
    for i, image in enumerate(images):
        assert torch.equal(whole[i], transform(image[None], generator=4, row_offset=i)[0])
    assert A.ImageNetEval(8, resize=12)(images).shape == (3, 3, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_images_of_floats(device: torch.device, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 12, 15, device=device).to(dtype)
    transform = in_floats(A.RandomResizedCrop(10), A.ColorJitter(0.8, 0.8, 0.8, 0.2))
    assert torch.equal(transform(images, generator=1), transform(images.float(), generator=1))
    params = transform.sample_params(images, generator=1)
    want = expected(transform, images.double(), params.cpu())
    torch.testing.assert_close(transform.apply_params(images, params).cpu().double(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_views_of_other_types_are_float32_rounded(
    device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    images = photos(2, 3, 20, 24).to(device).contiguous(memory_format=layout)
    steps = [A.RandomResizedCrop(17), A.ColorJitter(0.8, 0.8, 0.8, 0.2), A.GaussianBlur(5)]
    wide = A.Compose([*steps, A.ToDtype()])(images, generator=3)
    got = A.Compose([*steps, A.ToDtype(dtype)])(images, generator=3)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=layout)
    want = (wide * 255).round().to(dtype) if dtype == torch.uint8 else wide.to(dtype)
    assert (got.float() - want.float()).abs().max() <= (1 if dtype == torch.uint8 else 0)


def test_uint8_in_uint8_out(device: torch.device) -> None:
    images = noise(3, 3, 7, 9).to(device)
    flipped = A.RandomHorizontalFlip(1.0)(images)
    assert flipped.dtype == torch.uint8
    assert torch.equal(flipped, images.flip(-1))
    assert torch.equal(A.RandomVerticalFlip(1.0)(images), images.flip(-2))
    assert torch.equal(A.CenterCrop((5, 3))(images), images[:, :, 1:6, 3:6])
    assert torch.equal(A.RandomInvert(1.0)(images), 255 - images)


def test_normalisation(device: torch.device) -> None:
    images = noise(2, 3, 6, 6).to(device)
    transform = A.Compose([A.Normalize((0.1, 0.2, 0.3), (0.5, 2.0, 1.0))])
    want = (images / 255 - torch.tensor([0.1, 0.2, 0.3], device=device)[:, None, None]) / torch.tensor(
        [0.5, 2.0, 1.0], device=device
    )[:, None, None]
    torch.testing.assert_close(transform(images), want, atol=1e-6, rtol=0)
    one = A.Normalize((0.5,), (0.5,))(images)
    torch.testing.assert_close(one, images / 127.5 - 1, atol=1e-6, rtol=0)


def test_into_a_given_buffer(device: torch.device) -> None:
    images = noise(2, 3, 9, 9).to(device)
    transform = in_floats(A.RandomResizedCrop(6))
    params = transform.sample_params(images, generator=0)
    want = transform.apply_params(images, params)
    for layout in (torch.contiguous_format, torch.channels_last):
        out = torch.empty(2, 3, 6, 6, device=device).contiguous(memory_format=layout)
        assert transform.apply_params(images, params, out=out).data_ptr() == out.data_ptr()
        assert torch.equal(out, want)


def test_empty_batch(device: torch.device) -> None:
    views = A.SimCLRAugment(5)(noise(0, 3, 9, 9).to(device))
    assert [tuple(v.shape) for v in views] == [(0, 3, 5, 5)] * 2
