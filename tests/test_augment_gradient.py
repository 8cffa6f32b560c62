"""Gradients of views with respect to float images."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import expected, in_floats

from sslfast import augment as A

LISTS = {
    "bilinear": lambda: [A.RandomResizedCrop((9, 14)), A.RandomHorizontalFlip(), A.RandomVerticalFlip()],
    "bicubic": lambda: [A.RandomResizedCrop((13, 8), interpolation="bicubic")],
    "cubic without antialias": lambda: [A.RandomResizedCrop((7, 25), interpolation="bicubic", antialias=False)],
    "nearest": lambda: [A.RandomResizedCrop((9, 30), interpolation="nearest")],
    "padded crop": lambda: [A.RandomCrop((22, 10), padding=4, fill=0.3)],
    "resize and crop": lambda: [A.Resize(12), A.CenterCrop((9, 20))],
    "jitter": lambda: [A.RandomResizedCrop(10), A.ColorJitter(0.3, 0.3, 0.3, 0.1)],
    "simclr": lambda: [
        *(A.RandomResizedCrop((12, 9)), A.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), A.RandomGrayscale(0.4)),
        *(A.GaussianBlur(7, p=0.6), A.RandomSolarize(0.6, 0.5), A.RandomInvert()),
    ],
    "statistics": lambda: [A.RandomAutocontrast(), A.RandomAdjustSharpness((0.0, 2.0))],
    "affine": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20), "bilinear", fill=0.2, p=0.8)],
    "corner and nearest": lambda: [A.RandomAffine(25)],
}


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_normalised_views_of_any_float(device: torch.device, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 8, 8, device=device).to(dtype).requires_grad_()
    views = A.Compose([A.RandomHorizontalFlip(1.0), A.Normalize((0.5,), (0.25,)), A.ToDtype(dtype)])(images)
    views.sum().backward()
    assert images.grad.dtype == dtype
    assert torch.equal(images.grad, torch.full_like(images, 4))


def test_through_several_passes_and_views(device: torch.device) -> None:
    images = torch.rand(2, 3, 12, 12, device=device, requires_grad=True)
    transform = in_floats(A.GaussianBlur(3), A.CenterCrop(6))
    transform(images).sum().backward()
    assert images.grad[:, :, 6, 6].allclose(torch.ones(2, 3, device=device), atol=1e-6)
    views = A.SimCLRAugment(6)(images)
    (grad,) = torch.autograd.grad(sum(view.square().sum() for view in views), images)
    assert grad.abs().sum() > 0
    with torch.no_grad():
        assert not A.SimCLRAugment(6)(images)[0].requires_grad


def test_a_second_derivative_is_refused() -> None:
    images = torch.rand(1, 3, 6, 6, requires_grad=True)
    view = A.RandomResizedCrop(4)(images)
    (grad,) = torch.autograd.grad(view.square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
    with pytest.raises(RuntimeError, match="to not have been used in the graph"):
        torch.autograd.grad(grad.sum(), images)


def test_a_penalty_on_the_gradient_of_a_view() -> None:
    """The second derivative is the model's alone; the images get the first of the transform."""
    images = torch.rand(1, 3, 6, 6, requires_grad=True)
    view = A.RandomResizedCrop(4)(images, generator=0)
    (grad,) = torch.autograd.grad(view.pow(3).sum() / 3, view, create_graph=True)  # view ** 2
    (found,) = torch.autograd.grad(grad.sum(), images)
    (expected,) = torch.autograd.grad(A.RandomResizedCrop(4)(images, generator=0).square().sum(), images)
    assert torch.allclose(found, expected)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (
            A.Compose([A.RandomPosterize(3)]),
            "Compose: images must not require a gradient, which posterize has none of; detach them",
        ),
        (
            A.RandAugment(),
            "RandAugment: images must not require a gradient, which choice has none of; detach them",
        ),
        (
            A.Compose([A.RandomInvert(), A.ToDtype(torch.uint8)]),
            "Compose: images that require a gradient need views of floats, got torch.uint8",
        ),
    ],
)
def test_what_has_no_gradient_says_so(transform: A.Compose, text: str) -> None:
    with pytest.raises(ValueError, match="gradient") as caught:
        transform(torch.rand(1, 3, 6, 6, requires_grad=True))
    assert str(caught.value) == text


def test_a_list_with_a_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one batch \(N, C, H, W\), got a list"):
        A.RandomResizedCrop(4)([torch.rand(3, 6, 6, requires_grad=True)])
