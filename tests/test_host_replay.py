"""Parameters replayed over NumPy arrays: what the transforms give over tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import photos

from sslfast import augment as A

LISTS = {
    "crop": lambda: [A.RandomResizedCrop((40, 50)), A.RandomHorizontalFlip(), A.RandomVerticalFlip()],
    "affine": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20, -9, 15), fill=0.5), A.GaussianBlur(3)],
    "choices": lambda: [A.RandomResizedCrop(64, (0.5, 1.0)), A.RandAugment(3, 20), A.RandomErasing()],
    "two passes": lambda: [A.RandomRotation(30), A.Resize(30), A.CenterCrop((28, 35)), A.RandomHorizontalFlip()],
}


@pytest.mark.parametrize("name", LISTS)
def test_equal_the_transforms(name: str) -> None:
    transform = A.Compose(LISTS[name]())
    images = photos(12, 3, 50, 44)
    params = transform.sample_params(images, generator=6)
    own, ours = params.numpy(), transform.host()
    masks = images[:, 0] > 100
    assert np.array_equal(ours.apply_masks(masks.numpy(), own), transform.apply_masks(masks, params).numpy())
    for layout, dims in (("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))):
        for planes in (images, images.int() * 257, images / 255):
            got = ours.apply_masks(planes.permute(dims).numpy(), own, layout=layout)
            want = transform.apply_masks(planes, params).permute(dims).numpy()
            assert got.dtype == want.dtype
            assert np.array_equal(got, want)
    points = torch.rand(12, 5, 2) * 44
    moved, inside = ours.apply_keypoints(points.numpy(), own, (50, 44))
    want_points, want_inside = transform.apply_keypoints(points, params, (50, 44))
    np.testing.assert_allclose(moved, want_points.numpy(), atol=1e-4)
    assert np.array_equal(inside, want_inside.numpy())
    boxes = torch.cat([points, points + 9], -1)
    got = ours.apply_boxes(boxes.numpy(), own, (50, 44))
    np.testing.assert_allclose(got, transform.apply_boxes(boxes, params, (50, 44)).numpy(), atol=1e-4)


def test_recipes_and_lists_of_sizes() -> None:
    sizes = [(30, 44), (51, 20), (33, 33)]
    images = [photos(1, 3, *size)[0] for size in sizes]
    recipe = A.DINOAugment(16, local_size=9, local_views=2)
    params = recipe.sample_params(images, generator=3)
    own, ours = [one.numpy() for one in params], recipe.host()
    arrays = [image.numpy() for image in images]
    got = ours.apply_masks(arrays, own, layout="NCHW")
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(got, recipe.apply_masks(images, params), strict=True))
    flat = ours.apply_masks([array[0] for array in arrays], own)
    assert all(np.array_equal(a, b[:, 0]) for a, b in zip(flat, got, strict=True))
    points = torch.rand(3, 4, 2).double() * 20
    for a, b in zip(
        ours.apply_keypoints(points.numpy(), own, sizes), recipe.apply_keypoints(points, params, sizes), strict=True
    ):
        np.testing.assert_allclose(a[0], b[0].numpy(), atol=1e-9)
    boxes = torch.cat([points, points + 6], -1)
    for a, b in zip(ours.apply_boxes(boxes.numpy(), own, sizes), recipe.apply_boxes(boxes, params, sizes), strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-9)


ROWS = np.zeros((2, 10), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda t: t.apply_masks(np.zeros((2, 3, 3)), ROWS),
            TypeError,
            "RandomVerticalFlip: masks must be arrays of bool, integers or float32, got float64",
        ),
        (
            lambda t: t.apply_masks([1, 2], ROWS),
            TypeError,
            "RandomVerticalFlip: masks must be arrays of bool, integers or float32, got int",
        ),
        (
            lambda t: t.apply_masks([], ROWS),
            ValueError,
            "RandomVerticalFlip: images must be a batch or a sequence of at least one image, got []",
        ),
        (
            lambda t: t.apply_boxes(np.zeros((2, 4)), ROWS, (3, 3)),
            ValueError,
            "RandomVerticalFlip: boxes must have shape (N, K, 4), got (2, 4)",
        ),
        (
            lambda t: t.apply_keypoints(np.zeros((2, 1, 2), int), ROWS, (3, 3)),
            TypeError,
            "RandomVerticalFlip: points must be an array of floats, got int64",
        ),
        (
            lambda t: t.apply_keypoints(np.zeros((2, 1, 2)), ROWS, [(3, 3)]),
            ValueError,
            "RandomVerticalFlip: image_size must hold 2 sizes, one per image, got 1",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call(A.RandomVerticalFlip().host())
    assert str(caught.value) == text
