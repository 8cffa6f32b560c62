"""Image transforms on videos."""

from __future__ import annotations

import pytest
import torch
from image_augment_cases import photos

from sslfast import augment as A


def transform() -> A.Compose:
    steps = [A.RandomResizedCrop(9), A.RandomHorizontalFlip(), A.ColorJitter(0.8, 0.0, 0.8, 0.2), A.GaussianBlur(3)]
    return A.Compose([*steps, A.ToDtype()])


def test_frames_of_a_video_share_their_parameters(device: torch.device) -> None:
    """The same image in every frame gives the same view in every frame, another video another one."""
    image = photos(1, 3, 20, 26).to(device)
    videos = image.expand(2 * 4, -1, -1, -1).unflatten(0, (2, 4))
    views = A.VideoTransform(transform())(videos, generator=3)
    assert views.shape == (2, 4, 3, 9, 9)
    assert all(torch.equal(views[:, 0], views[:, t]) for t in range(4))
    assert not torch.equal(views[0, 0], views[1, 0])


def test_every_frame_is_the_image_transforms(device: torch.device) -> None:
    videos = photos(6, 3, 20, 26).unflatten(0, (2, 3)).to(device)
    image_transform = transform()
    views = A.VideoTransform(image_transform)(videos, generator=5)
    params = image_transform.sample_params(videos[:, 0], generator=5)
    for t in range(3):
        assert torch.equal(views[:, t], image_transform.apply_params(videos[:, t], params))
    shard = A.VideoTransform(image_transform)(videos[1:], generator=5, row_offset=1)
    assert torch.equal(shard, views[1:])


def test_views_of_a_recipe(device: torch.device) -> None:
    """Each view is the recipe's of every frame, the views differ, and replay gives them again."""
    image = photos(1, 3, 20, 26).to(device)
    videos = image.expand(2 * 4, -1, -1, -1).unflatten(0, (2, 4))
    recipe = A.DINOAugment(12, local_size=6, local_views=2)
    video_transform = A.VideoTransform(recipe)
    views = video_transform(videos, generator=3)
    assert [tuple(view.shape) for view in views] == [(2, 4, 3, 12, 12)] * 2 + [(2, 4, 3, 6, 6)] * 2
    params = recipe.sample_params(videos[:, 0], generator=3)
    for t in range(4):
        for view, want in zip(views, recipe.apply_params(videos[:, t], params), strict=True):
            assert torch.equal(view[:, t], want)
    assert not torch.equal(views[2], views[3])
    assert not torch.equal(views[0][0, 0], views[0][1, 0])
    for view, want in zip(video_transform.apply_params(videos, params), views, strict=True):
        assert torch.equal(view, want)
    shard = video_transform(videos[1:], generator=3, row_offset=1)
    assert all(torch.equal(a, b[1:]) for a, b in zip(shard, views, strict=True))
    one, two = A.VideoTransform(A.SimCLRAugment(8, generator=1)), A.VideoTransform(A.SimCLRAugment(8, generator=1))
    assert all(torch.equal(a, b) for a, b in zip(one(videos), two(videos), strict=True))


def test_no_videos(device: torch.device) -> None:
    empty = torch.zeros(0, 5, 3, 8, 8, device=device)
    assert A.VideoTransform(transform())(empty).shape == (0, 5, 3, 9, 9)
    assert [view.shape for view in A.VideoTransform(A.SimCLRAugment(9))(empty)] == [(0, 5, 3, 9, 9)] * 2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: A.VideoTransform(len),
            TypeError,
            "VideoTransform: transform must be a transform of sslfast.augment, got builtin_function_or_method",
        ),
        (
            lambda: A.VideoTransform(transform())([1]),
            TypeError,
            "VideoTransform: videos must be a tensor, got list",
        ),
        (
            lambda: A.VideoTransform(transform())(torch.zeros(2, 3, 8, 8)),
            ValueError,
            "VideoTransform: videos must have shape (N, T, C, H, W), T >= 1, got (2, 3, 8, 8)",
        ),
        (
            lambda: A.VideoTransform(transform())(torch.zeros(2, 0, 3, 8, 8)),
            ValueError,
            "VideoTransform: videos must have shape (N, T, C, H, W), T >= 1, got (2, 0, 3, 8, 8)",
        ),
        (
            lambda: A.VideoTransform(A.RandomHorizontalFlip()).apply_params(
                torch.ones(2, 4, 3, 8, 8), torch.ones(8, 10)
            ),
            ValueError,
            "VideoTransform: params must have shape (2, columns), a row a video, got (8, 10)",
        ),
        (
            lambda: A.VideoTransform(A.SimCLRAugment(4)).apply_params(torch.ones(2, 4, 3, 8, 8), [torch.ones(20)] * 2),
            ValueError,
            "VideoTransform: params must have shape (2, columns), a row a video, got (20,)",
        ),
    ],
)
def test_bad_input(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
