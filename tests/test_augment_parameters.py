"""Parameters by hand: the page's table of columns, and what its rows say."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path

import pytest
import torch
from image_augment_cases import in_floats, photos, row

from sslfast import augment as A
from sslfast._image_steps import CHOICES, COLUMNS, ERASE_COLUMNS
from sslfast.augment._transform import Transform

PAGE = (Path(__file__).parents[1] / "docs" / "augment.md").read_text()
SECTION = PAGE.partition("### Parameters by hand")[2].partition("\n## ")[0]
ARGUMENTS = {
    "CenterCrop": (8,),
    "Compose": ([A.RandomErasing()],),
    "GaussianBlur": (3,),
    "RandomAdjustSharpness": (2.0,),
    "RandomAffine": (30,),
    "RandomCrop": (8,),
    "RandomPosterize": (4,),
    "RandomResizedCrop": (8,),
    "RandomRotation": (30,),
    "Resize": (8,),
}


def transforms() -> dict[str, Transform]:
    """One of every public class that has parameters."""
    classes = {name: getattr(A, name) for name in A.__all__}
    own = {name: one for name, one in classes.items() if inspect.isclass(one) and issubclass(one, Transform)}
    return {name: one(*ARGUMENTS.get(name, ())) for name, one in own.items()}


def test_page_has_every_column() -> None:
    """And no other, of every transform: those of a row's first cell."""
    cells = re.findall(r"^\| (`[a-z_`, ]+`) \|", SECTION, re.MULTILINE)
    named = set(re.findall(r"\w+", " ".join(cells)))
    found = set().union(*(one.columns for one in transforms().values()))
    assert {column for column in found if not re.search(r"_\d+$", column)} == named
    assert found >= {*itertools.chain(*COLUMNS.values()), *ERASE_COLUMNS}


def test_page_has_every_choice() -> None:
    named = dict(re.findall(r"\| (\d+) (\w+) ", SECTION))
    assert named == {str(code): name for code, name in enumerate(CHOICES)}


@pytest.mark.parametrize("order", [0, 5, 9, 23])
def test_order_is_a_lexicographic_permutation(device: torch.device, order: int) -> None:
    """Four steps one after another in that order give the same view."""
    images = photos(2, 3, 12, 14).to(device)
    strengths = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.7, "hue": 0.2}
    plain = {"jitter": 1, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0}
    jitter = in_floats(A.ColorJitter(contrast=0.5))
    want = images.float() / 255
    for k in list(itertools.permutations(range(4)))[order]:
        name = [*strengths][k]
        want = jitter.apply_params(want, row(jitter, want, **{**plain, name: strengths[name]}))
    got = jitter.apply_params(images, row(jitter, images, **{"jitter": 1, "order": order, **strengths}))
    torch.testing.assert_close(got, want, atol=3e-6, rtol=0)


def test_angles_corner_and_tangents(device: torch.device) -> None:
    """90 degrees is clockwise; a rotation of RandAugment the other way; its shear a tangent about the corner."""
    images = photos(1, 3, 16, 16).to(device)
    affine, choice = A.RandomAffine(90), A.RandAugment(1)
    turned = affine.apply_params(images, row(affine, images, affine=1, angle=90))
    assert torch.equal(turned, images.rot90(-1, (2, 3)))
    other = choice.apply_params(images, row(choice, images, choice=CHOICES.index("rotate"), magnitude=90))
    assert torch.equal(other, images.rot90(1, (2, 3)))
    sheared = choice.apply_params(images, row(choice, images, choice=CHOICES.index("shear_x"), magnitude=0.5))
    by_degrees = {"affine": 1, "corner": 1, "shear_x": 26.565051177}
    assert torch.equal(sheared, affine.apply_params(images, row(affine, images, **by_degrees)))
    moved = affine.apply_params(images, row(affine, images, affine=1, translate_x=3, translate_y=-2))
    assert torch.equal(moved[..., :-2, 3:], images[..., 2:, :-3])


def test_params_that_want_a_gradient() -> None:
    flip = A.RandomHorizontalFlip()
    images = torch.zeros(2, 3, 4, 4)
    params = flip.sample_params(images).requires_grad_()
    text = r"^RandomHorizontalFlip: params must not require a gradient, which they get none of; detach them$"
    for call in (
        lambda: flip.apply_params(images, params),
        lambda: flip.apply_masks(images, params),
        lambda: flip.apply_boxes(torch.zeros(2, 1, 4), params, (4, 4)),
    ):
        with pytest.raises(ValueError, match=text):
            call()
