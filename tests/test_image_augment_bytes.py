"""Rows of bytes are resized as they are where the processor can: like floats, and without a look behind the images."""

from __future__ import annotations

import ctypes
import mmap
import sys

import pytest
import torch
from image_augment_cases import in_floats, noise
from torch import Tensor

from sslfast import augment as A


def before_a_wall(images: Tensor) -> Tensor:
    """A copy whose last byte is the last of a page; nobody may read the next page."""
    page, size = mmap.PAGESIZE, images.numel()
    used = -(-size // page) * page
    memory = mmap.mmap(-1, used + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + used), page, 0) == 0
    copy = torch.frombuffer(memory, dtype=torch.uint8, offset=used - size, count=size).view(images.shape)
    return copy.copy_(images)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (20, 64), (70, 63), (64, 200), (100, 256), (40, 300)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_bytes_equal_floats(size: tuple[int, int], channels: int) -> None:
    images = noise(2, channels, *size)
    for view in ((128, 96), (101, 37)):
        transform = in_floats(A.RandomResizedCrop(view), A.RandomHorizontalFlip(), A.RandomVerticalFlip())
        params = transform.sample_params(images, generator=3)
        want = transform.apply_params(images.float() / 255, params)
        got = transform.apply_params(images, params)
        torch.testing.assert_close(got, want, atol=2e-6, rtol=0)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_row_of_one_tap(interpolation: str) -> None:
    images = noise(2, 3, 1, 50)
    transform = in_floats(A.Resize((7, 90), interpolation))
    params = transform.sample_params(images, generator=0)
    want = transform.apply_params(images.float() / 255, params)
    torch.testing.assert_close(transform.apply_params(images, params), want, atol=2e-6, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect of a mapping is Linux's")
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 16), (33, 65), (30, 200)])
def test_nothing_behind_the_images_is_read(size: tuple[int, int]) -> None:
    plain = noise(2, 3, *size)
    images = before_a_wall(plain)
    transform = in_floats(A.Resize((224, 224)), A.GaussianBlur(23, (0.1, 4.0)))
    params = transform.sample_params(plain, generator=0)
    want = transform.apply_params(plain, params)
    assert torch.equal(transform.apply_params(images, params), want)
    last = before_a_wall(plain.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
    torch.testing.assert_close(transform.apply_params(last, params), want, atol=0, rtol=0)
