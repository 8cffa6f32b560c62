"""Images of one colour, and levels of uint8, keep being that through the rounding of a resize."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import in_floats
from peer_oracle import peer
from torch import Tensor

from sslfast import augment as A
from sslfast._image_steps import CHOICES
from sslfast.augment._gradient import gradient_in_torch
from sslfast.reference import image_augment_colour as reference

CROPS = {
    "bilinear": A.RandomResizedCrop((19, 23)),
    "bicubic": A.RandomResizedCrop((19, 23), interpolation="bicubic"),
    "larger": A.RandomResizedCrop((71, 60), (0.2, 1.0)),
}


def in_torch(transform: A.Compose, image: Tensor, grad: Tensor) -> Tensor:
    """The gradient of a GPU's backward."""
    (segment,) = transform._plan.segments
    params = transform.sample_params(image.detach()).unsqueeze(1)
    return gradient_in_torch(grad, image.detach(), params, segment.codes, segment.settings, [1.0])


def levels(device: torch.device) -> Tensor:
    """An image of each of the 256 levels."""
    bytes_ = torch.arange(256, dtype=torch.uint8, device=device)
    return bytes_[:, None, None, None].expand(-1, 3, 40, 37).contiguous()


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("middle", ["nothing", "blur"])
def test_auto_contrast_leaves_one_colour(device: torch.device, crop: str, middle: str) -> None:
    images = levels(device)
    between = [A.GaussianBlur(5, 1.0)] if middle == "blur" else []
    views = A.Compose([CROPS[crop], *between, A.RandomAutocontrast(1.0)])(images, generator=1)
    assert torch.equal(views, images[:, :, :1, :1].expand_as(views))


@pytest.mark.parametrize("crop", CROPS)
def test_solarize_at_every_level(device: torch.device, crop: str) -> None:
    """What is on the threshold is inverted, the level below it is not."""
    images = levels(device)
    transform = A.Compose([CROPS[crop], A.RandomSolarize(p=1.0)])
    params = transform.sample_params(images, generator=2)
    for shift in (0, 1):
        params[:, transform.columns.index("threshold")] = (torch.arange(256, device=device) + shift) / 255
        views = transform.apply_params(images, params)
        want = images if shift else 255 - images
        assert torch.equal(views, want[:, :, :1, :1].expand_as(views)), shift


def test_white_through_rand_augment(device: torch.device) -> None:
    """A white image takes few colours: none of rounding stretched."""
    images = torch.full((512, 3, 40, 40), 255, dtype=torch.uint8, device=device)
    transform = A.ImageNetAugment(32, rand_augment=2, mean=(0.0,), std=(1.0,))
    params = transform.sample_params(images, generator=3)
    views = transform.apply_params(images, params)
    names = [transform.columns.index(name) for name in ("choice", "choice_2")]
    still = torch.isin(params[:, names], torch.tensor([0.0, 10, 12, 13], device=device)).all(1)  # identity and the like
    assert still.sum() > 20
    spread = (views[still].amax((1, 2, 3)) - views[still].amin((1, 2, 3))).max()
    assert spread < 1e-5, spread


@pytest.mark.parametrize("spread", [2.0**-17, 2.0**-15])
def test_the_bound(device: torch.device, spread: float) -> None:
    """Values and gradients on both sides of it, in the CPU's backward, in torch's and in the reference."""
    image = (0.25 + spread * torch.linspace(0, 1, 42)).reshape(1, 1, 6, 7).to(device).requires_grad_()
    transform = in_floats(A.RandomAutocontrast(1.0))
    view = transform(image)
    assert (view.amax() - view.amin()).item() == pytest.approx(1.0 if spread > 2.0**-16 else spread, rel=1e-3)
    torch.testing.assert_close(
        view[0].double().cpu(), reference.autocontrast(image[0].double().cpu()), atol=1e-6, rtol=0
    )
    weight = torch.rand(6, 7, device=device)
    (grad,) = torch.autograd.grad((view * weight).sum(), image)
    torch.testing.assert_close(in_torch(transform, image, weight[None, None]), grad, rtol=1e-2, atol=1e-2)
    if spread < 2.0**-16:
        assert torch.equal(grad[0, 0], weight)
    else:
        assert grad[0, 0, 2, 2].item() == pytest.approx(weight[2, 2].item() / spread, rel=1e-3)


def test_solarize_turns_the_gradient_where_it_inverts(device: torch.device) -> None:
    values = 0.5 + torch.tensor([-(2.0**-17), -(2.0**-19), 0.0, 0.1], device=device)
    image = values.reshape(1, 1, 1, 4).requires_grad_()
    transform = in_floats(A.RandomSolarize(0.5, 1.0))
    view = transform(image)
    (grad,) = torch.autograd.grad(view.sum(), image)
    assert torch.equal(in_torch(transform, image, torch.ones_like(view)), grad)
    assert grad.flatten().tolist() == [1, -1, -1, -1]
    assert torch.equal(
        view.flatten() == values, torch.tensor([True, False, False, False], device=device) | (values == 0.5)
    )


@pytest.mark.parametrize("name", ["autocontrast", "solarize"])
def test_flat_bytes_as_torchvision(name: str) -> None:
    """On uint8, where torchvision resizes to levels before it compares."""
    F = peer("torchvision.transforms.v2.functional")
    images = levels(torch.device("cpu"))
    for i in range(0, 256, 15):
        x = F.resize(images[i : i + 1], [24, 31], antialias=True)
        if name == "solarize":
            want = F.solarize(x, float(i))
            step: A.RandomSolarize | A.RandomAutocontrast = A.RandomSolarize(i / 255, 1.0)
        else:
            want, step = F.autocontrast(x), A.RandomAutocontrast(1.0)
        assert torch.equal(A.Compose([A.Resize((24, 31)), step])(images[i : i + 1]), want), i


def test_white_through_rand_augment_as_torchvision() -> None:
    """Both in uint8; torchvision cuts the decimals off after every operation."""
    v2 = peer("torchvision.transforms.v2")
    theirs = v2.RandAugment()
    names = {name.lower().replace("_", ""): name for name in v2.RandAugment._AUGMENTATION_SPACE}
    white = torch.full((60, 3, 40, 40), 255, dtype=torch.uint8)
    transform = A.Compose([A.RandomResizedCrop(32), A.RandAugment(2)])
    params = transform.sample_params(white, generator=5)
    views = transform.apply_params(white, params)
    for view, drawn in zip(views, params[:, 10:].tolist(), strict=True):
        want = torch.full((3, 32, 32), 255, dtype=torch.uint8)
        for code, magnitude in (drawn[:2], drawn[2:]):
            name = names[CHOICES[int(code)].replace("_", "")]
            magnitude = int(magnitude) if name == "Posterize" else magnitude
            want = theirs._apply_image_or_video_transform(
                want, name, magnitude, interpolation=v2.InterpolationMode.NEAREST, fill=theirs._fill
            )
        off = (view.int() - want.int()).abs()
        assert (off > 2).double().mean() < 0.02, (drawn, off.max())
