"""The blocks of csrc/cuda/image_augment_passes.cu, run on the CPU by lanes that take turns, against the CPU's kernel.

Views of any list of steps, each by a block that walks over its passes, or shared by several that meet between them.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_blocks import TYPES, in_blocks, plan_walk, reads, stores
from image_augment_cases import noise, photos, row

from sslfast import augment as A

JITTER = (0.8, 0.8, 0.8, 0.2)
ALONE, SHARED = 2, 19  # blocks: each has views of its own, or two and more share one

LISTS = {
    "jitter twice": lambda: [
        *(A.RandomResizedCrop((70, 37)), A.RandomHorizontalFlip(), A.ColorJitter(*JITTER, p=0.8)),
        *(A.GaussianBlur(23, (0.1, 5.0), p=0.7), A.ColorJitter(*JITTER), A.RandomSolarize(p=0.5)),
    ],
    "jitter and rotation": lambda: [
        A.RandomResizedCrop((33, 65), interpolation="bicubic"),
        A.ColorJitter(*JITTER),
        A.RandomRotation(30, interpolation="bilinear", fill=(0.1, 0.5, 0.9)),
    ],
    "affine": lambda: [
        A.Resize((40, 50)),
        A.RandomAffine(20, (0.1, 0.2), (0.7, 1.3), 15),
        A.RandomAdjustSharpness(3.0, 0.8),
    ],
    "wide blur": lambda: [A.Resize((64, 45)), A.GaussianBlur((61, 5), (6.0, 9.0)), A.RandomAutocontrast(1.0)],
    "wide blur down": lambda: [A.Resize((45, 64)), A.GaussianBlur((3, 77), (5.0, 9.0)), A.RandomEqualize(0.9)],
    "statistics": lambda: [A.CenterCrop(39), A.RandomAutocontrast(0.6), A.RandomEqualize(0.6), A.ColorJitter(*JITTER)],
    "blurs": lambda: [A.Resize(50), A.GaussianBlur(5), A.GaussianBlur((41, 3), 9.0), A.RandomAdjustSharpness(0.0, 1.0)],
    "two of RandAugment": lambda: [A.RandomResizedCrop(44), A.RandAugment(2, 12)],
    "four of RandAugment": lambda: [A.Resize((35, 52)), A.RandAugment(4, 20, fill=0.4)],
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_walks_make_the_views_of_the_cpu(name: str, channels: int) -> None:
    """Of smooth images. Equalize and posterize split values by what rounding made of them: some pixels may tip."""
    if channels == 1 and "rotation" in name:
        return
    images = photos(8, channels, 41, 54)
    transform = A.Compose([*LISTS[name](), A.Normalize([0.4], [0.5]), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    want = transform.apply_params(images, params)
    got, parts = in_blocks(transform, images, params, walking=ALONE)
    assert parts == 1
    off = (got - want).abs()
    assert (off > 5e-5).double().mean() < 5e-3, off.max()
    assert off.max() < 0.1
    rounds = 7 * 4 * channels * got.shape[2] * (got.shape[3] + 3)  # bytes of three views, of seven where few wait
    for reversed, waiting in ((False, 2**29), (True, rounds)):
        shared, parts = in_blocks(transform, images, params, walking=SHARED, waiting=waiting, reversed=reversed)
        assert parts > 1
        assert torch.equal(shared, got)
    assert torch.equal(in_blocks(transform, images, params, walking=ALONE, reversed=True)[0], got)


def test_views_do_not_depend_on_who_makes_them() -> None:
    """Any number of blocks, each with several views one after the other, and any batch."""
    images = photos(5, 3, 70, 66)
    transform = A.Compose([A.Resize((66, 70)), A.RandAugment(3, 15), A.ColorJitter(*JITTER)])
    params = transform.sample_params(images, generator=7)
    whole, _ = in_blocks(transform, images, params, walking=2)
    for walking, parts in ((4, 1), (7, 1), (10, 1), (11, 2), (33, 6)):
        views, shared_by = in_blocks(transform, images, params, walking=walking)
        assert shared_by == parts
        assert torch.equal(views, whole)
    for i in range(5):
        one, _ = in_blocks(transform, images[i : i + 1], params[i : i + 1], walking=2)
        assert torch.equal(one, whole[i : i + 1])


def test_memory_does_not_grow_with_the_batch() -> None:
    """Of a GPU with 132 multiprocessors: two views each, 1.2 MB a view, and half a GiB at most, or one view."""
    view = 2 * 3 * 224 * 224 * 4
    for rows in (132, 264, 4096, 2**24):
        assert plan_walk(rows, 3, 224, 224, 132) == (min(rows, 264) * view, min(rows, 264), 1)
    for rows in (1, 8, 131):
        bytes, slots, parts = plan_walk(rows, 3, 224, 224, 132)
        assert (slots, parts) == (rows, min(49, 264 // rows))
        assert rows * view <= bytes <= rows * (view + 2**14)
    bytes, slots, parts = plan_walk(4096, 4, 4096, 4096, 132)  # four views of a channel fit
    assert (slots, parts) == (4, 66)
    assert bytes <= 2**29 + 2**17
    assert plan_walk(7, 3, 16384, 16384, 132)[0] <= 2 * 3 * 2**30 + 2**16
    assert plan_walk(0, 3, 224, 224, 132)[0] <= view + 2**14


def test_a_pass_that_no_view_draws_changes_nothing() -> None:
    """Views that are finished early, whatever their list might have asked for."""
    images = photos(3, 3, 30, 33)
    steps = (
        A.RandomEqualize(0.0),
        A.RandomAutocontrast(0.0),
        A.GaussianBlur(5, p=0.0),
        A.RandomAdjustSharpness(3.0, 0.0),
    )
    transform, plain = (A.Compose([A.Resize(20), *more, A.ToDtype()]) for more in (steps, ()))
    got, _ = in_blocks(transform, images, transform.sample_params(images), walking=ALONE)
    torch.testing.assert_close(got, plain(images), atol=1e-6, rtol=0)


@pytest.mark.parametrize("width", [36, 35])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_types_and_layouts(layout: torch.memory_format, dtype: torch.dtype, width: int) -> None:
    images = photos(2, 3, 80, 91)
    images = images if dtype != torch.float16 else (images / 255).half()
    images = images.contiguous(memory_format=layout)
    transform = A.Compose([A.Resize((33, width)), A.RandomAdjustSharpness(2.0, 1.0), A.RandomAutocontrast(1.0)])
    transform = A.Compose([transform, A.ToDtype(dtype)])
    params = transform.sample_params(images, generator=3)
    want = transform.apply_params(images, params)
    tolerance = {torch.uint8: 1, torch.float32: 2e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    for walking in (ALONE, SHARED):
        got, _ = in_blocks(transform, images, params, walking=walking)
        assert got.stride() == want.stride()
        assert (got.float() - want.float()).abs().max() <= tolerance


WITHOUT_COLOURS = {
    "blurs and a rotation": lambda: [
        *(A.Resize((41, 36)), A.GaussianBlur(5), A.RandomRotation(40, "bilinear", fill=0.5), A.GaussianBlur(3)),
        *(A.RandomSolarize(0.4, 0.5), A.RandomPosterize(3), A.RandomInvert()),
    ],
    "wide blur": lambda: [A.RandomResizedCrop((33, 35), interpolation="bicubic"), A.GaussianBlur((61, 45), (6.0, 9.0))],
    "as it is": lambda: [A.RandomHorizontalFlip(0.5), A.RandomAffine(20, (0.1, 0.2), (0.7, 1.3), 15)],
}


@pytest.mark.parametrize("channels", [2, 4, 8])
@pytest.mark.parametrize("name", WITHOUT_COLOURS)
def test_channels_of_their_own(name: str, channels: int) -> None:
    images = photos(3, channels, 40, 31).to(memory_format=torch.channels_last)
    transform = A.Compose([*WITHOUT_COLOURS[name](), A.ToDtype()])
    params = transform.sample_params(images, generator=2)
    want = transform.apply_params(images, params)
    for walking in (ALONE, SHARED):
        got, parts = in_blocks(transform, images, params, walking=walking)
        assert (parts > 1) == (walking == SHARED)
        off = (got - want).abs()
        assert (off > 2e-5).double().mean() < 2e-3, off.max()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", WITHOUT_COLOURS)
def test_rgba_is_four_images_of_one_channel(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """With the same bits, and channels last with one store a pixel, whose channels have one load."""
    images = photos(2, 4, 31, 33)
    images = (images if dtype == torch.uint8 else (images / 255).to(dtype)).contiguous(memory_format=layout)
    fills, mean, std = (0.1, 0.9, 0.4, 0.2), (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
    steps = [*WITHOUT_COLOURS[name](), A.RandomRotation(20, "bilinear", fill=fills)]
    transform = A.Compose([*steps, A.Normalize(mean, std), A.ToDtype()])
    params = transform.sample_params(images, generator=3)
    for walking in (ALONE, SHARED):
        got, _ = in_blocks(transform, images, params, walking=walking)
        if layout == torch.channels_last:
            assert list(stores) == [0, 0, got.numel() // 4]
            assert reads[0] == 0
        for c in range(4):
            last = A.RandomRotation(20, "bilinear", fill=fills[c])
            one = A.Compose([*steps[:-1], last, A.Normalize(mean[c : c + 1], std[c : c + 1]), A.ToDtype()])
            want, _ = in_blocks(one, images[:, c : c + 1].contiguous(), params, walking=walking)
            assert torch.equal(got[:, c : c + 1], want)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_in_a_channel_stays_there(value: float) -> None:
    images = torch.rand(2, 4, 16, 16)
    images[1, 3, 8, 8] = value
    steps = [A.RandomInvert(1.0), A.GaussianBlur(3), A.RandomRotation((5.0, 5.0)), A.RandomSolarize(p=1.0)]
    transform = A.Compose(steps)
    views, _ = in_blocks(transform, images, transform.sample_params(images, generator=1), walking=ALONE)
    assert views[0].isfinite().all()
    assert views[1, :3].isfinite().all()
    assert views[1, 3].isnan().any()


def test_small_images() -> None:
    """Neighbourhoods that reach past both ends of a view."""
    for height, width in ((1, 1), (1, 9), (2, 3), (3, 2), (40, 37)):
        images = noise(2, 3, height, width)
        for kernel in (1, (3, 41), (45, 3), (3, 45), (99, 99)):
            steps = [A.GaussianBlur(kernel), A.RandomAdjustSharpness(2.0, 1.0), A.RandomAutocontrast(1.0), A.ToDtype()]
            transform = A.Compose(steps)
            for sigma in (0.1, 1.3, 1e30):
                params = row(transform, images, blur=1, sigma=sigma, sharpness=1, factor=2.0)
                got, _ = in_blocks(transform, images, params, walking=ALONE)
                torch.testing.assert_close(got, transform.apply_params(images, params), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "step",
    [A.RandomAdjustSharpness(2.0, 1.0), A.RandomAutocontrast(1.0), A.RandomEqualize(1.0), A.RandomRotation((5.0, 5.0))],
)
def test_nan_stays(step: A.Transform, value: float) -> None:
    images = torch.rand(2, 3, 16, 16)
    images[1, 0, 8, 8] = value
    transform = A.Compose([A.Resize(16), step, A.ColorJitter(0.5), A.RandomSolarize(p=1.0), A.ToDtype()])
    params = transform.sample_params(images, generator=1)
    for walking in (ALONE, SHARED):
        views, _ = in_blocks(transform, images, params, walking=walking)
        assert views[0].isfinite().all()
        assert views[1].isnan().any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_mean_that_is_no_number_stays(value: float) -> None:
    """Contrast makes the whole view NaN, and so it is behind steps that fill what they move in, whoever makes it."""
    images = torch.rand(2, 3, 70, 66)
    images[1, 0, 8, 8] = value
    for more in ([A.RandomRotation((30.0, 30.0), fill=0.5)], [A.RandomEqualize(1.0), A.RandomAffine(20, fill=0.1)]):
        transform = A.Compose(
            [A.Resize((70, 66)), A.ColorJitter(0.0, (0.8, 0.8)), *more, A.GaussianBlur(3), A.ToDtype()]
        )
        params = transform.sample_params(images, generator=1)
        want = transform.apply_params(images, params)
        assert want[0].isfinite().all()
        assert want[1].isnan().all()
        for walking in (ALONE, SHARED):
            got, parts = in_blocks(transform, images, params, walking=walking)
            assert (parts > 1) == (walking == SHARED)
            assert torch.equal(got.isnan(), want.isnan())
