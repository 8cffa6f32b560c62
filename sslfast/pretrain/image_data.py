"""The images of a run: embedded digits, Debian's Fashion-MNIST, or a folder."""

from __future__ import annotations

import gzip
import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslfast.pretrain.config import PretrainConfig, UserError

# Where Debian's package dataset-fashion-mnist puts its four files.
FASHION_MNIST_DIR = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
DIGITS_TRAIN = 1197


@dataclass(frozen=True)
class ImageData:
    """Images in memory, split once and for all into training and test images.

    Attributes:
        name: ``digits``, ``fashion-mnist`` or the folder.
        train: uint8 (N, C, H, W); pretraining sees these, without labels.
        test: uint8 (M, C, H, W); only ``sslfast evaluate`` sees these.
        train_labels: int64 (N,), or None where the data has no labels.
        test_labels: int64 (M,), or None.
        classes: Name of each class.
        skipped: Files left out because they could not be decoded.
    """

    name: str
    train: Tensor
    test: Tensor
    train_labels: Tensor | None
    test_labels: Tensor | None
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """A short hash of all images and labels; whoever comes back to a run must find the same one."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.train, self.test, self.train_labels, self.test_labels):
            digest.update(b"none" if part is None else str(tuple(part.shape)).encode())
            if part is not None:
                digest.update(part.numpy().tobytes())
        return digest.hexdigest()

    def described(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return {
            "name": self.name,
            "train_images": len(self.train),
            "test_images": len(self.test),
            "image_shape": list(self.train.shape[1:]),
            "classes": list(self.classes),
            "skipped": list(self.skipped),
            "fingerprint": self.fingerprint(),
        }

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of the training images, in units of full scale."""
        pixels = self.train.float().div(255).transpose(0, 1).flatten(1)
        std = pixels.std(dim=1).clamp(min=1e-3)
        return tuple(pixels.mean(dim=1).tolist()), tuple(std.tolist())


def load_images(config: PretrainConfig) -> ImageData:
    """Loads the images a configuration names.

    Raises:
        UserError: The data set is not installed, the folder holds no images, or an image cannot be decoded.
    """
    if config.data == "digits":
        return _resized(load_digits(), config.image_size)
    if config.data == "fashion-mnist":
        return _resized(load_fashion_mnist(FASHION_MNIST_DIR), config.image_size)
    return load_folder(
        Path(config.data), config.image_size, skip_unreadable=config.skip_unreadable, threads=config.threads
    )


def load_digits() -> ImageData:
    """scikit-learn's 1,797 scanned digits, 8x8 with 17 grey levels: 1,197 to train, 600 to test, a fixed split."""
    from sklearn.datasets import load_digits as load

    digits = load()
    images = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(images)))
    train, test = order[:DIGITS_TRAIN], order[DIGITS_TRAIN:]
    classes = tuple(str(digit) for digit in range(10))
    return ImageData("digits", images[train], images[test], labels[train], labels[test], classes)


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzip-compressed idx file of unsigned bytes, the format of MNIST.

    Raises:
        UserError: The file is not such a file, or is cut short.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise UserError(f"fashion-mnist: cannot read {path} ({error})") from error
    # Layout: two zero bytes, the element type (8 = unsigned byte), the number of axes, then each axis as 4 bytes.
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"fashion-mnist: {path} is not an idx file of unsigned bytes")
    axes = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(axes)]
    if len(content) != 4 + 4 * axes + math.prod(shape):
        raise UserError(f"fashion-mnist: {path} is cut short: its header promises {math.prod(shape)} bytes")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load_fashion_mnist(folder: Path) -> ImageData:
    """Fashion-MNIST from the four original files: 60,000 images to train, 10,000 to test, 28x28 grey."""
    if not folder.is_dir():
        raise UserError(f"fashion-mnist: {folder} not found; on Debian: apt-get install dataset-fashion-mnist")

    def part(stem: str) -> tuple[Tensor, Tensor]:
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise UserError(f"fashion-mnist: the {stem} files disagree: images {images.shape}, labels {labels.shape}")
        return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))

    train, train_labels = part("train")
    test, test_labels = part("t10k")
    return ImageData("fashion-mnist", train, test, train_labels, test_labels, FASHION_MNIST_CLASSES)


def load_folder(folder: Path, image_size: int, *, skip_unreadable: bool = False, threads: int = 1) -> ImageData:
    """Every jpg and png under a folder, as RGB of one size: short side resized, centre cropped.

    Where all images lie in sub-folders, the name of the first one is the label. A fifth of the images, drawn once by
    the sorted file names, is kept for testing. All images are held in memory: 3 * image_size**2 bytes each.

    Raises:
        UserError: No such folder, no image in it, fewer than five, or one that cannot be decoded (unless skipped).
    """
    if not folder.is_dir():
        raise UserError(f"--data: folder not found: {folder}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"--data: no image ({', '.join(IMAGE_SUFFIXES)}) in the folder {folder}")
    images, kept, skipped = [], [], []
    with ThreadPoolExecutor(threads) as pool:
        for path, (image, fault) in zip(files, pool.map(lambda path: _decode(path, image_size), files), strict=True):
            if image is not None:
                images.append(image)
                kept.append(path.relative_to(folder))
            elif skip_unreadable:
                skipped.append(str(path.relative_to(folder)))
            else:
                pool.shutdown(cancel_futures=True)
                raise UserError(f"--data: cannot read {path} ({fault}); --skip-unreadable leaves such files out")
    if len(images) < 5:
        raise UserError(f"--data: {len(images)} readable images in {folder}, at least 5 are needed")
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    labelled = all(len(path.parts) > 1 for path in kept)
    classes = tuple(sorted({path.parts[0] for path in kept})) if labelled else ()
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(pixels)))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    if len(classes) < 2:
        return ImageData(str(folder), pixels[train], pixels[test], None, None, (), tuple(skipped))
    labels = torch.tensor([classes.index(path.parts[0]) for path in kept])
    return ImageData(str(folder), pixels[train], pixels[test], labels[train], labels[test], classes, tuple(skipped))


def _decode(path: Path, image_size: int) -> tuple[np.ndarray | None, str]:
    """One image file as uint8 (image_size, image_size, 3), or None and the reason it cannot be decoded."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (image_size, image_size))  # JPEG decodes straight to a smaller size
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (image_size, image_size), Image.Resampling.BICUBIC)), ""
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow repeats the path in some messages and not in others.
        return None, str(error).replace(f" {str(path)!r}", "").strip() or type(error).__name__


def _resized(data: ImageData, image_size: int) -> ImageData:
    """The same data with square images of the wanted size (antialiased bilinear)."""
    if data.train.shape[-1] == image_size:
        return data

    def resize(images: Tensor) -> Tensor:
        resized = torch.nn.functional.interpolate(
            images.float(), size=(image_size, image_size), mode="bilinear", antialias=True
        )
        return resized.round().clamp(0, 255).to(torch.uint8)

    return ImageData(
        data.name, resize(data.train), resize(data.test), data.train_labels, data.test_labels, data.classes
    )
