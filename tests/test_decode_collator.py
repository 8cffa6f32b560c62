"""DecodeCollator: lists of images and what was left out, through workers in one block of shared memory."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sslfast.augment import CenterCrop, DecodeCollator, DecodedBatch, MultiView, SimCLRAugment

Image = pytest.importorskip("PIL.Image", reason="images are made with Pillow")


def png(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4 + number, 5, 3), number, np.uint8)).save(file, "PNG")
    return file.getvalue()


class Files(Dataset):
    """Every fifth is broken."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> tuple[bytes, int]:
        return (b"broken" if number % 5 == 3 else png(number)), number


def brightness(images: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([image.float().mean() for image in images])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader(workers):
    seen, skipped = [], 0
    for batch in DataLoader(Files(), batch_size=4, num_workers=workers, collate_fn=DecodeCollator()):
        assert len(batch) == len(batch.images) == len(batch.labels) == len(batch.kept)
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            assert image.shape == (3, 4 + label, 5)
            assert (image == label).all()
        if workers:
            assert len({image.untyped_storage().data_ptr() for image in batch.images}) == 1
        seen += batch.labels.tolist()
        skipped += batch.skipped
        assert all(reason.startswith(f"image {place}: ") for place, reason in batch.errors)
    assert seen == [number for number in range(20) if number % 5 != 3]
    assert skipped == 4


def test_augmentation_in_the_worker():
    collate = DecodeCollator(augment=brightness)
    batches = list(DataLoader(Files(), batch_size=5, num_workers=1, collate_fn=collate))
    assert torch.equal(
        torch.cat([batch.images for batch in batches]), torch.cat([batch.labels for batch in batches]).float()
    )


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("mode", "augment", "shapes"),
    [
        ("RGB", SimCLRAugment(16, views=3, dtype=torch.bfloat16), [(0, 3, 16, 16)] * 3),
        ("L", MultiView([CenterCrop(8), CenterCrop(4)]), [(0, 1, 8, 8), (0, 1, 4, 4)]),
        ("RGBA", CenterCrop(8), (0, 4, 8, 8)),
        ("unchanged", CenterCrop(8), (0, 3, 8, 8)),
        ("RGB", brightness, []),  # would raise for no images
        ("RGB", None, []),
    ],
)
def test_every_file_of_a_batch_is_broken(workers, mode, augment, shapes):
    collate = DecodeCollator(mode=mode, augment=augment)
    files = [(b"", 0), (b"broken", 1), (png(2), 2)]
    empty, full = DataLoader(files, batch_size=2, num_workers=workers, collate_fn=collate)
    views = empty.images
    assert (tuple(views.shape) if isinstance(views, torch.Tensor) else [tuple(v.shape) for v in views]) == shapes
    assert (empty.labels, empty.kept, empty.skipped, len(empty)) == (None, [], 2, 0)
    assert (full.labels.tolist(), full.skipped, len(full)) == ([2], 0, 1)
    if isinstance(augment, SimCLRAugment):
        assert [v.dtype for v in views] == [v.dtype for v in full.images] == [torch.bfloat16] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("augment", [None, brightness])
def test_page_locked_memory(augment):
    loader = DataLoader(Files(), batch_size=3, pin_memory=True, collate_fn=DecodeCollator(augment=augment))
    for batch in loader:
        assert all(image.is_pinned() for image in (batch.images if augment is None else [batch.images]))
        assert batch.labels.is_pinned()
        if augment is None:
            assert all((image == label).all() for image, label in zip(batch.images, batch.labels, strict=True))


def test_labels():
    files = [png(1), png(2)]
    assert DecodeCollator()(files).labels is None
    assert DecodeCollator()([(data,) for data in files]).labels is None
    both = DecodeCollator()([(data, n, "a") for n, data in enumerate(files)])
    assert torch.equal(both.labels[0], torch.arange(2))
    assert list(both.labels[1]) == ["a", "a"]
    nothing = DecodeCollator()([(b"", 1), (b"", 2)])
    assert (nothing.images, nothing.labels, nothing.kept, nothing.skipped, len(nothing)) == ([], None, [], 2, 0)
    for batch in (both, nothing):
        again = pickle.loads(pickle.dumps(batch))
        assert isinstance(again, DecodedBatch)
        assert all(map(torch.equal, again.images, batch.images))
        assert (again.kept, again.errors) == (batch.kept, batch.errors)


def test_options_reach_the_decoder():
    batch = DecodeCollator(mode="L", decoder="pillow")([png(3)])
    assert batch.images[0].shape == (1, 7, 5)
    with pytest.raises(ValueError, match=r"^decode_images: image 1 cannot be decoded: it is empty$"):
        DecodeCollator(on_error="raise")([png(1), b""])


@pytest.mark.parametrize(("second", "values"), [((b"",), 1), ((b"", 1, 2), 3), (b"", 1), ((), 0)])
def test_samples_have_as_many_labels(second, values):
    with pytest.raises(ValueError, match="a source and as many labels") as raised:
        DecodeCollator()([(png(3), 1), second])
    assert str(raised.value) == (
        "DecodeCollator: samples must all be sources, or tuples of a source and as many labels, got tuples of 2 and, "
        f"at 1, of {values}"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mode": "BGR"}, ValueError, "mode must be 'RGB', 'L', 'RGBA' or 'unchanged', got 'BGR'"),
        ({"min_size": 0.5}, TypeError, "min_size must be an int, got float"),
        ({"on_error": "log"}, ValueError, "on_error must be 'raise' or 'skip', got 'log'"),
        ({"augment": 3}, TypeError, "augment must be callable or None, got int"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as raised:
        DecodeCollator(**arguments)
    assert str(raised.value) == f"DecodeCollator: {message}"
