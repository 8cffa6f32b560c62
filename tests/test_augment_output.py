"""The form in which views come out, of lists that say it more than once; transforms are what they were made as."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from image_augment_cases import expected, in_floats, photos
from peer_oracle import peer

from sslfast import augment as A
from sslfast.host import ImageAugment

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)


@pytest.mark.parametrize("second", [((0.4,), (2.0,)), ((0.4, -1.0, 0.1), (2.0, 3.0, 0.5))])
@pytest.mark.parametrize("first", [((0.3,), (0.25,)), (MEAN, STD)])
def test_normalised_twice(device: torch.device, first: tuple[tuple[float, ...], ...], second: object) -> None:
    images = photos(2, 3, 8, 9).to(device)
    want = images / 255
    for mean, std in (first, second):
        one, other = (torch.tensor(values, device=device)[:, None, None] for values in (mean, std))
        want = (want - one) / other
    both = A.Compose([A.Normalize(*first), A.RandomHorizontalFlip(0.0), A.Normalize(*second)])
    torch.testing.assert_close(both(images), want, atol=1e-5, rtol=1e-5)
    again = ImageAugment.from_json(both.host().to_json())
    assert np.allclose(again(images.cpu().numpy(), seed=1, layout="NCHW"), want.cpu().numpy(), atol=1e-5)


@pytest.mark.parametrize("width", [80, 320, 333])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_last_blur_is_normalised(device: torch.device, channels: int, width: int) -> None:
    """On the CPU it writes the view itself where rows are whole vectors, past the caches if there are many."""
    images = photos(6, channels, 70, 90).to(device)
    mean, std = torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
    steps = [A.RandomResizedCrop((256, width)), A.GaussianBlur(9, p=0.7)]
    if channels == 3:
        steps[1:1] = [A.ColorJitter(0.8, 0.8, 0.8, 0.2), A.RandomGrayscale(0.3)]
    transform = A.Compose([*steps, A.Normalize(MEAN[:channels], STD[:channels]), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    want = (expected(in_floats(*steps), images, params.cpu()) - mean[:, None, None]) / std[:, None, None]
    views = transform.apply_params(images, params)
    torch.testing.assert_close(views.cpu().double(), want, atol=1e-4, rtol=0)
    for i, view in enumerate(views):
        assert torch.equal(transform.apply_params(images[i : i + 1], params[i : i + 1])[0], view)
    room = torch.empty(views.numel() + 1, device=device)
    unaligned = transform.apply_params(images, params, out=room[1:].view_as(views))  # no store past the caches
    torch.testing.assert_close(unaligned, views, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("first", "second"),
    [((torch.float32, False), (torch.float16, True)), ((torch.float32, True), (torch.float16, False))],
)
def test_what_are_floats_keep_their_range(first: tuple[torch.dtype, bool], second: tuple[torch.dtype, bool]) -> None:
    images = photos(2, 3, 5, 6)
    ours = A.Compose([A.ToDtype(*first), A.ToDtype(*second)])(images)
    v2 = peer("torchvision.transforms.v2")
    theirs = v2.Compose([v2.ToDtype(first[0], scale=first[1]), v2.ToDtype(second[0], scale=second[1])])(images)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    back = A.Compose([A.ToDtype(torch.uint8), A.ToDtype(torch.float32, scale=False)])(images)
    torch.testing.assert_close(back, images.float())


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (
            lambda: [A.Normalize(), A.ToDtype(torch.uint8)],
            "Compose: transforms must end in floats after Normalize, got ToDtype(torch.uint8)",
        ),
        (
            lambda: [A.ToDtype(torch.uint8), A.Normalize()],
            "Compose: transforms must end in floats after Normalize, got ToDtype(torch.uint8)",
        ),
        (
            lambda: [A.ToDtype(scale=False), A.ToDtype(torch.uint8)],
            "Compose: transforms must not have ToDtype(torch.uint8) after ToDtype(scale=False)",
        ),
        (
            lambda: [A.Normalize(MEAN, STD), A.Normalize(MEAN[:2], STD[:2])],
            "Compose: transforms must normalise one number of channels, got 3 and 2",
        ),
    ],
)
def test_lists_that_cannot_be(steps: object, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text below)
        A.Compose(steps())
    assert str(caught.value) == text


def test_bytes_of_a_recipe() -> None:
    """With a mean of 0 and a deviation of 1, which change nothing."""
    images = photos(2, 3, 20, 22)
    views = A.SimCLRAugment(8, mean=(0.0,), std=(1.0,), dtype=torch.uint8)(images, generator=1)
    floats = A.SimCLRAugment(8, mean=(0.0,), std=(1.0,))(images, generator=1)
    assert torch.equal(views[0], (floats[0] * 255).round().byte())


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64)])
def test_numbers_in_arrays(kind: object) -> None:
    images = photos(1, 3, 4, 4)
    want = A.Normalize(MEAN, STD)(images)
    torch.testing.assert_close(A.Normalize(kind(MEAN), kind(STD))(images), want, atol=1e-6, rtol=0)
    torch.testing.assert_close(A.ImageNetEval(2, mean=kind(MEAN))(images), A.ImageNetEval(2, mean=MEAN)(images))
    with pytest.raises(TypeError, match=r"^Normalize: mean must be a tuple of numbers, got float$"):
        A.Normalize(np.float32(0.5), kind(STD))


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (A.RandomHorizontalFlip, "p", 0.0),
        (lambda: A.RandomResizedCrop(8), "scale", (0.5, 1.0)),
        (lambda: A.Compose([A.RandomInvert()]), "transforms", torch.nn.ModuleList()),
        (A.ImageNetAugment, "transforms", torch.nn.ModuleList()),
        (A.RandAugment, "magnitude", 3),
        (lambda: A.RandomRotation(30), "degrees", (0.0, 1.0)),
    ],
)
def test_attributes_are_read_only(make: object, name: str, value: object) -> None:
    """Also of copies; what a module itself sets is not an argument."""
    for transform in (made := make(), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        before = getattr(transform, name)
        with pytest.raises(AttributeError) as caught:
            setattr(transform, name, value)
        kind = type(transform).__name__
        assert str(caught.value) == f"{kind}: {name} must not be changed; make a new transform"
        assert getattr(transform, name) is before
        assert not transform.eval().to("cpu").training


def test_the_list_of_a_compose_cannot_be_changed() -> None:
    """Its plan is made once. Slices and copies are lists like any other."""
    compose = A.Compose([A.CenterCrop(4), A.RandomInvert()])
    new = A.RandomSolarize()

    def assign() -> None:
        compose.transforms[0] = new

    def delete() -> None:
        del compose.transforms[0]

    def add() -> None:
        listed = compose.transforms
        listed += [new]

    of_a_list = compose.transforms
    for change in (
        *(assign, delete, add, lambda: of_a_list.append(new), lambda: of_a_list.extend([new])),
        *(lambda: of_a_list.insert(0, new), lambda: of_a_list.pop(0)),
        *(lambda: of_a_list.append(module=new), lambda: of_a_list.insert(index=0, module=new)),
        *(lambda: setattr(of_a_list, "0", new), lambda: setattr(of_a_list, "0", None), lambda: delattr(of_a_list, "1")),
        *(lambda: of_a_list.add_module("2", new), lambda: of_a_list.register_module(name="0", module=new)),
    ):
        with pytest.raises(AttributeError) as caught:
            change()
        assert str(caught.value) == "Compose: transforms must not be changed; make a new Compose"
    assert [type(one) for one in compose.transforms] == [A.CenterCrop, A.RandomInvert]
    assert repr(compose.transforms) == repr(torch.nn.ModuleList([A.CenterCrop(4), A.RandomInvert()]))
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for same in (A.Compose([*compose.transforms[:1], compose.transforms[1]]), copy.deepcopy(compose)):
        assert torch.equal(same(images, generator=3), compose(images, generator=3))
    assert torch.equal(pickle.loads(pickle.dumps(compose))(images, generator=3), compose(images, generator=3))
