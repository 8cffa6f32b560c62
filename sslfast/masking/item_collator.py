"""From lists of items to the batch on which a recommender is pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast.host.item_mask import check_numbers
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples
from sslfast.masking._id_lists import padded, sample_ids_of
from sslfast.masking.item_mask import mask_items
from sslfast.masking.mask_indices import mask_indices, short_form


class ItemCollator:
    """Cuts histories to their most recent items, pads them and masks: :func:`mask_items` behind a DataLoader.

    The batch is a dict of int64 tensors of shape (N, ``max_length``): ``input_ids``, ``attention_mask``, 1 where there
    is an item, and ``labels``, -100 where there is nothing to predict; with ``return_masked_indices`` also
    ``masked_indices``, int64 (n,), the ascending flat positions with a label, which
    :func:`sslfast.losses.masked_item_loss` takes, and ``masked_counts``, int64 (N,), how many each row has.

    Args:
        mask_id: what takes the place of a masked item; no item may be equal to it.
        max_length: the length of every row; longer histories keep their last items.
        mask_ratio: share of a row's items that is masked, in (0, 1), in compat mode in (0, 1]. Default: 0.2.
        padding_id: fills up the rows; no item may be equal to it. Default: 0.
        padding_side: ``"left"``, where the last item is in the last column, or ``"right"``. Default: ``"left"``.
        selection: ``"bernoulli"`` or ``"exact"``, see :func:`mask_items`. Default: ``"bernoulli"``.
        last_item_probability: probability that a row masks its last item alone; 1.0 for evaluation. Default: 0.0.
        mode: ``"exact"`` or ``"compat"``. Default: ``"exact"``.
        input_key: where an example that is a mapping has its items. Default: ``"items"``.
        seed: seed of the run. Default: None, every batch draws from torch's global generator.
        sample_id_key: where an example has its number, on which its draws then depend, together with (seed, epoch),
            alone. Default: None, the place in the order of the batches.
        return_masked_indices: whether the batch gets ``masked_indices`` and ``masked_counts``. Default: False.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        mask_id: int,
        max_length: int,
        mask_ratio: float = 0.2,
        padding_id: int = 0,
        padding_side: str = "left",
        selection: str = "bernoulli",
        last_item_probability: float = 0.0,
        mode: str = "exact",
        input_key: str = "items",
        seed: int | None = None,
        sample_id_key: str | None = None,
        return_masked_indices: bool = False,
    ) -> None:
        name = "ItemCollator"
        self._max_length = _check.integer(name, "max_length", max_length, 1)
        _check.one_of(name, "padding_side", padding_side, ("left", "right"))
        if not isinstance(input_key, str):
            raise TypeError(f"{name}: input_key must be a str, got {type(input_key).__name__}")
        self._options: dict[str, Any] = {
            "mask_id": mask_id,
            "mask_ratio": mask_ratio,
            "padding_id": padding_id,
            "selection": selection,
            "last_item_probability": last_item_probability,
            "mode": mode,
        }
        check_numbers(name, max_length, 64, **self._options)
        self._left, self._input_key, self._padding_id = padding_side == "left", input_key, padding_id
        self._return_masked_indices = _check.boolean(name, "return_masked_indices", return_masked_indices)
        self._draws = CollatorDraws(name, seed, sample_id_key)

    def set_epoch(self, epoch: int) -> None:
        """Makes later batches draw anew; see ``seed``. The epoch is at least 0."""
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """The batch of a list of examples: mappings with ``input_key``, or items themselves.

        Raises:
            KeyError: an example has no ``input_key`` or no ``sample_id_key``.
            TypeError: an example's items are not integers.
            ValueError: there is no example, an example's items have more than one dimension, or one of those that are
                kept is ``padding_id`` or ``mask_id``.
        """
        name = "ItemCollator"
        check_examples(name, examples)
        generator, sample_ids = self._draws.next_call(examples)
        rows = [sample_ids_of(name, example, self._input_key) for example in examples]
        items, lengths = padded(name, rows, self._max_length, self._padding_id, keep="last", left=self._left)
        present = items != self._padding_id
        self._check_items(items, present, lengths)
        with errors_of(name):
            out = mask_items(items, generator=generator, sample_ids=sample_ids, **self._options)
        batch = {"input_ids": out.items, "attention_mask": present.to(torch.int64), "labels": out.labels}
        if self._return_masked_indices:
            batch |= short_form(*mask_indices(out.labels != -100))
        return batch

    def _check_items(self, items: Tensor, present: Tensor, lengths: Tensor) -> None:
        """Refuses an item that would vanish among the padding, or that nobody could tell from a masked one.

        Raises:
            ValueError: if there is one.
        """
        if int(present.sum()) != int(lengths.sum()):
            self._refuse(present.sum(1) != lengths, "padding_id")
        taken = items == self._options["mask_id"]
        if bool(taken.any()):
            self._refuse(taken.any(1), "mask_id")

    def _refuse(self, of_row: Tensor, name: str) -> None:
        row = int(of_row.nonzero()[0])
        raise ValueError(f"ItemCollator: items of examples[{row}] must not be {name}, got {self._options[name]}")
