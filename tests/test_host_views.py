"""Views over NumPy arrays: the bits of the torch transforms, in every layout, in workers, and from text."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from image_augment_cases import photos
from torch.utils.data import DataLoader

from sslfast import augment as A
from sslfast import host

IMAGES = photos(4, 3, 40, 52)
SIMCLR = A.Compose(
    [
        *(A.RandomResizedCrop((24, 30)), A.RandomHorizontalFlip(), A.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8)),
        *(A.RandomGrayscale(0.3), A.GaussianBlur((3, 9), p=0.5), A.RandomSolarize(p=0.3), A.Normalize()),
    ]
)
TRANSFORMS = {
    "SimCLR": SIMCLR,
    "bytes": A.Compose([A.RandomCrop(32, padding=(1, 2, 3, 4), fill=0.5), A.RandomPosterize(3), A.RandomEqualize()]),
    "half": A.Compose([A.Resize(30), A.CenterCrop(28), A.RandomAffine(40, (0.1, 0.2)), A.ToDtype(torch.half)]),
    "whole images": A.Compose([A.RandomVerticalFlip(), A.RandomAdjustSharpness((0.5, 2)), A.RandomAutocontrast()]),
    "two passes": A.Compose([A.RandomResizedCrop(20), A.RandAugment(2), A.RandomResizedCrop(16), A.Normalize()]),
    "long": A.Compose([A.RandAugment(9), A.Normalize((0.5,), (0.25,))]),
}


def same(got: np.ndarray, want: torch.Tensor) -> None:
    """Equal bits; the torch batch is (N, C, H, W)."""
    expected = want.contiguous().numpy()
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float16])
def test_equal_bits_in_both_layouts(name: str, kind: torch.dtype) -> None:
    transform = TRANSFORMS[name]
    images = IMAGES if kind == torch.uint8 else (IMAGES / 255).to(kind)
    ours = transform.host()
    assert ours.columns == transform.columns
    ids = torch.tensor([5, 2**40, 0, -7])
    params = transform.sample_params(images, generator=-3, sample_ids=ids)
    want = transform.apply_params(images, params)
    first, last = images.numpy(), np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    draws = {"seed": -3, "sample_ids": ids.numpy()}
    for array, layout in ((first, "NCHW"), (last, "NHWC"), (last.transpose(0, 3, 1, 2), "NCHW")):
        assert np.array_equal(ours.sample_params(array, **draws, layout=layout), params.numpy())
        same(ours(array, **draws, layout=layout, out_layout="NCHW", threads=2), want)
        same(ours(array, **draws, layout=layout, out_layout="NHWC").transpose(0, 3, 1, 2), want)
    same(ours.apply_params(last, params.numpy()).transpose(0, 3, 1, 2), want)


def test_shards_equal_their_part_of_the_whole() -> None:
    ours, images = SIMCLR.host(), IMAGES.permute(0, 2, 3, 1).numpy()
    whole = ours(images, seed=8, row_offset=100)
    assert np.array_equal(whole[1:3], ours(images[1:3], seed=8, row_offset=101))
    assert not np.array_equal(whole, ours(images, seed=9, row_offset=100))
    assert ours(images[:0], seed=8).shape == (0, 24, 30, 3)


def test_lists_of_any_sizes() -> None:
    images = [photos(1, 3, 33 + 5 * k, 64 - 7 * k)[0] for k in range(5)]
    want = SIMCLR(images, generator=2)
    ours = SIMCLR.host()
    same(ours([image.numpy() for image in images], seed=2, layout="NCHW"), want)
    lasts = [image.permute(1, 2, 0).numpy() for image in images]
    same(ours(lasts, seed=2, out_layout="NCHW", threads=3), want)
    turned = [np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1] for image in lasts]
    assert turned[0].strides[0] < 0
    same(ours(turned, seed=2, out_layout="NCHW"), want)


def test_any_strides() -> None:
    """BGR as OpenCV reads it, every second pixel, and a field of a record, whose strides are no whole elements."""
    images = IMAGES.permute(0, 2, 3, 1).numpy()
    ours = SIMCLR.host()
    want = ours(images, seed=1)
    assert np.array_equal(ours(np.ascontiguousarray(images[..., ::-1])[..., ::-1], seed=1), want)
    wide = np.zeros((4, 80, 104, 3), np.uint8)
    wide[:, ::2, ::2] = images
    assert np.array_equal(ours(wide[:, ::2, ::2], seed=1), want)
    record = np.zeros(images.shape, [("tag", "u1"), ("pixel", "f4")])
    record["pixel"] = images / np.float32(255)
    assert np.array_equal(ours(record["pixel"], seed=1), ours(record["pixel"].copy(), seed=1))


def test_channels_of_other_numbers() -> None:
    transform = A.Compose([A.RandomResizedCrop(16), A.GaussianBlur(3), A.Normalize((0.5,), (0.2,))])
    for channels in (1, 2, 5):
        images = photos(2, channels, 20, 24)
        want = transform(images, generator=4)
        got = transform.host()(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()), seed=4)
        same(got.transpose(0, 3, 1, 2), want)


def test_writes_where_it_is_told() -> None:
    images = IMAGES.permute(0, 2, 3, 1).numpy()
    ours = SIMCLR.host()
    buffer = np.full((6, 24, 30, 3), np.nan, np.float32)
    assert ours(images, seed=3, out=buffer[1:5]).base is buffer
    assert np.array_equal(buffer[1:5], ours(images, seed=3))
    assert np.isnan(buffer[[0, 5]]).all()
    two = TRANSFORMS["two passes"].host()
    out = np.empty((4, 3, 16, 16), np.float32)
    two.apply_params(images, two.sample_params(images, seed=1), out=out, out_layout="NCHW")
    assert np.array_equal(out.transpose(0, 2, 3, 1), two(images, seed=1))


@pytest.mark.parametrize(
    "recipe", [A.SimCLRAugment(24), A.DINOAugment(32, local_size=12, local_views=3), A.MAEAugment(20)]
)
def test_recipes(recipe: A.MultiView) -> None:
    ours, images = recipe.host(), IMAGES.permute(0, 2, 3, 1).numpy()
    want = recipe(IMAGES, generator=11, row_offset=6)
    views = ours(images, seed=11, row_offset=6, out_layout="NCHW")
    assert ours.views == len(views) == len(want)
    params = ours.sample_params(images, seed=11, row_offset=6)
    replayed = ours.apply_params(images, params, out_layout="NCHW", threads=2)
    for got, again, expected in zip(views, replayed, want, strict=True):
        same(got, expected)
        same(again, expected)


def test_several_passes_beside_one() -> None:
    several = TRANSFORMS["two passes"]
    recipe = A.MultiView([several, several, SIMCLR, SIMCLR])
    for got, want in zip(
        recipe.host()(IMAGES.numpy(), seed=5, layout="NCHW"), recipe(IMAGES, generator=5), strict=True
    ):
        same(got, want)


WITHOUT_TORCH = """
import pickle, sys
sys.modules["torch"] = None  # importing torch raises from here on
import numpy as np
from sslfast import host
one, text, images, want = pickle.load(sys.stdin.buffer)
for views in (one, host.ImageViews.from_json(text)):
    for got, expected in zip(views(images, seed=3), want, strict=True):
        assert np.array_equal(got, expected)
"""


def test_pickled_and_as_text_into_a_process_without_torch(tmp_path) -> None:
    recipe = A.DINOAugment(32, local_size=12, local_views=2)
    images = IMAGES.permute(0, 2, 3, 1).numpy()
    ours = recipe.host()
    sent = pickle.dumps((ours, ours.to_json(), images, ours(images, seed=3)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], input=sent, capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_text_holds_every_number(name: str) -> None:
    ours = TRANSFORMS[name].host()
    again = host.ImageAugment.from_json(ours.to_json())
    assert repr(again) == repr(ours)
    images = IMAGES.numpy()
    assert np.array_equal(again(images, seed=1, layout="NCHW"), ours(images, seed=1, layout="NCHW"))
    assert again.to_json() == ours.to_json()


def test_text_keeps_views_that_are_made_together() -> None:
    views = A.SwAVAugment((16, 8), (2, 3)).host()
    again = host.ImageViews.from_json(views.to_json())
    assert [count for _, count in again._runs()] == [2, 3] == [count for _, count in views._runs()]


class Samples(torch.utils.data.Dataset):
    """Images of several sizes, as a decoder would give them."""

    def __init__(self) -> None:
        self.images = IMAGES.permute(0, 2, 3, 1).numpy()

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index % 4, : 30 + index], index


class Collate:
    """What a worker is sent: views of the samples, drawn by their numbers."""

    def __init__(self, views: host.ImageViews) -> None:
        self.views = views

    def __call__(self, samples: list[tuple[np.ndarray, int]]) -> list[torch.Tensor]:
        images, ids = zip(*samples, strict=True)
        arrays = self.views(images, seed=9, sample_ids=np.array(ids), out_layout="NCHW")
        return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("context", ["fork", "spawn"] if sys.platform == "linux" else ["spawn"])
def test_in_the_workers_of_a_loader(context: str) -> None:
    recipe = A.SimCLRAugment(16)
    dataset = Samples()
    images = [torch.from_numpy(dataset[k][0]).permute(2, 0, 1) for k in range(6)]
    want = recipe(images, generator=9)
    loader = DataLoader(
        dataset, batch_size=3, num_workers=1, collate_fn=Collate(recipe.host()), multiprocessing_context=context
    )
    batches = list(loader)
    for view in (0, 1):
        assert torch.equal(torch.cat([batch[view] for batch in batches]), want[view])
