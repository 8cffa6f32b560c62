"""How the GPU's blocks store views: by fours and twos where they are aligned, RGBA by pixels, always the same bits.

Counted on the CPU, where lanes take turns, and a store at an address that is no multiple of its size ends the program.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_blocks import TYPES, in_blocks, reads, stores
from image_augment_cases import noise, photos
from torch import Tensor

from sslfast import augment as A

MEAN, STD = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
LAYOUTS = [torch.contiguous_format, torch.channels_last]
LISTS = {
    "two taps": lambda: [A.Resize((37, 34)), A.RandomHorizontalFlip(0.5), A.RandomSolarize(0.4, 0.7)],
    "three": lambda: [A.RandomResizedCrop((11, 13), (0.8, 1.0)), A.GaussianBlur(9, (0.5, 3.0), 0.7)],
    "more than are kept": lambda: [A.Resize((2, 1), "bicubic"), A.RandomPosterize(4)],
    "as they are": lambda: [A.RandomHorizontalFlip(0.5), A.RandomVerticalFlip(0.5), A.RandomInvert(0.5)],
    "padded": lambda: [A.RandomCrop((33, 34), 5, True, (0.1, 0.9, 0.4, 0.2)), A.GaussianBlur((3, 41), 2.0)],
}


def of_type(images: Tensor, dtype: torch.dtype) -> Tensor:
    return images if dtype == torch.uint8 else (images / 255).to(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", LISTS)
def test_rgba_is_four_images_of_one_channel(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """With the same bits, from memory that begins anywhere, whatever is made together."""
    images = of_type(photos(2, 4, 31, 33), dtype)
    steps = LISTS[name]()
    shifted = torch.zeros(2, 31, 35, 4, dtype=dtype)
    shifted[:, :, 1:34] = images.permute(0, 2, 3, 1)
    others = [images.contiguous(memory_format=layout)]
    if layout == torch.channels_last:
        others += [shifted[:, :, 1:34].permute(0, 3, 1, 2), images.flip(1).contiguous().flip(1)]
    transform = A.Compose([*steps, A.Normalize(MEAN, STD), A.ToDtype()])
    params = transform.sample_params(images, generator=3)
    for other in others:
        got, fours = in_blocks(transform, other, params, many=2)
        if A._images.has_channels_last(other):
            assert list(stores) == [0, 0, got.numel() // 4]
            assert fours == stores[2]
        if other.stride(1) == 1:
            assert reads[0] == 0
        for c in range(4):
            fill = [A.RandomCrop((33, 34), 5, True, (0.1, 0.9, 0.4, 0.2)[c]), steps[1]] if name == "padded" else steps
            alone = A.Compose([*fill, A.Normalize(MEAN[c : c + 1], STD[c : c + 1]), A.ToDtype()])
            want, _ = in_blocks(alone, images[:, c : c + 1].contiguous(), params)
            assert torch.equal(got[:, c : c + 1], want)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8])
def test_narrow_views(channels: int, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """As wide as a store takes, or not quite, from addresses that are aligned, or not."""
    images = photos(2, channels, 12, 10).contiguous(memory_format=layout)
    last = A._images.has_channels_last(images)
    for width in range(1, 10):
        transform = A.Compose([A.Resize((3, width)), A.RandomInvert(0.5), A.ToDtype(dtype)])
        params = transform.sample_params(images, generator=width)
        want = transform.apply_params(images, params)
        first = None
        for shift in range(4):
            got, _ = in_blocks(transform, images, params, shift=shift)
            assert list(stores) == counted(2, channels, 3, width, last, shift)
            first = got if first is None else first
            assert torch.equal(got, first)
        tolerance = {torch.uint8: 1, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
        assert (first.float() - want.float()).abs().max() <= tolerance


def counted(rows: int, channels: int, height: int, width: int, last: bool, shift: int) -> list[int]:
    """Stores of one element, two and four, of views that are no wider than a tile."""
    found = [0, 0, 0]
    planes, unit = (rows, channels) if last else (rows * channels, 1)
    for line in range(planes * height):
        for x in range(0, width, 4):
            count, at = unit * min(4, width - x), shift + (line * width + x) * unit
            if last and channels % 4 == 0 and (shift == 0 or channels > 4):
                found[2 if shift == 0 else 0] += count // 4 if shift == 0 else count
                continue
            if last and channels not in (1, 3, 4):
                found[0] += count
                continue
            fours = count // 4 if at % 4 == 0 else 0
            twos = (count - 4 * fours) // 2 if at % 2 == 0 else 0
            for place, number in ((2, fours), (1, twos), (0, count - 4 * fours - 2 * twos)):
                found[place] += number
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [3, 4])
def test_given_buffers_begin_anywhere(
    device: torch.device, channels: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """Also where views wait: blurs behind each other are made in passes."""
    images = noise(2, channels, 15, 16).to(device)
    for steps in ([A.GaussianBlur(3)], [A.GaussianBlur(3), A.GaussianBlur(5)]):
        for width in (6, 7, 8):
            transform = A.Compose([A.RandomResizedCrop((5, width)), *steps, A.ToDtype(dtype)])
            params = transform.sample_params(images, generator=1)
            want = transform.apply_params(images, params, memory_format=layout)
            for shift in range(5):
                memory = torch.full((want.numel() + 16,), 7, dtype=dtype, device=device)
                out = memory[shift : shift + want.numel()]
                if layout == torch.channels_last:
                    out = out.view(2, 5, width, channels).permute(0, 3, 1, 2)
                else:
                    out = out.view(want.shape)
                assert torch.equal(transform.apply_params(images, params, out=out), want)
                assert torch.equal(out, want)
                assert bool((memory[:shift] == 7).all())
                assert bool((memory[shift + want.numel() :] == 7).all())


def test_rgba_is_made_like_its_channels(device: torch.device) -> None:
    """By the operator, from a batch and from a list of images."""
    images = photos(3, 4, 40, 31).to(device, memory_format=torch.channels_last)
    transform = A.Compose([A.RandomResizedCrop(22), A.RandomHorizontalFlip(), A.GaussianBlur(5), A.ToDtype()])
    params = transform.sample_params(images, generator=2)
    got = transform.apply_params(images, params)
    assert torch.equal(transform.apply_params(list(images), params, memory_format=torch.channels_last), got)
    assert torch.equal(transform.apply_params(images, params, memory_format=torch.contiguous_format), got)
    alone = [transform.apply_params(images[:, c : c + 1], params) for c in range(4)]
    torch.testing.assert_close(got, torch.cat(alone, 1), atol=1e-6, rtol=0)
