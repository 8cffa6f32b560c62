"""Image transforms on videos."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from image_augment_cases import photos

from sslfast import augment as A
from sslfast.host import VideoViews


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
            "VideoTransform: videos[0] must be a tensor, got int",
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


@pytest.mark.parametrize("several", [False, True])
def test_lists_buffers_and_formats(device: torch.device, several: bool) -> None:
    """Videos of several sizes are each what it gives alone; views go into a buffer, frames with the channels last."""
    clips = [photos(3, 3, *size).to(device) for size in ((20, 26), (31, 18))]
    one = A.Compose([A.RandomResizedCrop((9, 8)), A.RandomHorizontalFlip(), A.ToDtype()])
    videos = A.VideoTransform(A.MultiView([one, A.Resize((5, 7))]) if several else one)
    views = videos(clips, generator=3)
    params = videos.sample_params(clips, generator=3)
    buffers = [torch.empty_like(view) for view in (views if several else [views])]
    back = videos(clips, generator=3, out=buffers if several else buffers[0])
    last = videos(clips, generator=3, memory_format=torch.channels_last)
    masks = videos.apply_masks([clip[:, 0] for clip in clips], params, fill=9)
    points = torch.rand(2, 3, 4, 2, device=device) * 18
    moved = videos.apply_keypoints(points, params, [(20, 26), (31, 18)])
    if several:
        assert all(a is b for a, b in zip(back, buffers, strict=True))
        views, last, masks, moved, params = views[0], last[0], masks[0], moved[0], params[0]
        assert videos.columns == (one.columns, A.Resize((5, 7)).columns)
    else:
        assert back is buffers[0]
        assert videos.columns == one.columns
    assert views.shape == (2, 3, 3, 9, 8)
    assert torch.equal(buffers[0], views)
    assert torch.equal(last, views)
    assert last.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    for i, clip in enumerate(clips):
        row = params[i : i + 1]
        for t in range(3):
            assert torch.equal(views[i, t], one.apply_params(clip[t][None], row)[0])
            assert torch.equal(masks[i, t], one.apply_masks(clip[t, :1], row)[0])
            want = one.apply_keypoints(points[i, t][None], row, tuple(clip.shape[-2:]))
            assert torch.equal(moved[0][i, t], want[0][0])


@pytest.mark.parametrize("several", [False, True])
def test_host_gives_the_same_bits(several: bool) -> None:
    videos = photos(6, 3, 20, 26).unflatten(0, (2, 3))
    whole = A.VideoTransform(A.DINOAugment(12, local_size=6, local_views=2) if several else transform())
    host = pickle.loads(pickle.dumps(whole.host()))
    assert host.columns == whole.columns

    def listed(made: object) -> list[object]:
        return made if isinstance(made, list) else [made]

    want, params = listed(whole(videos, generator=5)), whole.sample_params(videos, generator=5)
    own = [one.numpy() for one in params] if several else params.numpy()
    frames_last = videos.permute(0, 1, 3, 4, 2).numpy()
    ids = np.arange(2)
    for got in (
        listed(host(videos.numpy(), seed=5, layout="NCHW", sample_ids=ids)),
        listed(host(frames_last, seed=5, out_layout="NCHW")),
        listed(host(list(frames_last), seed=5, out_layout="NCHW")),
        listed(host.apply_params(videos.numpy(), own, layout="NCHW")),
    ):
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(got, want, strict=True))
    out = [np.empty_like(view.numpy()) for view in want]
    given = out if several else out[0]
    assert host(videos.numpy(), seed=5, layout="NCHW", out=given) is given
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(out, want, strict=True))
    points, boxes = torch.rand(2, 3, 4, 2) * 20, torch.rand(2, 3, 4, 4) * 20
    masks = videos[:, :, 0]
    for a, b in zip(
        listed(host.apply_masks(masks.numpy(), own, fill=7)),
        listed(whole.apply_masks(masks, params, fill=7)),
        strict=True,
    ):
        assert np.array_equal(a, b.numpy())
    for a, b in zip(
        listed(host.apply_boxes(boxes.numpy(), own, (20, 26))),
        listed(whole.apply_boxes(boxes, params, [(20, 26)] * 2)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-4)
    for a, b in zip(
        listed(host.apply_keypoints(points.numpy(), own, [(20, 26)] * 2)),
        listed(whole.apply_keypoints(points, params, (20, 26))),
        strict=True,
    ):
        np.testing.assert_allclose(a[0], b[0].numpy(), atol=1e-4)
        assert np.array_equal(a[1], b[1].numpy())


VIDEOS = torch.zeros(2, 3, 3, 8, 8)
ONE = A.VideoTransform(A.Resize((4, 4)))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: ONE([]),
            ValueError,
            "VideoTransform: videos must be a batch or a sequence of at least one video, got []",
        ),
        (
            lambda: ONE([VIDEOS[0], VIDEOS[0, :2]]),
            ValueError,
            "VideoTransform: videos must have one number of frames, got 3 and 2",
        ),
        (
            lambda: ONE([VIDEOS]),
            ValueError,
            "VideoTransform: videos[0] must have shape (T, C, H, W), T >= 1, got (2, 3, 3, 8, 8)",
        ),
        (
            lambda: ONE(VIDEOS, out=1),
            TypeError,
            "VideoTransform: out must be a tensor, or of several views a list of them, got int",
        ),
        (
            lambda: ONE(VIDEOS, out=torch.zeros(2, 5, 3, 4, 4)[:, :3]),
            ValueError,
            "VideoTransform: out must be dense, of shape (2, 3, C, h, w), got (2, 3, 3, 4, 4), strides "
            "(240, 48, 16, 4, 1)",
        ),
        (
            lambda: VideoViews(3),
            TypeError,
            "VideoViews: transform must be an ImageAugment or an ImageViews, got int",
        ),
        (lambda: ONE.host()([1], seed=1), TypeError, "VideoViews: videos must be arrays, got int"),
        (
            lambda: ONE.host()(VIDEOS[0].numpy(), seed=1),
            ValueError,
            "VideoViews: videos must have 5 dimensions, T >= 1, got shape (3, 3, 8, 8)",
        ),
        (
            lambda: ONE.host()([VIDEOS[0].numpy(), VIDEOS[0, :2].numpy()], seed=1),
            ValueError,
            "VideoViews: videos must have one number of frames, got [2, 3]",
        ),
        (
            lambda: ONE.host().apply_masks(VIDEOS.numpy(), np.zeros((6, 10), np.float32)),
            ValueError,
            "VideoViews: params must have shape (2, columns), a row a video, got (6, 10)",
        ),
        (
            lambda: ONE.host()(VIDEOS.numpy(), seed=1, layout="NCHW", out=np.zeros((2, 3))),
            ValueError,
            "VideoViews: out must be contiguous, its shape (2, 3) and a frame's, got (2, 3)",
        ),
        (
            lambda: ONE.host()(VIDEOS.numpy(), seed=1, layout="NCHW", out=1),
            TypeError,
            "VideoViews: out must be an array, or of several views a list, got int",
        ),
    ],
)
def test_bad_lists_and_buffers(call: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
