"""Batches of texts of similar length, padded and masked by ``sslfast.masking.MLMCollator``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sslfast.masking import MLMCollator
from sslfast.pretrain.batches import KeyedBatches, held_out
from sslfast.pretrain.config import PretrainConfig, keyed_seed
from sslfast.pretrain.text_data import TextData
from sslfast.pretrain.vocabulary import TokenRows, Vocabulary

# Padding of batches that are sorted within so many is a tenth of the tokens, and a batch is hardly less random.
_BATCHES_SORTED_TOGETHER = 16


class LengthBatches(KeyedBatches):
    """Index batches of texts of similar length, so that little is padded; the order of the batches is random again.

    Args:
        lengths: int64 (N,), tokens of each text.
        batch_size: Texts in each batch.
        seed: Seed of the run, or None for one order, by length.
        collator: Told the epoch, so that every epoch masks other tokens; None where its masks shall stay.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int | None, collator: MLMCollator | None) -> None:
        super().__init__(len(lengths), batch_size, seed)
        self.lengths, self.collator = lengths, collator

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        super().set_epoch(epoch)
        if self.collator is not None:
            self.collator.set_epoch(epoch)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.cat(list(super().__iter__()))
        pool = len(order) if self.seed is None else _BATCHES_SORTED_TOGETHER * self.batch_size
        batches: list[Tensor] = []
        for part in order.split(pool):
            batches += part[self.lengths[part].argsort(stable=True)].split(self.batch_size)
        if self.seed is None:
            yield from batches
        else:
            generator = torch.Generator().manual_seed(keyed_seed(self.seed, "batches", self.epoch))
            yield from (batches[place] for place in torch.randperm(len(batches), generator=generator).tolist())


class TextBatches(Dataset[list[dict[str, Any]]]):
    """The examples of whole batches, for a collator.

    Args:
        rows: All training texts.
        indices: int64 (N,), those that are used; a text keeps its number, by which its masks are drawn.
    """

    def __init__(self, rows: TokenRows, indices: Tensor) -> None:
        self.rows, self.indices = rows, indices

    def __getitem__(self, places: Tensor) -> list[dict[str, Any]]:
        return [self.rows.example(index) for index in self.indices[places].tolist()]


def text_loaders(
    config: PretrainConfig, data: TextData, vocabulary: Vocabulary
) -> tuple[DataLoader[Any], DataLoader[Any], Tensor]:
    """The training and the validation batches, and how often each token occurs in the training texts.

    The masks of the training texts depend on (seed, epoch, text), those of the validation texts on (seed, text).

    Raises:
        UserError: Fewer training texts than one batch, or fewer than two validation texts.
    """
    train, validation = held_out(config, data)
    rows = vocabulary.encode(data.train)
    lengths = torch.from_numpy(rows.lengths)

    def loader(indices: Tensor, purpose: str, seed: int | None) -> DataLoader[Any]:
        collator = vocabulary.collator(
            config.mask_ratio, keyed_seed(config.seed, purpose), whole_words=config.whole_words
        )
        batches = LengthBatches(lengths[indices], config.batch_size, seed, None if seed is None else collator)
        return DataLoader(TextBatches(rows, indices), sampler=batches, batch_size=None, collate_fn=collator)

    return (
        loader(train, "mask", config.seed),
        loader(validation, "validation mask", None),
        rows.counts(len(vocabulary)),
    )
