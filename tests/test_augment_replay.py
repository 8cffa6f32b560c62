"""Parameters replayed on masks, boxes and keypoints."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import in_floats, photos, row

from sslfast import augment as A

LISTS = {
    "crop": lambda: [A.RandomResizedCrop((40, 50)), A.RandomHorizontalFlip(), A.RandomVerticalFlip()],
    "resize and crop": lambda: [A.Resize(60), A.CenterCrop((40, 90)), A.ColorJitter(0.5)],
    "affine": lambda: [A.RandomAffine(40, (0.2, 0.1), (0.7, 1.4), (-20, 20, -9, 15)), A.GaussianBlur(3)],
    "choices": lambda: [A.RandomResizedCrop(64, (0.5, 1.0)), A.RandAugment(3, 20)],
    "two passes": lambda: [A.RandomRotation(30), A.RandomResizedCrop(48, (0.5, 1.0)), A.RandomHorizontalFlip()],
}


@pytest.mark.parametrize("name", LISTS)
def test_points_move_with_the_pixels(name: str) -> None:
    """A bright square in the image and its middle as a keypoint end at the same place in the view."""
    torch.manual_seed(0)
    n, height, width = 40, 70, 84
    transform = in_floats(*LISTS[name]())
    images = torch.zeros(n, 1, height, width)
    middle = torch.stack([torch.randint(10, width - 10, (n,)), torch.randint(10, height - 10, (n,))], -1)
    for i, (x, y) in enumerate(middle.tolist()):
        images[i, 0, y - 2 : y + 3, x - 2 : x + 3] = 1
    params = transform.sample_params(images, generator=3)
    views = transform.apply_masks(images, params)[:, 0]
    points, inside = transform.apply_keypoints(middle[:, None] + 0.5, params, (height, width))
    clear = inside[:, 0] & (views.sum((1, 2)) > 12)  # all of the square, or nearly
    assert clear.sum() > 10
    grid = torch.stack(torch.meshgrid(*map(torch.arange, views.shape[1:]), indexing="ij")[::-1], -1) + 0.5
    found = (views[..., None] * grid).sum((1, 2)) / views.sum((1, 2))[:, None]
    edge = (points[:, 0] < 4).any(-1) | (points[:, 0] > torch.tensor(views.shape[:0:-1]) - 4).any(-1)
    assert (found - points[:, 0])[clear & ~edge].abs().max() < 1.5  # half a pixel in each of several maps


def test_masks_are_the_nearest_pixels_of_the_view() -> None:
    images = photos(3, 1, 30, 40)
    transform = A.Compose([A.RandomResizedCrop(20, interpolation="nearest"), A.RandomRotation(50), A.RandomInvert()])
    params = transform.sample_params(images, generator=1)
    plain = params.clone()
    plain[:, transform.columns.index("invert")] = 0
    assert torch.equal(transform.apply_masks(images, params), transform.apply_params(images, plain))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float32])
def test_types_of_masks(dtype: torch.dtype) -> None:
    masks = torch.randint(0, 2 if dtype == torch.bool else 120, (2, 9, 9)).to(dtype)
    transform = A.RandomHorizontalFlip(1.0)
    params = transform.sample_params(torch.zeros(2, 1, 9, 9))
    assert torch.equal(transform.apply_masks(masks, params), masks.flip(-1))
    assert torch.equal(transform.apply_masks(masks[:, None], params), masks[:, None].flip(-1))
    large = torch.full((2, 9, 9), 2**24 - 1)
    assert torch.equal(transform.apply_masks(large, params), large)


def test_boxes_by_hand() -> None:
    transform = A.Compose([A.RandomResizedCrop((50, 100)), A.RandomHorizontalFlip()])
    images = torch.zeros(1, 3, 100, 100)
    params = row(transform, images, top=20, left=10, height=50, width=50, hflip=1)
    boxes = torch.tensor([[[10.0, 20.0, 35.0, 45.0], [0.0, 0.0, 100.0, 100.0], [70.0, 80.0, 90.0, 95.0]]])
    got = transform.apply_boxes(boxes, params, (100, 100))
    assert got.tolist() == [[[50.0, 0.0, 100.0, 25.0], [0.0, 0.0, 100.0, 50.0], [0.0, 50.0, 0.0, 50.0]]]


def test_lists_of_sizes(device: torch.device) -> None:
    """Each image alone, with its size, gives what the list gives."""
    sizes = [(30, 44), (51, 20), (33, 33)]
    images = [photos(1, 2, *size)[0].to(device) for size in sizes]
    transform = A.Compose([A.RandomResizedCrop((18, 22)), A.RandomHorizontalFlip(), A.RandomAffine(20)])
    params = transform.sample_params(images, generator=4)
    masks = transform.apply_masks(images, params)
    flat = transform.apply_masks([image[0] for image in images], params)
    points = torch.rand(3, 5, 2, device=device) * 30
    boxes = torch.cat([points, points + 9], -1)
    moved, inside = transform.apply_keypoints(points, params, sizes)
    hulls = transform.apply_boxes(boxes, params, sizes)
    assert masks.shape == (3, 2, 18, 22)
    for i, size in enumerate(sizes):
        one = slice(i, i + 1)
        assert torch.equal(masks[one], transform.apply_masks(images[i][None], params[one]))
        assert torch.equal(flat[one], masks[one, 0])
        want = transform.apply_keypoints(points[one], params[one], size)
        assert torch.equal(moved[one], want[0])
        assert torch.equal(inside[one], want[1])
        assert torch.equal(hulls[one], transform.apply_boxes(boxes[one], params[one], size))


def test_recipes_replay_view_by_view(device: torch.device) -> None:
    images = photos(3, 3, 30, 40).to(device)
    recipe = A.DINOAugment(16, local_size=9, local_views=2)
    params = recipe.sample_params(images, generator=2)
    points = torch.rand(3, 4, 2, device=device) * 30
    boxes = torch.cat([points, points + 6], -1)
    masks, moved = recipe.apply_masks(images[:, 0], params), recipe.apply_keypoints(points, params, (30, 40))
    hulls = recipe.apply_boxes(boxes, params, (30, 40))
    for view, transform in enumerate(recipe.transforms):
        assert torch.equal(masks[view], transform.apply_masks(images[:, 0], params[view]))
        want = transform.apply_keypoints(points, params[view], (30, 40))
        assert all(torch.equal(a, b) for a, b in zip(moved[view], want, strict=True))
        assert torch.equal(hulls[view], transform.apply_boxes(boxes, params[view], (30, 40)))


@pytest.mark.parametrize("several", [False, True])
def test_videos_replay_frame_by_frame(device: torch.device, several: bool) -> None:
    videos = photos(6, 3, 20, 26).unflatten(0, (2, 3)).to(device)
    one = A.Compose([A.RandomResizedCrop(9), A.RandomHorizontalFlip(), A.RandomRotation(20)])
    transform = A.VideoTransform(A.MultiView([one, A.Resize((5, 7))]) if several else one)
    params = transform.sample_params(videos, generator=3)
    points = torch.rand(2, 3, 4, 2, device=device) * 20
    boxes = torch.cat([points, points + 5], -1)
    masks, moved = transform.apply_masks(videos[:, :, 0], params), transform.apply_keypoints(points, params, (20, 26))
    hulls = transform.apply_boxes(boxes, params, (20, 26))
    planes = transform.apply_masks(videos, params)
    if several:
        assert [mask.shape for mask in masks] == [(2, 3, 9, 9), (2, 3, 5, 7)]
        masks, moved, hulls, planes, params = masks[0], moved[0], hulls[0], planes[0], params[0]
    assert planes.shape == (2, 3, 3, 9, 9)
    for t in range(3):
        assert torch.equal(masks[:, t], one.apply_masks(videos[:, t, 0], params))
        want = one.apply_keypoints(points[:, t], params, (20, 26))
        assert all(torch.equal(a[:, t], b) for a, b in zip(moved, want, strict=True))
        assert torch.equal(hulls[:, t], one.apply_boxes(boxes[:, t], params, (20, 26)))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda t, p: t.apply_masks([1], p),
            TypeError,
            "RandomVerticalFlip: masks[0] must be a tensor, got int",
        ),
        (
            lambda t, p: t.apply_masks(1, p),
            TypeError,
            "RandomVerticalFlip: masks must be a tensor, got int",
        ),
        (
            lambda t, p: t.apply_masks([], p),
            ValueError,
            "RandomVerticalFlip: masks must be a batch or a sequence of at least one mask, got []",
        ),
        (
            lambda t, p: t.apply_masks([torch.zeros(4, 4), torch.zeros(1, 4, 4)], p),
            ValueError,
            "RandomVerticalFlip: masks must have shape (H, W) or (C, H, W), got (1, 4, 4)",
        ),
        (
            lambda t, p: t.apply_boxes(torch.zeros(2, 1, 4), p, [(3, 3)]),
            ValueError,
            "RandomVerticalFlip: image_size must hold 2 sizes, one per image, got 1",
        ),
        (
            lambda t, p: t.apply_boxes(torch.zeros(2, 1, 4), p, [(3, 3), (4, 4)]),
            ValueError,
            "RandomVerticalFlip: images of several sizes need a transform that gives views one size, got "
            "(3, 3), (4, 4)",
        ),
        (
            lambda t, p: A.MultiView([t]).apply_masks(torch.zeros(2, 3, 3), [p, p]),
            ValueError,
            "MultiView: params must be a list of 1 tensors, got 2",
        ),
        (
            lambda t, p: t.apply_masks(torch.zeros(2, 3), p),
            ValueError,
            "RandomVerticalFlip: masks must have shape (N, H, W) or (N, C, H, W), got (2, 3)",
        ),
        (
            lambda t, p: t.apply_masks(torch.zeros(2, 3, 3).double(), p),
            TypeError,
            "RandomVerticalFlip: masks must be bool, integers or float32, got torch.float64",
        ),
        (
            lambda t, p: t.apply_boxes(torch.zeros(2, 4), p, (3, 3)),
            ValueError,
            "RandomVerticalFlip: boxes must have shape (N, K, 4), got (2, 4)",
        ),
        (
            lambda t, p: t.apply_keypoints(torch.zeros(2, 1, 2, dtype=torch.int64), p, (3, 3)),
            TypeError,
            "RandomVerticalFlip: points must be a tensor of floats, got torch.int64",
        ),
        (
            lambda t, p: t.apply_keypoints(torch.zeros(3, 1, 2), p, (3, 3)),
            ValueError,
            "RandomVerticalFlip: params must have shape (3, 10), got (2, 10)",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], text: str) -> None:
    transform = A.RandomVerticalFlip()
    with pytest.raises(error) as caught:
        call(transform, torch.zeros(2, 10))
    assert str(caught.value) == text
