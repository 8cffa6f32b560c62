"""Views: against the reference, what has to hold of any pixel, and lists of transforms."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import expected, in_floats, noise, photos, row
from torch import Tensor

from sslfast import augment as A
from sslfast import ops

JITTER = (0.8, 0.8, 0.8, 0.2)
LISTS = {
    "crop": lambda: [A.RandomResizedCrop((11, 17))],
    "bicubic crop": lambda: [A.RandomResizedCrop((19, 40), interpolation="bicubic")],
    "cubic without antialias": lambda: [A.RandomResizedCrop((9, 60), interpolation="bicubic", antialias=False)],
    "nearest": lambda: [A.RandomResizedCrop((23, 8), interpolation="nearest")],
    "resize and crop": lambda: [A.Resize(18), A.CenterCrop((15, 21))],
    "padded crop": lambda: [A.RandomCrop((33, 20), (5, 2), True, fill=0.3), A.RandomHorizontalFlip()],
    "edge": lambda: [A.RandomCrop((31, 20), (5, 2, 30, 3), padding_mode="edge"), A.RandomHorizontalFlip()],
    "reflect": lambda: [A.Resize(17), A.RandomCrop((70, 80), 7, True, padding_mode="reflect"), A.RandomVerticalFlip()],
    "symmetric": lambda: [A.RandomCrop((90, 99), 3, True, padding_mode="symmetric"), A.RandomHorizontalFlip()],
    "flips": lambda: [A.RandomHorizontalFlip(), A.RandomVerticalFlip()],
    "jitter": lambda: [A.RandomResizedCrop(16), A.ColorJitter(*JITTER)],
    "gray and blur": lambda: [A.RandomResizedCrop(16), A.RandomGrayscale(0.5), A.GaussianBlur(9, (0.2, 2.5), p=0.7)],
    "gray and moves": lambda: [
        *(A.RandomGrayscale(0.7), A.RandomAffine(30, interpolation="bilinear", fill=0.2, center=(5, 21))),
        *(A.RandomAdjustSharpness((0.0, 2.0)), A.ColorJitter(*JITTER), A.GaussianBlur(5)),
    ],
    "simclr": lambda: [
        *(A.RandomResizedCrop((35, 18)), A.RandomHorizontalFlip(), A.ColorJitter(*JITTER, p=0.8)),
        *(A.RandomGrayscale(0.2), A.GaussianBlur(23, p=0.5), A.RandomSolarize(p=0.3)),
    ],
    "statistics": lambda: [
        *(A.RandomAutocontrast(), A.ColorJitter(*JITTER), A.RandomAdjustSharpness((0.0, 2.0))),
        *(A.ColorJitter(contrast=0.5), A.RandomInvert()),
    ],
    "affine": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20, -9, 15), "bilinear", fill=0.2)],
    "rotation": lambda: [A.RandomResizedCrop(20), A.RandomRotation(90, "bilinear")],
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_views_equal_the_reference(device: torch.device, name: str, channels: int) -> None:
    """Whatever the draws: every list on smooth images, whose values solarize and the like do not split by chance."""
    images = photos(5, channels, 27, 36).to(device)
    transform = in_floats(*LISTS[name]())
    params = transform.sample_params(images, generator=5)
    got = transform.apply_params(images, params)
    want = expected(transform, images, params.cpu())
    off = (got.cpu().double() - want).abs()
    # A solarized or inverted edge may fall on the other side by a rounding: a pixel in a thousand.
    assert (off > 2e-5).double().mean() < 1e-3, off.max()


def test_every_operation_of_rand_augment(device: torch.device) -> None:
    """Nearest maps and steps of posterize, solarize, equalize may tip over by a rounding: a pixel in fifty."""
    images = photos(1, 3, 24, 30).to(device)
    transform = in_floats(A.RandAugment(1))
    magnitudes = [0, 0.213, -0.317, 7, -4, 25, 0.5, -0.7, 0.8, 0.9, 4, 0.45, 0, 0]
    for code, magnitude in enumerate(magnitudes):
        params = row(transform, images, choice=code, magnitude=magnitude)
        got, want = transform.apply_params(images, params).cpu().double(), expected(transform, images, params.cpu())
        assert ((got - want).abs() > 2e-5).double().mean() < 0.02, code


def test_every_order_of_the_jitter(device: torch.device) -> None:
    images = photos(1, 3, 13, 20).to(device)
    transform = in_floats(A.ColorJitter(*JITTER))
    for order in range(24):
        factors = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.7, "hue": -0.2}
        params = row(transform, images, jitter=1, order=order, **factors)
        want = expected(transform, images, params.cpu())
        torch.testing.assert_close(transform.apply_params(images, params).cpu().double(), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel_size", [1, 3, 23, 61, (1, 5), (31, 3), (5, 61)])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (40, 37)])
def test_blur_of_any_size(device: torch.device, kernel_size: int | tuple[int, int], size: tuple[int, int]) -> None:
    images = noise(2, 3, *size).to(device)
    transform = in_floats(A.GaussianBlur(kernel_size))
    for sigma in (0.1, 1.3, 30.0):
        params = row(transform, images, blur=1, sigma=sigma)
        want = expected(transform, images, params.cpu())
        torch.testing.assert_close(transform.apply_params(images, params).cpu().double(), want, atol=1e-5, rtol=0)


def test_large_images_are_averaged_whole(device: torch.device) -> None:
    """8,192 pixels to 12: every output has 1,366 taps or more."""
    images = noise(1, 3, 3, 8192).to(device)
    for interpolation in ("bilinear", "bicubic"):
        transform = in_floats(A.Resize((2, 12), interpolation))
        params = transform.sample_params(images)
        want = expected(transform, images, params.cpu())
        torch.testing.assert_close(transform.apply_params(images, params).cpu().double(), want, atol=1e-5, rtol=0)


def test_large_batches_have_the_views_of_small_ones(device: torch.device) -> None:
    """More than 4 MiB are written past the caches on the CPU; rows of 333 pixels begin anywhere in a line of those."""
    images = photos(6, 3, 70, 90).to(device)
    transform = in_floats(
        *(A.RandomResizedCrop((256, 333)), A.ColorJitter(*JITTER), A.GaussianBlur(9, p=0.7)),
        *(A.RandomAutocontrast(), A.RandomEqualize()),
    )
    params = transform.sample_params(images, generator=5)
    views = transform.apply_params(images, params)
    for i, view in enumerate(views):
        assert torch.equal(transform.apply_params(images[i : i + 1], params[i : i + 1])[0], view)


def test_gray_pixels_have_no_hue(device: torch.device) -> None:
    images = noise(2, 1, 6, 7).expand(-1, 3, -1, -1).to(device)
    transform = in_floats(A.ColorJitter(hue=0.5))
    got = transform.apply_params(
        images, row(transform, images, jitter=1, brightness=1, contrast=1, saturation=1, hue=0.37)
    )
    torch.testing.assert_close(got.cpu(), images.cpu() / 255, atol=1e-6, rtol=0)


def test_parameters_by_hand_are_clipped(device: torch.device) -> None:
    """Whatever a row holds, the box stays inside the image and nothing is read outside."""
    images = noise(3, 3, 9, 12).to(device)
    transform = in_floats(A.RandomResizedCrop(8), A.ColorJitter(*JITTER), A.GaussianBlur(5), A.RandAugment(1))
    for value in (-1e30, -5.0, 0.0, 0.5, 7.0, 1e30, float("nan"), float("inf")):
        params = torch.full((3, len(transform.columns)), value, device=device)
        # A target of 2^24 would be slow to no purpose.
        for name in ("target_height", "target_width"):
            params[:, transform.columns.index(name)] = 8
        assert transform.apply_params(images, params).shape == (3, 3, 8, 8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_stays(device: torch.device, value: float) -> None:
    """In the box it reaches the view, outside it does not."""
    images = torch.rand(2, 3, 16, 16, device=device)
    images[1, 0, 3, 4] = value
    transform = in_floats(A.RandomResizedCrop(8), A.ColorJitter(*JITTER), A.GaussianBlur(3), A.RandomSolarize(p=1.0))
    params = row(transform, images, jitter=1, brightness=1.2, contrast=0.7, saturation=1.5, hue=0.1, solarize=1)
    views = transform.apply_params(images, params)
    assert views[0].isfinite().all()
    assert views[1].isnan().any()
    params[1, :4] = torch.tensor([8.0, 8.0, 8.0, 8.0])
    assert transform.apply_params(images, params).isfinite().all()


# ---- lists of transforms


def test_a_list_in_several_passes(device: torch.device) -> None:
    """A crop after a blur begins another pass."""
    images = photos(3, 3, 24, 24).to(device)
    first, second = A.GaussianBlur(5, (1.0, 1.0)), A.CenterCrop(10)
    both = in_floats(first, second)
    assert len(both._plan.segments) == 2
    assert both.columns[-10:][0] == "top_2"
    torch.testing.assert_close(both(images), in_floats(second)(in_floats(first)(images)), atol=0, rtol=0)
    assert (
        len(in_floats(A.Resize(12), A.CenterCrop(8), A.ColorJitter(0.4), A.RandomHorizontalFlip())._plan.segments) == 1
    )
    assert len(in_floats(A.RandAugment(8))._plan.segments) == 2


def test_one_view_of_several(device: torch.device) -> None:
    images = photos(4, 3, 20, 20).to(device)
    views = A.DINOAugment(16, local_size=8, local_views=3, generator=1)
    params = views.sample_params(images, generator=9)
    assert [p.shape[0] for p in params] == [4] * 5
    assert not torch.equal(params[2], params[3])
    for a, b in zip(views.apply_params(images, params), views(images, generator=9), strict=True):
        assert torch.equal(a, b)
    for v, transform in enumerate(views.transforms):
        assert torch.equal(transform.apply_params(images, params[v]), views(images, generator=9)[v])


# ---- torch


def test_opcheck(device: torch.device) -> None:
    images, seed = noise(4, 3, 12, 10).to(device), torch.tensor(3)
    transform = A.Compose([A.RandomResizedCrop(5), A.ColorJitter(*JITTER), A.GaussianBlur(3), A.ToDtype()])
    (segment,) = transform._plan.segments
    like = torch.empty((), device=device)
    rules, box = segment.rules((5, 5)), [0.9, 0.1, 0.3, 0.3, 3.0]
    drawn = (like, seed, None, 0, 4, 2, 0, None, 12, 10, segment.codes, rules)
    torch.library.opcheck(ops.image_augment_params, (*drawn, box))
    boxed = ([images], ops.image_augment_params(*drawn, box), None, segment.codes, segment.settings)
    params = transform.sample_params(images, generator=0)[:, None]
    arguments = ([images], params, None, segment.codes, segment.settings)
    forms = ([0.0] * 3, [1.0] * 3)
    torch.library.opcheck(ops.image_augment, (*arguments, 5, 5, *forms, torch.float32, False))
    torch.library.opcheck(ops.image_augment, (*boxed, 5, 5, *forms, torch.bfloat16, True, [1.0, 1.0, 0.0]))
    out = torch.empty(2, 4, 3, 5, 5, device=device)
    torch.library.opcheck(ops.image_augment_out, (*boxed, *forms, out, [0.0, 3.0, 1.0, 2.0, 3.0]))


def test_compiles_to_one_graph(device: torch.device) -> None:
    images = noise(4, 3, 12, 10).to(device)
    views = A.SimCLRAugment(8)
    compiled = torch.compile(lambda x, seed: views(x, generator=seed), fullgraph=True, backend="aot_eager")
    seed = torch.tensor(3)
    for a, b in zip(compiled(images, seed), views(images, generator=seed), strict=True):
        assert torch.equal(a, b)


def test_threads_change_nothing() -> None:
    images = noise(9, 3, 40, 28)
    views = A.SimCLRAugment(24)
    threads = torch.get_num_threads()
    try:
        runs: list[Tensor] = []
        for n in (1, 2, 3, 3):
            torch.set_num_threads(n)
            runs.append(torch.stack(views(images, generator=1)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(runs[0], run) for run in runs)
