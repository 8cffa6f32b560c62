"""The batches of a run, in an order that is keyed by seed and epoch, and those that are held out for validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sslfast.pretrain.config import PretrainConfig, UserError, keyed_seed
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.text_data import TextData


class KeyedBatches(Sampler[Tensor]):
    """Index batches in an order that depends on (seed, epoch) alone, so that a resumed run sees the same batches.

    Args:
        count: Number of images or texts.
        batch_size: How many in each batch; the incomplete last batch is left out unless it is the only one.
        seed: Seed of the run, or None for the order of the data.
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        if self.seed is None:
            order = torch.arange(self.count)
        else:
            generator = torch.Generator().manual_seed(keyed_seed(self.seed, "shuffle", self.epoch))
            order = torch.randperm(self.count, generator=generator)
        yield from order[: len(self) * self.batch_size].split(self.batch_size)


class ImageBatches(Dataset[Tensor]):
    """Whole batches of images in memory, picked by index."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.images[indices]


def held_out(config: PretrainConfig, data: ImageData | TextData) -> tuple[Tensor, Tensor]:
    """Indices of the training data that pretraining sees, and of what is held out of it for validation.

    Raises:
        UserError: Fewer than one batch to train on, or fewer than two to validate on.
    """
    count, unit = len(data.train), config.unit
    held = round(count * config.val_fraction)
    order = torch.from_numpy(np.random.RandomState(keyed_seed(config.seed, "hold out") % 2**32).permutation(count))
    if count - held < config.batch_size:
        raise UserError(
            f"pretrain: --batch-size {config.batch_size} is larger than the data: {count - held} training {unit} in"
            f" {data.name} ({count} less {held} held out for validation)"
        )
    if held < 2:
        raise UserError(f"pretrain: --val-fraction {config.val_fraction} holds out {held} of {count} {unit}, need 2")
    return order[held:], order[:held]


def image_loaders(config: PretrainConfig, data: ImageData) -> tuple[DataLoader[Tensor], DataLoader[Tensor]]:
    """The training and the validation batches; the validation images are held out of the training images.

    Raises:
        UserError: Fewer training images than one batch, or fewer than two validation images.
    """
    train, validation = (data.train[indices] for indices in held_out(config, data))

    def loader(images: Tensor, seed: int | None) -> DataLoader[Tensor]:
        batches = KeyedBatches(len(images), config.batch_size, seed)
        return DataLoader(ImageBatches(images), sampler=batches, batch_size=None)

    return loader(train, config.seed), loader(validation, None)
