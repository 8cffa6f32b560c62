"""Gradients of views with respect to float images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import expected, in_floats, row
from torch import Tensor

from sslfast import augment as A
from sslfast import ops
from sslfast._image_steps import PADDINGS
from sslfast.augment._gradient import gradient_in_torch
from sslfast.reference.image_augment import Settings, view
from sslfast.reference.image_augment_backward import gradient as reference_gradient

LISTS = {
    "bilinear": lambda: [A.RandomResizedCrop((9, 14)), A.RandomHorizontalFlip(), A.RandomVerticalFlip()],
    "bicubic": lambda: [A.RandomResizedCrop((13, 8), interpolation="bicubic")],
    "cubic without antialias": lambda: [A.RandomResizedCrop((7, 25), interpolation="bicubic", antialias=False)],
    "nearest": lambda: [A.RandomResizedCrop((9, 30), interpolation="nearest")],
    "padded crop": lambda: [A.RandomCrop((22, 10), padding=4, fill=0.3)],
    "edge": lambda: [A.RandomCrop((27, 21), (5, 2, 30, 9), padding_mode="edge"), A.RandomHorizontalFlip()],
    "reflect": lambda: [A.Resize(9), A.RandomCrop((40, 31), 3, True, padding_mode="reflect"), A.RandomVerticalFlip()],
    "symmetric": lambda: [A.RandomCrop((60, 59), 4, True, padding_mode="symmetric"), A.GaussianBlur(5)],
    "one pixel reflected": lambda: [A.Resize((1, 2)), A.RandomCrop((5, 7), 9, padding_mode="reflect")],
    "resize and crop": lambda: [A.Resize(12), A.CenterCrop((9, 20))],
    "jitter": lambda: [A.RandomResizedCrop(10), A.ColorJitter(0.3, 0.3, 0.3, 0.1)],
    "simclr": lambda: [
        *(A.RandomResizedCrop((12, 9)), A.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), A.RandomGrayscale(0.4)),
        *(A.GaussianBlur(7, p=0.6), A.RandomSolarize(0.6, 0.5), A.RandomInvert()),
    ],
    "statistics": lambda: [A.RandomAutocontrast(), A.RandomAdjustSharpness((0.0, 2.0))],
    "affine": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20), "bilinear", fill=0.2, p=0.8)],
    "affine without a fill": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.5, 0.9), 20, "bilinear", fill=None)],
    "corner and nearest": lambda: [A.RandomAffine(25)],
    "about a point": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), 20, "bilinear", 0.2, center=(3.0, 21.0))],
    "about a corner": lambda: [A.RandomCrop((15, 24), 5, fill=0.4), A.RandomRotation(30, center=(0, 0), fill=0.6)],
    "gray before moves": lambda: [
        *(A.RandomGrayscale(0.7), A.GaussianBlur(7), A.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        *(A.RandomAffine(20, center=(4, 4)), A.RandomAdjustSharpness((0.0, 2.0))),
    ],
    "jitter between moves": lambda: [
        *(A.RandomResizedCrop((15, 11)), A.GaussianBlur(5), A.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        *(A.RandomAdjustSharpness((0.0, 2.0)), A.ColorJitter(0.4, 0.4, 0.4, 0.1), A.RandomAffine(20)),
    ],
    "blur wider than the view": lambda: [A.Resize((4, 5)), A.GaussianBlur(23, (3.0, 3.0))],
    "wide blur": lambda: [A.RandomResizedCrop((12, 10)), A.GaussianBlur((9, 3), (0.5, 3.0))],
    "tall blur": lambda: [A.Resize((5, 9)), A.GaussianBlur((1, 17), (0.5, 3.0))],
    "one pixel": lambda: [A.Resize((1, 1)), A.GaussianBlur(5), A.RandomAdjustSharpness((0.5, 0.5))],
}
LINEAR = (
    *("edge", "reflect", "symmetric", "one pixel reflected"),
    *(
        "bilinear",
        "padded crop",
        "resize and crop",
        "affine",
        "affine without a fill",
        "corner and nearest",
        "about a point",
        "about a corner",
    ),
    *("blur wider than the view", "wide blur", "tall blur"),
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LISTS)
def test_gradients_are_those_of_the_reference(device: torch.device, name: str, channels: int) -> None:
    transform = in_floats(*LISTS[name]())
    images = (0.1 + 0.8 * torch.rand(4, channels, 17, 19)).to(device).requires_grad_()
    params = transform.sample_params(images, generator=5)
    view = transform.apply_params(images, params)
    assert torch.equal(view, transform.apply_params(images.detach(), params))
    weight = torch.randn(view.shape)
    (view.cpu() * weight).sum().backward()
    exact = images.detach().cpu().double().requires_grad_()
    (expected(transform, exact, params.cpu()) * weight).sum().backward()
    off = (images.grad.cpu().double() - exact.grad).abs()
    # A clamp, or the largest of three colours, decides by a rounding now and then.
    assert (off > 1e-4).double().mean() < 5e-3, off.max()


def operator_arguments(transform: A.Compose, images: Tensor, generator: int) -> tuple[object, ...]:
    """Of the backward operator, for a gradient of noise."""
    (segment,) = transform._plan.segments
    params = transform.sample_params(images, generator=generator)[:, None]
    grad = torch.randn(transform.apply_params(images, params[:, 0]).shape, device=images.device)
    std = [0.5 + 0.25 * c for c in range(images.shape[1])]
    return grad, images, params, segment.codes, segment.settings, std


@pytest.mark.parametrize("name", LISTS)
def test_what_a_gpu_runs_is_the_same(name: str) -> None:
    arguments = operator_arguments(in_floats(*LISTS[name]()), 0.1 + 0.8 * torch.rand(4, 3, 17, 19), 6)
    off = (gradient_in_torch(*arguments) - ops.image_augment_backward(*arguments)).abs()
    assert (off > 1e-4).double().mean() < 5e-3, off.max()


def test_places_on_a_gpu_are_doubles() -> None:
    """Those of float32 are 1e-4 of a pixel off in a large image, and so was the gradient."""
    transform = in_floats(A.RandomAffine(40, (0.2, 0.1), (0.8, 0.9), 20, "bilinear"))
    arguments = operator_arguments(transform, torch.rand(1, 1, 40, 900), 6)
    off = (gradient_in_torch(*arguments) - ops.image_augment_backward(*arguments)).abs()
    assert off.max() < 3e-6


@pytest.mark.parametrize("name", LINEAR)
def test_linear_views_have_their_adjoint(name: str) -> None:
    """The inner product of a view with noise is that of its image with what the noise becomes."""
    transform = in_floats(*LISTS[name]())
    first, second = torch.rand(2, 3, 2, 29, 37)
    grad, _, params, codes, settings, _ = operator_arguments(transform, first, 7)
    change = (transform.apply_params(first, params[:, 0]) - transform.apply_params(second, params[:, 0])).double()
    found = ops.image_augment_backward(grad, first, params, codes, settings, [1.0] * 2).double()
    inner = (found * (first - second)).sum((1, 2, 3))
    torch.testing.assert_close((grad * change).sum((1, 2, 3)), inner, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", PADDINGS)
def test_the_reference_is_the_derivative_of_views(mode: str) -> None:
    """A view of 5 x 3 of what is resized to 4 x 3, one row above it."""
    steps = [
        ("resample", (1, 0, 4, 4, 4, 3, -1, 0, 1, 0)),
        ("jitter", (1, 13, 1.2, 0.7, 1.3, 0.1)),
        ("autocontrast", (1,)),
        ("sharpness", (1, 1.6)),
        ("blur", (1, 0.8)),
        ("affine", (1, 10, 0.3, 0.1, 1.1, 4, 2, 0)),
    ]
    settings = Settings(kernel_size=3, affine_interpolation="bilinear", padding_mode=mode)
    image = (0.2 + 0.6 * torch.rand(3, 6, 5)).double()
    weight = torch.randn(3, 5, 3).double()
    found = reference_gradient(weight, image, steps, settings, std=(2.0, 2.0, 2.0))
    direction, step = torch.randn_like(image), 1e-7
    ends = [(view(image + sign * step * direction, steps, (5, 3), settings) * weight).sum() for sign in (1, -1)]
    torch.testing.assert_close((found * direction).sum(), (ends[0] - ends[1]) / (2 * step) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", PADDINGS)
def test_padding_gives_every_copy_s_gradient_to_its_pixel(device: torch.device, mode: str) -> None:
    """The gradient of a crop's sum counts how often numpy.pad repeats each pixel."""
    images = torch.rand(1, 1, 3, 4, device=device, requires_grad=True)
    size = (17, 20)  # all of the padded image
    in_floats(A.RandomCrop(size, (9, 5, 7, 9), padding_mode=mode))(images).sum().backward()
    pixels = np.pad(np.arange(1, 13).reshape(3, 4), ((5, 9), (9, 7)), mode=mode)
    copies = torch.bincount(torch.from_numpy(pixels).flatten(), minlength=13)[1:]
    torch.testing.assert_close(images.grad.cpu().flatten(), copies.float())


def test_saturated_and_gray_pixels_have_finite_gradients(device: torch.device) -> None:
    """At a clamp's end the gradient passes; of equal colours hue gives each the same."""
    images = torch.tensor([0.0, 0.5, 1.0], device=device)[torch.randint(3, (6, 3, 16, 16))]
    images[1], images[2], images[3], images[4] = 0.0, 0.5, 1.0, images[4, :1]
    images.requires_grad_()
    steps = [A.ColorJitter(0.9, 0.9, 0.9, 0.5), A.RandomAutocontrast(1.0), A.RandomAdjustSharpness((2.0, 3.0), 1.0)]
    view = in_floats(A.RandomResizedCrop(12), *steps, *steps)(images, generator=3)
    (found,) = torch.autograd.grad((view * torch.randn_like(view)).sum(), images)
    assert found.isfinite().all()
    jitter = in_floats(A.ColorJitter(0.5, 0.5, 0.5, 0.2))
    params = row(jitter, images, jitter=1, brightness=1, contrast=1, saturation=1, hue=0.1)
    (found,) = torch.autograd.grad(jitter.apply_params(images, params)[2].sum(), images)
    torch.testing.assert_close(found[2], torch.ones_like(found[2]))
    params = row(jitter, images, jitter=1, brightness=2, contrast=1, saturation=1)
    (found,) = torch.autograd.grad(jitter.apply_params(images, params).sum(), images)
    assert torch.equal(found, 2.0 * (images <= 0.5))


def test_pixels_that_are_not_numbers(device: torch.device) -> None:
    images = torch.rand(2, 3, 9, 9, device=device)
    transform = in_floats(A.CenterCrop(5), A.ColorJitter(0.5, 0.5, 0.5, 0.2), A.GaussianBlur(3))
    images[0, 1, 4, 4] = torch.nan
    images.requires_grad_()
    view = transform(images, generator=0)
    (found,) = torch.autograd.grad(view.sum(), images, retain_graph=True)
    assert found[0, :, 2:7, 2:7].isnan().any()
    assert found[1].isfinite().all()
    weight = torch.ones_like(view)
    weight[1, 0, 2, 2] = torch.nan
    (found,) = torch.autograd.grad(view, images, weight)
    assert found[1].isnan().any()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_layout_of_images_and_gradients(device: torch.device, channels: int) -> None:
    transform = in_floats(A.RandomResizedCrop((6, 9)), A.GaussianBlur(3), A.RandomSolarize(0.5, 0.5))
    images = torch.rand(3, channels, 14, 11, device=device)
    params = transform.sample_params(images, generator=2)
    weight = torch.rand(3, channels, 6, 9, device=device)

    def found(given: Tensor, grad: Tensor) -> Tensor:
        leaf = given.detach().requires_grad_()
        return torch.autograd.grad(transform.apply_params(leaf, params), leaf, grad)[0]

    plain = found(images, weight)
    last = images.contiguous(memory_format=torch.channels_last)
    for given in (last, images.mT.contiguous().mT):
        for grad in (weight, weight.mT.contiguous().mT, weight.contiguous(memory_format=torch.channels_last)):
            assert torch.equal(found(given, grad), plain)
    same = images[:1].expand(3, -1, -1, -1)
    assert torch.equal(
        found(same, weight[:1].expand_as(weight)), found(same.contiguous(), weight[:1].repeat(3, 1, 1, 1))
    )


def test_no_images(device: torch.device) -> None:
    images = torch.zeros(0, 3, 8, 8, device=device, requires_grad=True)
    A.RandomResizedCrop(4)(images).sum().backward()
    assert images.grad.shape == images.shape


def test_threads_change_nothing() -> None:
    arguments = operator_arguments(in_floats(*LISTS["simclr"]()), torch.rand(9, 3, 40, 28), 4)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ops.image_augment_backward(*arguments)
        torch.set_num_threads(3)
        assert torch.equal(ops.image_augment_backward(*arguments), one)
    finally:
        torch.set_num_threads(threads)


def test_operator_contract(device: torch.device) -> None:
    arguments = operator_arguments(in_floats(*LISTS["simclr"]()), torch.rand(2, 3, 10, 12, device=device), 5)
    torch.library.opcheck(ops.image_augment_backward, arguments)
