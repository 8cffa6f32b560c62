"""The blocks of csrc/cuda/image_augment.cu, run on the CPU by lanes that take turns, against the CPU's own kernel.

image_augment_block.cpp says how; what is compiled is what the GPU runs, but for the types of elements and the launches.
"""

from __future__ import annotations

import pytest
import torch
from image_augment_blocks import LANES, TYPES, in_blocks, reads, shared_bytes
from image_augment_cases import noise, photos, row

from sslfast import augment as A

JITTER = (0.8, 0.8, 0.8, 0.2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


LISTS = {
    "simclr": lambda: [
        *(A.RandomResizedCrop((70, 36)), A.RandomHorizontalFlip(), A.ColorJitter(*JITTER, p=0.8)),
        *(A.RandomGrayscale(0.2), A.GaussianBlur(23, (0.1, 5.0), p=0.7), A.RandomSolarize(p=0.5)),
    ],
    "bicubic": lambda: [
        *(A.RandomResizedCrop((33, 65), interpolation="bicubic"), A.ColorJitter(*JITTER)),
        *(A.GaussianBlur((5, 41), (0.5, 9.0)), A.RandomPosterize(3), A.RandomInvert()),
    ],
    "many taps": lambda: [A.RandomResizedCrop(4, (0.9, 1.0)), A.RandomGrayscale(0.5), A.GaussianBlur(3)],
    "cubic without antialias": lambda: [A.RandomResizedCrop((9, 61), interpolation="bicubic", antialias=False)],
    "nearest": lambda: [A.RandomResizedCrop((23, 8), interpolation="nearest"), A.RandomVerticalFlip()],
    "padded": lambda: [A.RandomCrop((40, 44), 9, True, fill=0.3), A.GaussianBlur(9), A.RandomHorizontalFlip()],
    "padded by channel": lambda: [
        A.RandomCrop(50, 9, True, (0.1, 0.9, 0.4)),
        A.ColorJitter(*JITTER),
        A.GaussianBlur(3),
    ],
    "reflect": lambda: [A.Resize(17), A.RandomCrop((70, 80), 7, True, padding_mode="reflect"), A.GaussianBlur(3)],
    "blur before gray": lambda: [A.CenterCrop(20), A.GaussianBlur(11), A.RandomGrayscale(), A.RandomSolarize()],
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_blocks_make_the_views_of_the_cpu(name: str, channels: int) -> None:
    """Of smooth images, whose values solarize and posterize do not split by chance: a pixel in a thousand may tip."""
    if channels == 1 and "by channel" in name:
        return
    images = photos(6, channels, 41, 54)
    transform = A.Compose([*LISTS[name](), A.Normalize([0.4], [0.5]), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    want = transform.apply_params(images, params)
    for reversed in (False, True):
        got, _ = in_blocks(transform, images, params, reversed=reversed, many=4 if reversed else 1000)
        off = (got - want).abs()
        assert (off > 2e-5).double().mean() < 1e-3, off.max()


def test_lanes_in_any_order_and_number_make_the_same_bits() -> None:
    """Sums of contrast apart, whose order is that of the lanes: doubles, rounded to float afterwards."""
    images = photos(3, 3, 41, 54)
    transform = A.Compose([*LISTS["simclr"](), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    whole, _ = in_blocks(transform, images, params)
    for lanes, reversed, many in ((256, True, 1), (256, False, 100), (64, True, 5), (37, False, 1), (1, False, 1)):
        got, _ = in_blocks(transform, images, params, lanes=lanes, reversed=reversed, many=many)
        assert torch.equal(got, whole) or lanes != LANES
        torch.testing.assert_close(got, whole, atol=1e-6, rtol=0)
    for i in range(3):  # what is drawn together does not depend on the batch
        assert torch.equal(in_blocks(transform, images[i : i + 1], params[i : i + 1])[0], whole[i : i + 1])


@pytest.mark.parametrize("width", [36, 35])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_types_and_layouts(layout: torch.memory_format, dtype: torch.dtype, width: int) -> None:
    """Packed and planar bytes are read by fours; views whose rows are aligned are written by fours, others partly."""
    images = noise(2, 3, 80, 91).contiguous(memory_format=layout)
    transform = A.Compose(
        [A.RandomResizedCrop((33, width)), A.ColorJitter(*JITTER), A.GaussianBlur(5), A.ToDtype(dtype)]
    )
    params = transform.sample_params(images, generator=3)
    want = transform.apply_params(images, params)
    got, fours = in_blocks(transform, images, params)
    assert got.stride() == want.stride()
    tolerance = {torch.uint8: 1, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    assert (got.float() - want.float()).abs().max() <= tolerance
    quarter = got.numel() // 4
    assert fours == quarter if width == 36 else 0 < fours < quarter


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_strides(channels: int) -> None:
    """Images that begin anywhere in a word, lie upside down in memory, or have lines of their own."""
    images = noise(3, channels, 40, 31)
    transform = A.Compose([A.RandomResizedCrop((9, 21), (0.9, 1.0)), A.GaussianBlur(3), A.ToDtype()])
    params = transform.sample_params(images, generator=2)
    want = transform.apply_params(images, params)
    padded = torch.zeros(3, channels, 42, 70, dtype=torch.uint8)
    padded[:, :, 1:41, 3:65:2] = images
    odd = torch.zeros(3, channels, 40, 35, dtype=torch.uint8)
    odd[..., 3:34] = images
    for other in (
        *(images, images.to(memory_format=torch.channels_last), padded[:, :, 1:41, 3:65:2], odd[..., 3:34]),
        *(images.transpose(2, 3).contiguous().transpose(2, 3), images.float() / 255, (images.float() / 255).half()),
    ):
        got, _ = in_blocks(transform, other, params)
        assert (got - want).abs().max() <= (1e-3 if other.dtype == torch.float16 else 1e-5)


def test_rgba_is_read_by_sixteen_bytes_with_the_same_bits() -> None:
    """Four channels, and the three colours of four, that begin anywhere in a block."""
    images = noise(3, 4, 24, 33)
    lists = [[A.Resize((24, 33)), A.RandomHorizontalFlip(0.5)], [A.Resize((17, 9)), A.RandomHorizontalFlip(0.5)]]
    for channels, steps in ((c, steps) for c in (4, 3) for steps in lists):
        transform = A.Compose([*steps, A.ToDtype()])
        params = transform.sample_params(images[:, :channels], generator=6)
        apart = torch.zeros(3, 4, 24, 66, dtype=torch.uint8)
        apart[..., ::2] = images
        want, _ = in_blocks(transform, apart[:, :channels, :, ::2], params)
        scalars = reads[0]
        for shift in range(16):
            memory = torch.full((3 * 24 * 37 * 4 + 16,), 99, dtype=torch.uint8)
            packed = memory[shift : shift + 3 * 24 * 37 * 4].view(3, 24, 37, 4)[:, :, 2:35]
            packed.copy_(images.permute(0, 2, 3, 1))
            got, _ = in_blocks(transform, packed.permute(0, 3, 1, 2)[:, :channels], params)
            assert torch.equal(got, want)
            assert reads[2] > 0
            assert sum(reads) < 0.75 * scalars


RESIZED = {
    "two taps": lambda: [A.Resize((31, 45))],
    "three": lambda: [A.Resize((19, 23)), A.RandomVerticalFlip(1.0)],
    "four": lambda: [A.Resize((24, 29), "bicubic", antialias=False), A.GaussianBlur(3)],
    "more than are kept": lambda: [A.Resize((4, 3), "bicubic"), A.RandomHorizontalFlip(0.5)],
    "more across": lambda: [A.Resize((11, 3), "bicubic"), A.RandomVerticalFlip(0.5)],
    "more down": lambda: [A.Resize((4, 14), "bicubic"), A.GaussianBlur(3)],
    "five and more": lambda: [A.Resize((11, 12)), A.RandomHorizontalFlip(1.0)],
    "none": lambda: [A.RandomCrop((25, 28), 5, padding_mode="reflect"), A.RandomHorizontalFlip(0.5)],
    "down alone": lambda: [A.Resize((17, 33)), A.RandomHorizontalFlip(0.5), A.ColorJitter(0.5)],
}


@pytest.mark.parametrize("name", RESIZED)
@pytest.mark.parametrize("dtype", TYPES)
def test_dense_rows_are_read_by_many_with_the_same_bits(dtype: torch.dtype, name: str) -> None:
    """Rows that begin at any address, planar and packed, and read backwards, against pixels that lie apart."""
    images = noise(3, 3, 24, 33)
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    transform = A.Compose([*RESIZED[name](), A.ToDtype()])
    params = transform.sample_params(images, generator=6)
    apart = torch.zeros(3, 3, 24, 66, dtype=dtype)
    apart[..., ::2] = images
    want, _ = in_blocks(transform, apart[..., ::2], params)
    scalars = reads[0]
    assert reads[1] == reads[2] == 0
    for shift in range(4):
        planar = torch.full((3, 3, 24, 37), 99).to(dtype)
        packed = torch.full((3, 24, 37, 3), 99).to(dtype)
        planar[..., shift : shift + 33] = images
        packed[:, :, shift : shift + 33] = images.permute(0, 2, 3, 1)
        for other in (planar[..., shift : shift + 33], packed[:, :, shift : shift + 33].permute(0, 3, 1, 2)):
            got, _ = in_blocks(transform, other, params)
            assert torch.equal(got, want)
            one_by_one = name == "two taps" and dtype != torch.uint8 and other.stride(-1) == 1  # no load would be saved
            assert sum(reads) == scalars if one_by_one else sum(reads) < 0.66 * scalars


def test_nothing_is_read_beside_the_pixels() -> None:
    """What has no weight is not read: NaN next to a crop that is not resized stays out of it."""
    images = torch.full((1, 3, 12, 16), float("nan"))
    images[..., 2:10, 4:12] = torch.rand(3, 8, 8)
    transform = A.Compose([A.RandomCrop(8), A.RandomHorizontalFlip(1.0)])
    params = row(transform, images, target_height=12, target_width=16, offset_top=2, offset_left=4, hflip=1)
    for layout in (torch.contiguous_format, torch.channels_last):
        got, _ = in_blocks(transform, images.contiguous(memory_format=layout), params)
        torch.testing.assert_close(got, images[..., 2:10, 4:12].flip(-1), atol=1e-6, rtol=0)


def test_several_views_lie_behind_each_other() -> None:
    images = noise(3, 3, 20, 20)
    views = A.SimCLRAugment(12)
    params = views.sample_params(images, generator=4)
    want = views.apply_params(images, params)
    got, _ = in_blocks(views.transforms[0], images, torch.stack(list(params), 1).flatten(0, 1))
    torch.testing.assert_close(got.unflatten(0, (2, 3)), torch.stack(list(want)), atol=1e-4, rtol=0)


def test_small_images() -> None:
    """Blurs that reach past both ends of a view, by both reaches."""
    for height, width in ((1, 1), (1, 9), (2, 3), (40, 37)):
        images = noise(2, 3, height, width)
        for kernel in (1, (3, 41), (41, 1)):
            transform = A.Compose([A.GaussianBlur(kernel), A.ToDtype()])
            for sigma in (0.1, 1.3, 1e30):
                params = row(transform, images, blur=1, sigma=sigma)
                got, _ = in_blocks(transform, images, params)
                torch.testing.assert_close(got, transform.apply_params(images, params), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_stays(value: float) -> None:
    """In the box it reaches the view, and with contrast all of it; outside it does not."""
    images = torch.rand(2, 3, 16, 16)
    images[1, 0, 3, 4] = value
    transform = A.Compose([A.RandomResizedCrop(8), A.ColorJitter(*JITTER), A.RandomSolarize(p=1.0), A.ToDtype()])
    factors = {"brightness": 1.2, "saturation": 1.5, "hue": 0.1}
    for contrast in (1.0, 0.7):
        params = row(transform, images, jitter=1, contrast=contrast, solarize=1, **factors)
        views, _ = in_blocks(transform, images, params)
        assert views[0].isfinite().all()
        assert views[1].isnan().any()
        assert views[1].isnan().all() == (contrast != 1.0)
        params[1, :4] = torch.tensor([8.0, 8.0, 8.0, 8.0])
        assert in_blocks(transform, images, params)[0].isfinite().all()


def test_what_is_left_to_passes() -> None:
    images = noise(1, 3, 9, 9)
    for steps in (
        *([A.GaussianBlur(43)], [A.RandomEqualize()], [A.RandomAutocontrast()], [A.RandAugment(1)]),
        *([A.RandomAdjustSharpness(2.0)], [A.RandomRotation(9)], [A.GaussianBlur(3), A.GaussianBlur(3)]),
        *([A.GaussianBlur(3), A.ColorJitter(0, 0.1)], [A.ColorJitter(0, 0.1), A.ColorJitter(0, 0.1)]),
    ):
        transform = A.Compose([*steps, A.ToDtype()])
        assert in_blocks(transform, images, transform.sample_params(images))[1] == -1


def test_the_recipes_are_made_whole() -> None:
    images = noise(1, 3, 16, 16)
    recipes = (
        *(A.SimCLRAugment(8), A.MoCoV1Augment(8), A.MoCoV2Augment(8), A.MoCoV3Augment(8), A.BYOLAugment(8)),
        *(
            A.SimSiamAugment(8),
            A.SwAVAugment(sizes=(8, 6)),
            A.DINOAugment(8, local_size=8),
            A.MAEAugment(8),
            A.IJEPAAugment(8),
        ),
        *(A.MSNAugment(sizes=(8, 6)), A.CLIPAugment(8)),
    )
    for recipe in recipes:
        for transform in {id(one): one for one in recipe.transforms}.values():
            assert in_blocks(transform, images, transform.sample_params(images))[1] >= 0, type(recipe).__name__


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(300, 290), (97, 33)])
def test_more_taps_than_are_kept(size: tuple[int, int], channels: int) -> None:
    """Up to 75 an output across and down, fewer at the edges."""
    images = noise(2, channels, *size)
    for target in ((16, 16), (16, 60), (60, 9)):
        transform = A.Compose([A.Resize(target, "bicubic"), A.ToDtype()])
        params = transform.sample_params(images)
        for other in (images, images.to(memory_format=torch.channels_last), images.float() / 255):
            got, _ = in_blocks(transform, other, params)
            torch.testing.assert_close(got, transform.apply_params(images, params), atol=2e-5, rtol=0)


def test_shared_memory_is_enough_on_every_chip() -> None:
    """Of the widest blurs, for one channel, three and four, with what the kernels have themselves: 99 KiB."""
    for channels in (1, 3, 4):
        whole, walked = shared_bytes(channels)
        assert 0 < whole <= 99 * 1024
        assert 0 < walked <= 99 * 1024
        for across in range(21):
            for down in range(21):
                needed = shared_bytes(channels, across, down)
                assert needed[0] <= whole
                assert needed[1] <= walked
