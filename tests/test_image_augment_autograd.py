"""Views as part of a graph: of torch.compile, of types, of passes and of further derivatives; what has no gradient."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import in_floats
from torch import Tensor

from sslfast import augment as A


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(2)


def test_compiles_to_one_graph(device: torch.device) -> None:
    images = torch.rand(2, 3, 12, 10, device=device, requires_grad=True)
    views, seed = A.SimCLRAugment(8), torch.tensor(3)

    def loss(x: Tensor) -> Tensor:
        first, second = views(x, generator=seed)
        return (first * second).sum()

    found = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(images), images)
    torch.testing.assert_close(found, torch.autograd.grad(loss(images), images))


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
    for call in (grad.sum().backward, lambda: torch.autograd.grad(grad.sum(), images)):
        with pytest.raises(RuntimeError, match="views: second derivatives are not supported"):
            call()


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
