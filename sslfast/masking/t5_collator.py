"""From lists of ids to the batch on which a text-to-text model is pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast.host.span_corruption import check_numbers
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples
from sslfast.masking._id_lists import padded, sample_ids_of
from sslfast.masking.span_corruption import corrupt_spans


class T5Collator:
    """Pads token ids and corrupts spans: :func:`corrupt_spans` behind a DataLoader's ``collate_fn``.

    The batch is a dict of int64 tensors: ``input_ids`` (N, input length), ``attention_mask`` of the same shape, 1 where
    there is no padding, ``labels`` (N, target length), -100 where there is nothing to predict, and
    ``decoder_input_ids``, the labels shifted right by one behind ``decoder_start_token_id``, with the padding id in the
    place of -100. The keys are those of transformers' ``FlaxDataCollatorForT5MLM``, which has no attention mask and
    takes rows of one length alone.

    Args:
        sentinel_id: the id of the first span's sentinel (``<extra_id_0>``), 32099 in T5.
        eos_token_id: ends inputs and targets. Default: 1; None leaves it out.
        pad_token_id: the padding id. Default: 0.
        decoder_start_token_id: begins the decoder's input. Default: None, the padding id, as in T5.
        noise_density: share of the tokens that is noise, in (0, 1). Default: 0.15.
        mean_noise_span_length: mean length of a span, at least 1. Default: 3.0.
        descending: whether the second sentinel is ``sentinel_id - 1``, as in T5, or one more. Default: True.
        tokens_length: every batch is padded for rows of this many tokens, and longer rows are cut; ``t5_lengths`` says
            which fills an encoder. Default: None, the longest row of the batch.
        mode: ``"exact"`` or ``"compat"``, see :func:`corrupt_spans`. Default: ``"exact"``.
        input_key: where an example that is a mapping has its ids. Default: ``"input_ids"``.
        seed: seed of the run. Default: None, every batch draws from torch's global generator.
        sample_id_key: where an example has its number, on which its draws then depend, together with (seed, epoch),
            alone. Default: None, the place in the order of the batches.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        sentinel_id: int,
        eos_token_id: int | None = 1,
        pad_token_id: int = 0,
        decoder_start_token_id: int | None = None,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        descending: bool = True,
        tokens_length: int | None = None,
        mode: str = "exact",
        input_key: str = "input_ids",
        seed: int | None = None,
        sample_id_key: str | None = None,
    ) -> None:
        name = type(self).__name__
        self._options: dict[str, Any] = {
            "sentinel_id": sentinel_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
            "noise_density": noise_density,
            "mean_noise_span_length": mean_noise_span_length,
            "descending": descending,
            "mode": mode,
        }
        if tokens_length is not None:
            tokens_length = _check.integer(name, "tokens_length", tokens_length, 1)
        if not isinstance(input_key, str):
            raise TypeError(f"{name}: input_key must be a str, got {type(input_key).__name__}")
        check_numbers(name, tokens_length or 0, 64, ignore_index=-100, **self._options)
        start = pad_token_id if decoder_start_token_id is None else decoder_start_token_id
        self._start = _check.integer(name, "decoder_start_token_id", start, 0)
        self._name, self._tokens_length, self._input_key = name, tokens_length, input_key
        self._draws = CollatorDraws(name, seed, sample_id_key)

    def set_epoch(self, epoch: int) -> None:
        """Makes later batches draw anew; see ``seed``. The epoch is at least 0."""
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """The batch of a list of examples: mappings with ``input_key``, or ids themselves.

        Raises:
            KeyError: an example has no ``input_key`` or no ``sample_id_key``.
            TypeError: an example's ids are not integers.
            ValueError: there is no example, or an example's ids have more than one dimension.
        """
        check_examples(self._name, examples)
        generator, sample_ids = self._draws.next_call(examples)
        rows = [sample_ids_of(self._name, example, self._input_key) for example in examples]
        ids, lengths = padded(self._name, rows, self._tokens_length, 0)
        with errors_of(self._name):
            inputs, labels, input_lengths = corrupt_spans(
                ids,
                lengths=lengths,
                generator=generator,
                sample_ids=sample_ids,
                **self._options,
            )
        decoder = torch.empty_like(labels)
        decoder[:, :1] = self._start
        decoder[:, 1:] = torch.where(labels == -100, self._options["pad_token_id"], labels)[:, :-1]
        return {
            "input_ids": inputs,
            "attention_mask": (torch.arange(inputs.shape[1]) < input_lengths[:, None]).to(torch.int64),
            "labels": labels,
            "decoder_input_ids": decoder,
        }
