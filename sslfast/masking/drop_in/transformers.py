"""transformers' collators under their names: ``from sslfast.masking.drop_in.transformers``.

The distribution is the peer's: every ordinary token is masked by itself, so that a row or a whole batch can have none;
random words are uniform over the vocabulary, special ids and the word itself included; words are what touches in the
text, and always become ``[MASK]``, but in the whole-word collator that version 5 has no more. Draws differ from the
peer's: they are counter-based, and equal on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sslfast import host
from sslfast.masking._arguments import errors_of
from sslfast.masking._examples import check_examples
from sslfast.masking._vocabulary import Vocabulary
from sslfast.masking.drop_in._transformers_permutation import DataCollatorForPermutationLanguageModeling
from sslfast.masking.drop_in._transformers_whole_word import DataCollatorForWholeWordMask
from sslfast.masking.mlm_collator import MLMCollator
from sslfast.masking.token_mask import mask_tokens
from sslfast.masking.whole_word_mask import mask_words
from sslfast.random import Generator, seed_tensor

__all__ = [
    "DataCollatorForLanguageModeling",
    "DataCollatorForPermutationLanguageModeling",
    "DataCollatorForWholeWordMask",
    "torch_mask_tokens",
]


def torch_mask_tokens(
    inputs: Tensor,
    special_tokens_mask: Any = None,
    offset_mapping: Any = None,
    *,
    tokenizer: Any,
    whole_word_mask: bool = False,
    mlm_probability: float = 0.15,
    mask_replace_prob: float = 0.8,
    random_replace_prob: float = 0.1,
    generator: Generator = None,
) -> tuple[Tensor, Tensor]:
    """The method of ``transformers.DataCollatorForLanguageModeling`` as a function: ids and labels of a padded batch.

    ``inputs`` is changed in place, as there. Unlike there, it may be on a GPU, and int32 or int16.

    Args:
        inputs: token ids, shape (N, L), int64, int32 or int16.
        special_tokens_mask: shape of ``inputs``, a tensor or lists, non-zero where nothing is masked. Default: None,
            the tokenizer's ``all_special_ids``.
        offset_mapping: (N, L, 2), a tensor or lists; needed by ``whole_word_mask``. Default: None.
        tokenizer: has ``mask_token_id``, ``pad_token_id``, ``all_special_ids`` and ``len()``.
        whole_word_mask: mask words; each becomes ``[MASK]``, whatever the two shares are. Default: False.
        mlm_probability: probability that a token or word is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``[MASK]``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        generator: None | torch.Generator | int seed | int64 seed tensor. Default: None, torch's global generator.

    Returns:
        ``(inputs, labels)``: the labels are the original ids where masked, else -100.

    Raises:
        TypeError, ValueError: as :func:`sslfast.masking.mask_tokens` and :func:`sslfast.masking.mask_words`.
    """
    name = "torch_mask_tokens"
    if not isinstance(inputs, Tensor):
        raise TypeError(f"{name}: inputs must be a tensor, got {type(inputs).__name__}")
    vocabulary = Vocabulary.of(name, tokenizer)
    if vocabulary.mask_token_id is None:
        raise ValueError(f"{name}: tokenizer must have a mask token, got None")
    if special_tokens_mask is None:
        special_tokens_mask = vocabulary.is_special(inputs)
    arguments: dict[str, Any] = {
        "mask_token_id": vocabulary.mask_token_id,
        "vocab_size": vocabulary.size,
        "special_tokens_mask": _tensor(name, "special_tokens_mask", special_tokens_mask, inputs.device),
        "mlm_probability": mlm_probability,
        "mask_replace_prob": 1.0 if whole_word_mask else mask_replace_prob,
        "random_replace_prob": 0.0 if whole_word_mask else random_replace_prob,
        "generator": generator,
    }
    if whole_word_mask:
        if offset_mapping is None:
            raise ValueError(f"{name}: offset_mapping must be given for whole_word_mask=True, got None")
        offsets = _tensor(name, "offset_mapping", offset_mapping, inputs.device)
    with errors_of(name, ids="inputs"):
        if whole_word_mask:
            masked_ids, labels, _ = mask_words(inputs, offset_mapping=offsets, **arguments)
        else:
            masked_ids, labels, _ = mask_tokens(inputs, mode="compat", **arguments)
    return inputs.copy_(masked_ids), labels


def _tensor(function: str, name: str, value: Any, device: torch.device | str = "cpu") -> Tensor:
    try:
        return torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError):
        got = type(value).__name__
        raise TypeError(f"{function}: {name} must be a tensor, or lists of ints of one length, got {got}") from None


class DataCollatorForLanguageModeling(MLMCollator):
    """``transformers.DataCollatorForLanguageModeling``: its arguments, attributes, methods, keys and distribution.

    :class:`sslfast.masking.MLMCollator` in compat mode. Like the peer it masks a token or word by itself, so that 4 %
    of the rows of 20 tokens have no masked token; takes random words from the whole vocabulary; joins words whose
    ``offset_mapping`` touches; sets ``mask_replace_prob`` to 1 for whole words, with a warning; and without ``mlm``
    gives no label to any ``pad_token_id``, also where it ends a text. What differs from the peer: rows of unequal
    lengths with ``offset_mapping`` work, tokens that ``attention_mask`` hides are never masked, a batch is a dict, and
    ``seed`` gives the draws of (seed, worker, call) without a generator's state. A class that overrides
    ``torch_mask_tokens`` or ``numpy_mask_tokens`` is heard.

    Args:
        tokenizer: a tokenizer of transformers, or anything with ``mask_token_id``, ``pad_token_id``,
            ``all_special_ids`` and ``len()``. Read at every call.
        mlm: mask; False gives the ids as labels. Default: True.
        whole_word_mask: mask words by ``offset_mapping``. Default: False.
        mlm_probability: probability that a token or word is masked; may be None without ``mlm``. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``[MASK]``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        pad_to_multiple_of: the padded length is a multiple of it. Default: None.
        return_tensors: "pt" or "np". Default: "pt".
        seed: an int, or None for torch's global generator. Default: None.

    Raises:
        KeyError, TypeError, ValueError: as :class:`sslfast.masking.MLMCollator`.
    """

    def __init__(
        self,
        tokenizer: Any,
        mlm: bool = True,
        whole_word_mask: bool = False,
        mlm_probability: float | None = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
        seed: int | None = None,
    ) -> None:
        if tokenizer is None:
            raise TypeError(f"{type(self).__name__}: tokenizer must be a tokenizer, got None")
        super().__init__(
            tokenizer,
            mlm,
            whole_word_mask,
            mlm_probability,
            mask_replace_prob,
            random_replace_prob,
            pad_to_multiple_of,
            return_tensors,
            seed,
            mode="compat",
        )
        self.generator = None  # an attribute of the peer; nothing is kept between calls

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        """Pads and masks the features."""
        kind = self.return_tensors if return_tensors is None else self._checked_kind(return_tensors)
        return self.torch_call(features) if kind == "pt" else self.numpy_call(features)

    def torch_call(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Pads and masks the examples; tensors."""
        batch, special, offsets = self._prepared(examples)
        if self.mlm:
            ids = batch["input_ids"]
            batch["input_ids"], batch["labels"] = self.torch_mask_tokens(
                ids, special_tokens_mask=special, offset_mapping=offsets
            )
        return batch

    def numpy_call(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Pads and masks the examples; NumPy arrays."""
        tensors, special, offsets = self._prepared(examples)
        batch: dict[str, Any] = {key: value.numpy() for key, value in tensors.items()}
        if self.mlm:
            batch["input_ids"], batch["labels"] = self.numpy_mask_tokens(
                batch["input_ids"],
                special_tokens_mask=special.numpy(),
                offset_mapping=None if offsets is None else offsets.numpy(),
            )
        return batch

    def torch_mask_tokens(
        self, inputs: Tensor, special_tokens_mask: Any = None, offset_mapping: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Ids, masked in place, and labels: :func:`torch_mask_tokens` with the collator's attributes."""
        return torch_mask_tokens(
            inputs,
            special_tokens_mask,
            offset_mapping,
            tokenizer=self.tokenizer,
            whole_word_mask=self.whole_word_mask,
            mlm_probability=cast(float, self.mlm_probability),
            mask_replace_prob=self.mask_replace_prob,
            random_replace_prob=self.random_replace_prob,
            generator=self._draws.next_call(())[0],
        )

    def numpy_mask_tokens(
        self, inputs: Any, special_tokens_mask: Any = None, offset_mapping: Any = None
    ) -> tuple[Any, Any]:
        """Ids, masked in place, and labels, NumPy arrays; equal to the torch method's."""
        seed = self._draws.next_call(())[0]
        vocabulary = Vocabulary.of("numpy_mask_tokens", self.tokenizer)
        if special_tokens_mask is None:
            special_tokens_mask = vocabulary.is_special(torch.as_tensor(inputs))
        arguments: dict[str, Any] = {
            "mask_token_id": vocabulary.mask_token_id,
            "vocab_size": vocabulary.size,
            "special_tokens_mask": _tensor("numpy_mask_tokens", "special_tokens_mask", special_tokens_mask).numpy(),
            "mlm_probability": self.mlm_probability,
            "mask_replace_prob": self.mask_replace_prob,
            "random_replace_prob": self.random_replace_prob,
            "seed": int(seed_tensor(seed)),
        }
        if self.whole_word_mask:
            if offset_mapping is None:
                raise ValueError("numpy_mask_tokens: offset_mapping must be given for whole_word_mask=True, got None")
            arguments["offset_mapping"] = _tensor("numpy_mask_tokens", "offset_mapping", offset_mapping).numpy()
        with errors_of("numpy_mask_tokens", ids="inputs"):
            if self.whole_word_mask:
                masked_ids, labels, _ = host.mask_words(inputs, **arguments)
            else:
                masked_ids, labels, _ = host.mask_tokens(inputs, mode="compat", **arguments)
        inputs[...] = masked_ids
        return inputs, labels

    def _prepared(self, examples: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """The batch with the keys of the peer's, what is never masked, and the offsets; labels where mlm is False."""
        check_examples(type(self).__name__, examples)
        self._vocabulary = Vocabulary.of(type(self).__name__, self.tokenizer)
        batch, special, words = self._padded(examples)
        if not self.mlm:
            batch["labels"] = self._causal_labels(batch)
        self._leave_out(batch, examples)
        return batch, special, words.get("offset_mapping")
