"""The collator of transformers' Flax example that pretrains T5 (``run_t5_mlm_flax.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._examples import check_examples
from sslfast.masking.span_corruption import t5_lengths
from sslfast.masking.t5_collator import T5Collator

__all__ = ["FlaxDataCollatorForT5MLM", "compute_input_and_target_lengths"]


def compute_input_and_target_lengths(
    inputs_length: int, noise_density: float, mean_noise_span_length: float
) -> tuple[int, int]:
    """How many tokens fill an encoder of ``inputs_length``, and how many the decoder gets: :func:`t5_lengths`.

    Args:
        inputs_length: length of the inputs, at least 4.
        noise_density: share of the tokens that is noise, in (0, 1).
        mean_noise_span_length: mean length of a span, at least 1.

    Returns:
        ``(tokens_length, targets_length)``.

    Raises:
        TypeError, ValueError: as of :func:`t5_lengths`.
    """
    with errors_of("compute_input_and_target_lengths"):
        return t5_lengths(inputs_length, noise_density, mean_noise_span_length)


class FlaxDataCollatorForT5MLM:
    """``FlaxDataCollatorForT5MLM``: its arguments, its keys in NumPy arrays, its distribution.

    :class:`sslfast.masking.T5Collator` in compat mode, with these defects of the peer's distribution: a row never
    begins with noise and always ends with it. What makes the peer fail is right here: a text that contains the padding
    id, and more spans than kept tokens. Draws come from torch's global generator, not from NumPy's, unless there is a
    ``seed``.

    Args:
        tokenizer: anything with ``len(tokenizer)`` and ``tokenizer.eos_token_id``.
        noise_density: share of the tokens that is noise.
        mean_noise_span_length: mean length of a span.
        input_length: what the inputs must come out as.
        target_length: what the labels must come out as.
        pad_token_id: the padding id.
        decoder_start_token_id: begins the decoder's input.
        seed: seed of the run, see :class:`sslfast.masking.T5Collator`. Default: None.
        sample_id_key: where an example has its number. Default: None.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        noise_density: float,
        mean_noise_span_length: float,
        input_length: int,
        target_length: int,
        pad_token_id: int,
        decoder_start_token_id: int,
        *,
        seed: int | None = None,
        sample_id_key: str | None = None,
    ) -> None:
        name = "FlaxDataCollatorForT5MLM"
        try:
            size, eos = len(tokenizer), tokenizer.eos_token_id
        except (AttributeError, TypeError):
            got = type(tokenizer).__name__
            raise TypeError(f"{name}: tokenizer must have eos_token_id and len(), got {got}") from None
        self.tokenizer = tokenizer
        self.input_length = _check.integer(name, "input_length", input_length, 1)
        self.target_length = _check.integer(name, "target_length", target_length, 1)
        with errors_of(name):
            self._collator = T5Collator(
                sentinel_id=size - 1,
                eos_token_id=eos,
                pad_token_id=pad_token_id,
                decoder_start_token_id=decoder_start_token_id,
                noise_density=noise_density,
                mean_noise_span_length=mean_noise_span_length,
                mode="compat",
                seed=seed,
                sample_id_key=sample_id_key,
            )

    def set_epoch(self, epoch: int) -> None:
        """Makes later batches draw anew. The epoch is at least 0."""
        with errors_of("FlaxDataCollatorForT5MLM"):
            self._collator.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        """The batch as int64 NumPy arrays: ``input_ids``, ``labels``, ``decoder_input_ids``.

        Raises:
            KeyError, TypeError: as of :class:`sslfast.masking.T5Collator`.
            ValueError: there is no example, or the inputs or labels have other lengths than those announced.
        """
        check_examples("FlaxDataCollatorForT5MLM", examples)
        with errors_of("FlaxDataCollatorForT5MLM"):
            batch = self._collator(examples)
        for key, expected in (("input_ids", self.input_length), ("labels", self.target_length)):
            if batch[key].shape[1] != expected:
                got = batch[key].shape[1]
                raise ValueError(f"FlaxDataCollatorForT5MLM: {key} must have length {expected}, got {got}")
        return {key: batch[key].numpy() for key in ("input_ids", "labels", "decoder_input_ids")}
