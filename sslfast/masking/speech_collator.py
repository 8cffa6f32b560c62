"""Batches of speech for masked pretraining, padded and masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples
from sslfast.masking.mask_indices import mask_indices, short_form
from sslfast.masking.negative_indices import sample_negatives
from sslfast.masking.time_span_mask import time_mask


class SpeechCollator:
    """Pads waveforms or features and masks spans of what an encoder makes of them, under transformers' names.

    What ``DataCollatorForWav2Vec2Pretraining`` of transformers' examples does for wav2vec 2.0, and without negatives
    what HuBERT, WavLM, data2vec and w2v-BERT need. It works in DataLoader workers and is picklable; the examples are
    not changed.

    Args:
        conv_kernel: kernel sizes of the convolutions before the frames that are masked, such as ``config.conv_kernel``
            of a wav2vec 2.0 model. Default: (), the frames are the inputs.
        conv_stride: their strides, as many. Default: ().
        input_key: the key of the inputs in an example and in the batch. Default: "input_values"; w2v-BERT has
            "input_features".
        mask_prob: see :func:`time_mask`. Default: 0.65.
        mask_length: frames per span. Default: 10.
        min_masks: least number of spans of a row, as far as they fit. Default: 2.
        mode: "exact" or "compat", which is "hf", see :func:`time_mask`. Default: "exact", which masks nothing in the
            padding and leaves a frame of every row.
        num_negatives: negatives per masked frame, see :func:`sample_negatives`, or None for none. Default: 100.
        padding_value: what fills short rows. Default: 0.
        pad_to_multiple_of: the rows' length is rounded up to a multiple of this. Default: None, the longest row's.
        seed: makes draws depend on (seed, epoch, sample) where ``sample_id_key`` is given, else on (seed, epoch,
            worker, call). Default: None, torch's global generator.
        sample_id_key: the key of an example's number in the data set. Default: None.
        return_masked_indices: whether the batch gets ``masked_indices`` and ``masked_counts``. Default: False.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, the convolutions are not as many kernels as strides, there is no such
            mode, or ``sample_id_key`` is given without ``seed``.
    """

    def __init__(
        self,
        *,
        conv_kernel: Sequence[int] = (),
        conv_stride: Sequence[int] = (),
        input_key: str = "input_values",
        mask_prob: float = 0.65,
        mask_length: int = 10,
        min_masks: int = 2,
        mode: str = "exact",
        num_negatives: int | None = 100,
        padding_value: float = 0.0,
        pad_to_multiple_of: int | None = None,
        seed: int | None = None,
        sample_id_key: str | None = None,
        return_masked_indices: bool = False,
    ) -> None:
        name = self._name = type(self).__name__
        for argument, value in (("conv_kernel", conv_kernel), ("conv_stride", conv_stride)):
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise TypeError(f"{name}: {argument} must be a list of ints, got {type(value).__name__}")
        if len(conv_kernel) != len(conv_stride):
            got = f"{len(conv_kernel)} and {len(conv_stride)}"
            raise ValueError(f"{name}: conv_kernel and conv_stride must be equally many, got {got}")
        self._convolutions = [
            (_check.integer(name, "conv_kernel", k, 1), _check.integer(name, "conv_stride", s, 1))
            for k, s in zip(conv_kernel, conv_stride, strict=True)
        ]
        if not isinstance(input_key, str):
            raise TypeError(f"{name}: input_key must be a str, got {type(input_key).__name__}")
        _check.one_of(name, "mode", mode, ("exact", "compat", "hf"))
        self._input_key = input_key
        self._spans: dict[str, Any] = {
            "mask_prob": _check.probability(name, "mask_prob", mask_prob),
            "mask_length": _check.integer(name, "mask_length", mask_length, 1),
            "min_masks": _check.integer(name, "min_masks", min_masks, 0),
            "mode": mode,
        }
        self._negatives = None
        if num_negatives is not None:
            self._negatives = _check.integer(name, "num_negatives", num_negatives, 1)
        self._padding_value = _check.real(name, "padding_value", padding_value)
        self._multiple = 1
        if pad_to_multiple_of is not None:
            self._multiple = _check.integer(name, "pad_to_multiple_of", pad_to_multiple_of, 1)
        self._return_masked_indices = _check.boolean(name, "return_masked_indices", return_masked_indices)
        self._draws = CollatorDraws(name, seed, sample_id_key)

    def set_epoch(self, epoch: int) -> None:
        """Makes later calls draw anew, in running workers too. The epoch is at least 0.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        self._draws.set_epoch(epoch)

    def frames(self, samples: int) -> int:
        """How many frames the convolutions make of so many inputs."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    def __call__(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """One batch.

        Args:
            examples: tensors, arrays or lists of shape (samples,) or (samples, features), or mappings that have them
                under ``input_key``; other keys are left out.

        Returns:
            ``input_key``: float32 (N, L) or (N, L, features), padded on the right. ``attention_mask``: int64 (N, L), 1
            where not padding. ``mask_time_indices``: bool (N, T), T the frames of L inputs.
            ``sampled_negative_indices``: int64 (N, T, K), unless ``num_negatives`` is None. With
            ``return_masked_indices``, ``masked_indices``: int64 (n,), the ascending flat positions of the masked
            frames, which :func:`sslfast.losses.hubert_loss` and :func:`sslfast.losses.wav2vec2_contrastive_loss` take,
            and ``masked_counts``: int64 (N,), how many each row has.

        Raises:
            KeyError: an example has no ``input_key``, or no ``sample_id_key`` where one is named.
            TypeError: an example is nothing that makes a tensor.
            ValueError: there is no example, shapes differ beyond the first dimension, or all are too short for a frame.
        """
        name = self._name
        check_examples(name, examples)
        rows = [self._inputs(example) for example in examples]
        generator, sample_ids = self._draws.next_call(examples)
        lengths = [len(row) for row in rows]
        longest = -(-max(lengths) // self._multiple) * self._multiple
        frames = self.frames(longest)
        if frames < 1:
            raise ValueError(f"{name}: examples must be long enough for a frame, got at most {max(lengths)} samples")
        inputs = torch.full((len(rows), longest, *rows[0].shape[1:]), self._padding_value)
        attention_mask = torch.zeros(len(rows), longest, dtype=torch.int64)
        for out, attended, row in zip(inputs, attention_mask, rows, strict=True):
            if row.shape[1:] != rows[0].shape[1:]:
                expected = f"{tuple(rows[0].shape[1:])} after the first dimension, like the first"
                raise ValueError(f"{name}: examples must have shape {expected}, got {tuple(row.shape[1:])}")
            out[: len(row)] = row
            attended[: len(row)] = 1
        spans = dict(self._spans)
        if (
            spans["mode"] == "exact"
        ):  # a batch as short as a span is no error: as many spans as leave a frame, none there
            spans["min_masks"] = min(spans["min_masks"], (frames - 1) // spans["mask_length"])
            if frames == spans["mask_length"] > 1:
                spans["mask_prob"] = 0.0
        with errors_of(name):
            mask = time_mask(
                len(rows),
                frames,
                lengths=torch.tensor([self.frames(n) for n in lengths]),
                generator=generator,
                sample_ids=sample_ids,
                device="cpu",
                **spans,
            )
        batch = {self._input_key: inputs, "attention_mask": attention_mask, "mask_time_indices": mask}
        if self._return_masked_indices:
            batch |= short_form(*mask_indices(mask))
        if self._negatives is not None:
            batch["sampled_negative_indices"] = sample_negatives(
                mask, self._negatives, dtype=torch.int64, generator=generator, sample_ids=sample_ids
            )
        return batch

    def _inputs(self, example: Any) -> Tensor:
        if isinstance(example, Mapping):
            if self._input_key not in example:
                raise KeyError(f"{self._name}: an example has no {self._input_key!r}, which input_key names")
            example = example[self._input_key]
        try:
            row = torch.as_tensor(example, dtype=torch.float32, device="cpu").detach()
        except (TypeError, ValueError, RuntimeError):
            got = type(example).__name__
            raise TypeError(f"{self._name}: an example must be a tensor, an array or a list, got {got}") from None
        if row.dim() < 1:
            raise ValueError(f"{self._name}: an example must have shape (samples, ...), got ()")
        return row
