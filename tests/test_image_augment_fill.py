"""What comes from outside an image, with a number for each channel."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from image_augment_cases import expected, in_floats, noise, photos, row
from peer_oracle import peer

from sslfast import augment as A
from sslfast import ops
from sslfast.augment._gradient import gradient_in_torch
from sslfast.augment._transform import Transform
from sslfast.host import ImageAugment, ImageViews

THREE = (0.1, 0.9, 0.4)
TURNS = {"degrees": 60, "interpolation": "bilinear", "fill": THREE}
LISTS = {
    "padded crop": lambda: [A.RandomCrop((26, 24), (5, 2, 1, 9), fill=THREE), A.RandomHorizontalFlip()],
    "crop of a smaller image": lambda: [A.RandomCrop(60, 3, True, fill=list(THREE)), A.RandomVerticalFlip()],
    "rotation": lambda: [A.RandomRotation(60, fill=THREE)],
    "rotation of a gray image": lambda: [
        *(
            A.RandomGrayscale(0.6),
            A.RandomRotation(**TURNS),
            A.GaussianBlur(3),
            A.RandomAffine(9, interpolation="bilinear"),
        ),
    ],
    "everything": lambda: [
        *(A.RandomCrop(40, 9, True, fill=THREE), A.RandomSolarize(0.6), A.RandomRotation(**TURNS)),
        *(A.ColorJitter(0.4, 0.4, 0.4, 0.1), A.GaussianBlur(5), A.RandomAffine(5, (0.4, 0.4), fill=0.7)),
        A.RandomAffine(20, scale=(0.3, 0.5), interpolation="bilinear", fill=(0.0, 0.5, 1.0)),
    ],
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("name", [name for name in LISTS if name != "everything"])
def test_views_equal_the_reference(device: torch.device, name: str) -> None:
    images = photos(5, 3, 27, 36).to(device)
    transform = in_floats(*LISTS[name]())
    if name == "rotation of a gray image":  # the reference has one fill for all maps
        transform = in_floats(*LISTS[name]()[:-1])
    params = transform.sample_params(images, generator=5)
    got, want = transform.apply_params(images, params), expected(transform, images, params.cpu())
    assert ((got.cpu().double() - want).abs() > 2e-5).double().mean() < 1e-3


@pytest.mark.parametrize("name", LISTS)
def test_every_channel_has_its_number(device: torch.device, name: str) -> None:
    """Without colours that mix them, a channel of a view is the view that one number gives."""
    images = photos(4, 3, 20, 24).to(device)
    whole, alone = (list(steps) for steps in (LISTS[name](), LISTS[name]()))
    mixing = (A.ColorJitter, A.RandomGrayscale)
    whole, alone = ([step for step in steps if not isinstance(step, mixing)] for steps in (whole, alone))
    views = in_floats(*whole)
    params = views.sample_params(images, generator=2)
    got = views.apply_params(images, params)
    listed = [(step, step.fill) for step in alone if isinstance(getattr(step, "fill", None), tuple)]
    assert listed
    for c in range(3):
        for step, fill in listed:
            vars(step)["fill"] = fill[c]  # which cannot be assigned; Compose reads it anew
        one = in_floats(*alone).apply_params(images[:, c : c + 1], params)
        torch.testing.assert_close(got[:, c : c + 1], one, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [2, 5, 32])
def test_other_numbers_of_channels(device: torch.device, channels: int) -> None:
    images = torch.zeros(2, channels, 6, 6, dtype=torch.uint8, device=device)
    fill = [c / 40 for c in range(channels)]
    for layout in (torch.contiguous_format, torch.channels_last):
        given = images.contiguous(memory_format=layout)
        view = in_floats(A.RandomCrop(10, 2, fill=fill))(given)
        assert torch.equal(view[:, :, 0, 0].cpu(), torch.tensor([fill, fill]))
        assert (view[:, :, 2:8, 2:8] == 0).all()
        turned = in_floats(A.RandomRotation((45, 45), "bilinear", fill=fill))(given)
        torch.testing.assert_close(turned[:, :, 0, 0].cpu(), torch.tensor([fill, fill]), atol=1e-6, rtol=0)


def test_one_number_in_a_sequence_is_of_all_channels() -> None:
    images = noise(2, 3, 7, 7)
    for fill in ((0.25,), [0.25]):
        assert A.RandomRotation(30, fill=fill).fill == 0.25
        assert torch.equal(
            A.RandomCrop(9, 3, fill=fill)(images, generator=1), A.RandomCrop(9, 3, fill=0.25)(images, generator=1)
        )


@pytest.mark.parametrize("kind", ["RandAugment", "TrivialAugmentWide"])
def test_choices_take_them(device: torch.device, kind: str) -> None:
    images = torch.zeros(1, 3, 12, 12, dtype=torch.uint8, device=device)
    transform = in_floats(getattr(A, kind)(fill=THREE))
    code = list(A.auto_augment.CHOICES).index("translate_x")
    columns = {"choice": code, "magnitude": 4.0} | ({"choice_2": 0} if "choice_2" in transform.columns else {})
    view = transform.apply_params(images, row(transform, images, **columns))
    torch.testing.assert_close(view[0, :, 5, 0].cpu(), torch.tensor(THREE), atol=1e-6, rtol=0)
    assert (view[0, :, 5, 6] == 0).all()


@pytest.mark.parametrize("name", [*LISTS, "none"])
def test_over_arrays_and_written_down(name: str) -> None:
    images = photos(3, 3, 20, 24)
    without = [A.RandomAffine(30, interpolation="bilinear", fill=None), A.RandAugment(3, interpolation="bilinear")]
    transform = in_floats(*(without if name == "none" else LISTS[name]()))
    want = transform(images, generator=4).numpy()
    host = transform.host()
    for one in (host, ImageAugment.from_json(host.to_json())):
        assert np.array_equal(one(images.numpy(), seed=4, layout="NCHW"), want)
    both = A.MultiView([transform, in_floats(A.RandomCrop(4, fill=0.5))]).host()
    assert np.array_equal(ImageViews.from_json(both.to_json())(images.numpy(), seed=4, layout="NCHW")[0], want)


def test_text_with_a_fill_below_none() -> None:
    found = json.loads(A.RandomRotation(9, fill=None).host().to_json())
    settings = found["transforms"][0]["segments"][0]["steps"][0]["settings"]
    assert settings[1] == -1.0
    settings[1] = -0.5
    with pytest.raises(ValueError, match=r"ImageAugment.from_json: text must be what to_json gave"):
        ImageAugment.from_json(json.dumps(found))


@pytest.mark.parametrize("fill", [[], [0.5, 2.0, 0.1], [0.5, "a", 0.1]])
def test_bad_text(fill: list[object]) -> None:
    text = A.Compose([A.RandomCrop(9, 2, fill=THREE), A.RandomRotation(9, fill=THREE)]).host().to_json()
    for path in ("resample", "step"):
        found = json.loads(text)
        (segment,) = found["transforms"][0]["segments"]
        (segment["resample"] if path == "resample" else segment["steps"][0])["fill"] = fill
        if path == "step" and not fill:  # which is none
            continue
        with pytest.raises(ValueError, match=r"ImageAugment.from_json: text must be what to_json gave"):
            ImageAugment.from_json(json.dumps(found))


def test_masks_have_zeros_outside() -> None:
    transform = A.Compose([A.RandomCrop(9, 3, fill=THREE), A.RandomRotation((45, 45), fill=THREE)])
    masks = torch.full((1, 5, 5), 7, dtype=torch.uint8)
    params = transform.sample_params(masks[:, None].expand(1, 3, 5, 5).contiguous(), generator=0)
    moved = transform.apply_masks(masks, params)
    assert set(moved.unique().tolist()) == {0, 7}
    assert np.array_equal(transform.host().apply_masks(masks.numpy(), params.numpy()), moved.numpy())


@pytest.mark.parametrize("name", LISTS)
def test_gradients(device: torch.device, name: str) -> None:
    """Through colours behind the fill, whose clamps it meets; against autograd of the reference, and plain torch."""
    steps = LISTS[name]()
    if name in ("everything", "rotation of a gray image"):
        steps = steps[:5] if name == "everything" else steps[:3]
    transform = in_floats(*steps)
    images = (0.1 + 0.8 * torch.rand(3, 3, 17, 19)).to(device).requires_grad_()
    params = transform.sample_params(images, generator=5)
    view = transform.apply_params(images, params)
    weight = torch.randn(view.shape)
    (view.cpu() * weight).sum().backward()
    exact = images.detach().cpu().double().requires_grad_()
    (expected(transform, exact, params.cpu()) * weight).sum().backward()
    off = (images.grad.cpu().double() - exact.grad).abs()
    assert (off > 1e-4).double().mean() < 5e-3, off.max()
    (segment,) = transform._plan.segments
    given = (weight, images.detach().cpu(), params.cpu()[:, None], segment.codes, segment.settings, [1.0] * 3)
    off = (gradient_in_torch(*given) - ops.image_augment_backward(*given)).abs()
    assert (off > 1e-4).double().mean() < 5e-3, off.max()


def test_as_torchvision() -> None:
    F = peer("torchvision.transforms.v2.functional")
    images = photos(1, 3, 23, 31)
    x = images.double() / 255
    bilinear = F.InterpolationMode.BILINEAR

    def check(transform: Transform, want: torch.Tensor, **columns: float) -> None:
        composed = in_floats(transform)
        got = composed.apply_params(images, row(composed, images, **columns))
        torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=0)

    check(A.RandomRotation(**TURNS), F.rotate(x, -25.0, bilinear, fill=list(THREE)), affine=1, angle=25)
    moved = F.affine(x, 10.0, [3.0, 2.0], 0.8, [5.0, 0.0], bilinear, fill=list(THREE))
    columns = {"angle": 10, "translate_x": 3, "translate_y": 2, "scale": 0.8, "shear_x": 5}
    check(A.RandomAffine(10, interpolation="bilinear", fill=THREE), moved, affine=1, **columns)
    padded = F.pad(x, [4, 5, 6, 7], fill=list(THREE))
    check(
        A.RandomCrop((35, 41), (4, 5, 6, 7), fill=THREE),
        padded,
        offset_top=-5,
        offset_left=-4,
        target_height=23,
        target_width=31,
    )


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: A.RandomCrop(4, fill=(0.5, 0.1)),
            None,
            "RandomCrop: fill must have one number per channel (3), got 2",
        ),
        (
            lambda: A.Compose([A.RandomRotation(9, fill=(0.5, 0.1, 0.2, 1.0))]),
            None,
            "Compose: fill must have one number per channel (3), got 4",
        ),
        (
            lambda: A.RandomAffine(9, fill=(0.5, 1.5, 0.2)),
            ValueError,
            "RandomAffine: fill must be a number in [0, 1], or one for each channel, got (0.5, 1.5, 0.2)",
        ),
        (
            lambda: A.RandomCrop(9, fill=()),
            ValueError,
            "RandomCrop: fill must be a number in [0, 1], or one for each channel, got ()",
        ),
        (lambda: A.RandAugment(fill=(0.5, "a", 0.2)), TypeError, "RandAugment: fill must be a number, got str"),
        (lambda: A.RandomRotation(9, fill={1: 2}), TypeError, "RandomRotation: fill must be a number, got dict"),
    ],
)
def test_bad_fill(call: object, error: type[Exception] | None, text: str) -> None:
    images = noise(1, 3, 6, 6)
    if error is None:
        transform = call()
        with pytest.raises(ValueError, match="fill") as caught:
            transform(images)
        assert str(caught.value) == text
        with pytest.raises(ValueError, match="fill") as caught:
            transform.host()(images.numpy(), seed=0, layout="NCHW")
    else:
        with pytest.raises(error) as caught:
            call()
    assert str(caught.value) == text
