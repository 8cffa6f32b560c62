"""The loaders: digits, idx files, image folders with all their faults, and the keyed order of the batches."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning")
from PIL import Image

from sslfast.pretrain import image_data
from sslfast.pretrain.batches import KeyedBatches, image_loaders
from sslfast.pretrain.config import UserError
from sslfast.pretrain.image_data import load_digits, load_fashion_mnist, load_folder, load_images, read_idx
from sslfast.pretrain.settings import resolve


def idx_bytes(array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path, array):
    with gzip.open(path, "wb") as file:
        file.write(idx_bytes(array))


def write_fashion_mnist(folder, train=30, test=10):
    rng = np.random.RandomState(0)
    for stem, count in (("train", train), ("t10k", test)):
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", rng.randint(0, 256, (count, 28, 28)))
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", np.arange(count) % 10)


def write_images(folder, count=12, labelled=True):
    rng = np.random.RandomState(0)
    for index in range(count):
        path = folder / ("cat" if index % 2 else "dog") if labelled else folder
        path.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.randint(0, 256, (20 + index, 31, 3), dtype=np.uint8))
        picture.save(path / f"{index:02d}{'.jpg' if index % 3 else '.png'}")


def test_digits_keep_their_grey_levels_and_split():
    digits = load_digits()
    assert digits.train.shape == (1197, 1, 8, 8)
    assert digits.test.shape == (600, 1, 8, 8)
    assert digits.train.dtype == torch.uint8
    assert (digits.train.min(), digits.train.max()) == (0, 255)
    assert len(digits.train.unique()) == 17
    joined = torch.cat([digits.train, digits.test]).flatten(1).sort(dim=0).values
    from sklearn.datasets import load_digits as original

    source = torch.from_numpy((original().data * 255 / 16).round()).to(torch.uint8).sort(dim=0).values
    assert torch.equal(joined, source)
    assert digits.fingerprint() == load_digits().fingerprint()


def test_fingerprint_covers_images_and_labels_of_both_parts():
    digits = load_digits()
    found = {digits.fingerprint()}
    for part in ("train", "test", "train_labels", "test_labels"):
        changed = getattr(digits, part).clone()
        changed.view(-1)[5] += 1
        found |= {replace(digits, **{part: changed}).fingerprint()}
    found |= {replace(digits, train_labels=None).fingerprint(), replace(digits, train=digits.train.mT).fingerprint()}
    assert len(found) == 7


def test_idx_files_are_read_as_written(tmp_path):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    write_idx(tmp_path / "x.gz", array)
    assert np.array_equal(read_idx(tmp_path / "x.gz"), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x01" + b"\x00" * 4), "not an idx file of unsigned bytes"),
        (gzip.compress(idx_bytes(np.zeros(9))[:-2]), "cut short: its header promises 9 bytes"),
        (b"plain text", "cannot read"),
        (gzip.compress(idx_bytes(np.zeros(999)))[:20], "cannot read"),
    ],
    ids=["of another type", "cut short", "not compressed", "compressed by half"],  # the content holds the time
)
def test_damaged_idx_files_are_named(tmp_path, content, message):
    (tmp_path / "bad.gz").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(tmp_path / "bad.gz")
    assert "bad.gz" in str(caught.value)


def test_fashion_mnist_is_loaded_or_its_package_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        load_fashion_mnist(tmp_path / "absent")
    write_fashion_mnist(tmp_path)
    monkeypatch.setattr(image_data, "FASHION_MNIST_DIR", tmp_path)
    loaded = load_images(resolve({"method": "simclr", "data": "fashion-mnist", "image_size": 14}))
    assert loaded.train.shape == (30, 1, 14, 14)
    assert loaded.test_labels.tolist() == list(range(10))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(3))
    with pytest.raises(UserError, match="t10k files disagree"):
        load_fashion_mnist(tmp_path)


def test_folder_takes_labels_from_sub_folders(tmp_path):
    write_images(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    loaded = load_folder(tmp_path, 16)
    assert loaded.classes == ("cat", "dog")
    assert loaded.train.shape == (10, 3, 16, 16)
    assert len(loaded.test) == 2
    assert torch.cat([loaded.train_labels, loaded.test_labels]).bincount().tolist() == [6, 6]


def test_folder_without_sub_folders_has_no_labels(tmp_path):
    write_images(tmp_path, labelled=False)
    loaded = load_folder(tmp_path, 16)
    assert loaded.train_labels is None
    assert loaded.classes == ()


def test_unreadable_image_is_named_or_skipped_and_counted(tmp_path):
    write_images(tmp_path)
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    whole = (tmp_path / "dog" / "00.png").read_bytes()
    (tmp_path / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*broken\.jpg .*--skip-unreadable"):
        load_folder(tmp_path, 16)
    loaded = load_folder(tmp_path, 16, skip_unreadable=True)
    assert [name.split("/")[-1] for name in loaded.skipped] == ["broken.jpg", "cut.png"]
    assert len(loaded.train) + len(loaded.test) == 12


def test_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"folder not found: .*absent"):
        load_folder(tmp_path / "absent", 16)
    with pytest.raises(UserError, match="no image"):
        load_folder(tmp_path, 16)
    write_images(tmp_path, count=3)
    with pytest.raises(UserError, match="3 readable images"):
        load_folder(tmp_path, 16)


def test_batch_order_is_a_permutation_keyed_by_seed_and_epoch():
    batches = KeyedBatches(103, 10, seed=5)
    batches.set_epoch(3)
    first = torch.cat(list(batches))
    assert len(batches) == 10
    assert len(first.unique()) == 100
    torch.rand(7)  # torch's own generator has no say
    again = KeyedBatches(103, 10, seed=5)
    again.set_epoch(3)
    assert torch.equal(torch.cat(list(again)), first)
    again.set_epoch(4)
    assert not torch.equal(torch.cat(list(again)), first)


def test_validation_images_are_held_out_and_large_batches_refused():
    digits = load_digits()
    digits = image_data.ImageData("digits", digits.train[:100], digits.test, None, None, ())
    # Pixels are not unique among digits: number the images instead.
    digits.train[:, 0, 0, 0] = torch.arange(100, dtype=torch.uint8)
    train, validation = image_loaders(resolve({"method": "simclr", "data": "digits", "batch_size": 30}), digits)
    numbers = [torch.cat([batch[:, 0, 0, 0] for batch in loader]).tolist() for loader in (train, validation)]
    assert len(numbers[1]) == 10
    assert not set(numbers[0]) & set(numbers[1])
    with pytest.raises(UserError, match="--batch-size 91 is larger than the data: 90 training images"):
        image_loaders(resolve({"method": "simclr", "data": "digits", "batch_size": 91}), digits)
