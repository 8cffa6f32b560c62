"""Collator of masked language modelling: lists of token ids in, padded and masked tensors out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sslfast import _check
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples
from sslfast.masking._token_batches import padded_batch
from sslfast.masking._vocabulary import Vocabulary
from sslfast.masking.token_mask import mask_tokens
from sslfast.masking.whole_word_mask import mask_words


class MLMCollator:
    """Pads a batch of tokenised examples and masks it for a masked language model.

    Takes what ``transformers.DataCollatorForLanguageModeling`` takes, in its order, and returns a dict with its keys.
    Rows are padded by :func:`sslfast.host.pad_sequences` and masked by :func:`mask_tokens`, or :func:`mask_words` where
    ``whole_word_mask``; special tokens are found by a table of ids, without a call of the tokenizer for each row.

    ``mode="exact"`` masks at least one token in every row that has an ordinary one, so that no batch's loss is NaN,
    draws random words among the ordinary ids, and without ``mlm`` leaves a label wherever there is a token.
    ``mode="compat"`` has the peer's distribution: a row may have no masked token (4 % of the rows of 20 tokens), random
    words may be special ids, whole words come from ``offset_mapping`` where the examples have it and always become
    ``[MASK]``, and without ``mlm`` every ``pad_token_id`` loses its label, also one that ends a text. Padding is masked
    in neither.

    Works in DataLoader workers, forked or spawned. Its input is not changed. The shares and probabilities are
    attributes, read at every call, and may be changed between calls.

    Args:
        tokenizer: anything with ``mask_token_id``, ``pad_token_id``, ``all_special_ids``, ``len()`` and optionally
            ``padding_side``, such as a tokenizer of transformers, read when the collator is made. Default: None, the
            ids below are given instead.
        mlm: mask; False gives labels for causal language modelling, the ids themselves. Default: True.
        whole_word_mask: mask whole words. They come from ``word_ids`` (a tokenizer's ``word_ids()``) or
            ``offset_mapping`` in the examples, or from the ``##`` of the tokenizer's tokens. Default: False.
        mlm_probability: probability that a token or word is masked; may be None without ``mlm``. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``[MASK]``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        pad_to_multiple_of: the padded length is a multiple of it. Default: None, that of the longest row.
        return_tensors: "pt" for torch tensors, "np" for NumPy arrays. Default: "pt".
        seed: None draws from torch's global generator; an int makes the draws depend on (seed, epoch, worker, call).
            Default: None.
        mode: "exact" or "compat", see above. Default: "exact".
        sample_id_key: with a seed, the key of each example's int id; its draws then depend on (seed, epoch, id) alone,
            not on the batch or worker. It does not reach the batch. Default: None.
        return_masked_indices: whether the batch gets ``masked_indices`` and ``masked_counts``. Default: False.
        mask_token_id, pad_token_id, vocab_size, special_ids: instead of a tokenizer, ``vocab_size`` at least;
            ``special_ids`` are never masked, and neither are the other two. Default: None.

    Returns:
        Called with a list of examples, a dict. An example is a mapping with ``input_ids``, or a list, array or tensor
        of ids. Every int column with a number for each token is padded (``attention_mask`` and others with 0,
        ``special_tokens_mask`` with 1); other columns are stacked; ``labels`` of the examples are replaced. The dict
        holds int64 tensors ``input_ids`` and ``labels`` of shape (N, L), the labels -100 where nothing is predicted,
        ``attention_mask`` (in compat mode only if the examples are mappings), the columns padded or stacked, and
        ``masked_indices``, int64 (n,), the ascending flat positions of the masked tokens, and ``masked_counts``, int64
        (N,), how many each row has, where wanted: :func:`sslfast.losses.masked_lm_loss` takes them.

    Raises:
        KeyError: an example has no ``input_ids``, or lacks a key of the first.
        TypeError: an argument or a column has the wrong type, or the tokenizer lacks one of the above.
        ValueError: a number is out of range, the two shares exceed 1, a column is not as long as ``input_ids``, a mask
            or padding id is needed and unknown, or nothing says what a word is.

    Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.

    Example:
        >>> collator = MLMCollator(mask_token_id=4, pad_token_id=0, vocab_size=100, special_ids=[0, 1, 2, 3, 4], seed=1)
        >>> batch = collator([[1, 11, 12, 13, 2], [1, 21, 2]])
        >>> batch["input_ids"].shape, batch["attention_mask"].sum(1).tolist()
        (torch.Size([2, 5]), [5, 3])
    """

    _replace: str = "token"
    _compat_words_become_masks = True  # all their tokens, in compat mode

    def __init__(
        self,
        tokenizer: Any = None,
        mlm: bool = True,
        whole_word_mask: bool = False,
        mlm_probability: float | None = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
        seed: int | None = None,
        *,
        mode: str = "exact",
        sample_id_key: str | None = None,
        return_masked_indices: bool = False,
        mask_token_id: int | None = None,
        pad_token_id: int | None = None,
        vocab_size: int | None = None,
        special_ids: Sequence[int] | None = None,
    ) -> None:
        name = type(self).__name__
        mlm = _check.boolean(name, "mlm", mlm)
        whole_word_mask = _check.boolean(name, "whole_word_mask", whole_word_mask)
        by_ids = {"mask_token_id": mask_token_id, "pad_token_id": pad_token_id, "vocab_size": vocab_size}
        if tokenizer is None:
            self._vocabulary = Vocabulary.given(name, mask_token_id, pad_token_id, vocab_size, special_ids)
        else:
            for argument, value in (by_ids | {"special_ids": special_ids}).items():
                if value is not None:
                    raise ValueError(f"{name}: {argument} must be None beside a tokenizer, got {value}")
            self._vocabulary = Vocabulary.of(name, tokenizer)
        if mlm and self._vocabulary.mask_token_id is None:
            raise ValueError(f"{name}: mask_token_id must be known for mlm=True, got None")
        if whole_word_mask and not mlm:
            raise ValueError(f"{name}: mlm must be True for whole_word_mask=True, got {mlm}")
        _check.mode_is_exact(name, mode)
        self.tokenizer, self.mlm, self.whole_word_mask, self.mode = tokenizer, mlm, whole_word_mask, mode
        if mlm or mlm_probability is not None:
            mlm_probability = _check.probability(name, "mlm_probability", cast(float, mlm_probability))
        self.mlm_probability = mlm_probability
        self.mask_replace_prob = _check.probability(name, "mask_replace_prob", mask_replace_prob)
        self.random_replace_prob = _check.probability(name, "random_replace_prob", random_replace_prob)
        if self.mask_replace_prob + self.random_replace_prob > 1:
            shares = f"{mask_replace_prob} + {random_replace_prob}"
            raise ValueError(f"{name}: mask_replace_prob + random_replace_prob must be at most 1, got {shares}")
        become_masks = whole_word_mask and mode == "compat" and self._compat_words_become_masks
        if become_masks and self.mask_replace_prob < 1:
            text = "mask_replace_prob is 1 for whole words in compat mode, as in transformers"
            warnings.warn(f"{name}: {text}", stacklevel=2)
            self.mask_replace_prob, self.random_replace_prob = 1.0, 0.0
        if pad_to_multiple_of is not None:
            pad_to_multiple_of = _check.integer(name, "pad_to_multiple_of", pad_to_multiple_of, 1, 2**32 - 1)
        self.pad_to_multiple_of = pad_to_multiple_of
        self.return_tensors = self._checked_kind(return_tensors)
        self.return_masked_indices = _check.boolean(name, "return_masked_indices", return_masked_indices)
        self.seed, self._sample_id_key = seed, sample_id_key
        self._draws = CollatorDraws(name, seed, sample_id_key)
        if self.whole_word_mask and tokenizer is not None:
            self._vocabulary.learn_continuations(tokenizer)
        self._ordinary = self._vocabulary.ordinary_ids() if mlm and mode == "exact" else None
        if self._ordinary is not None and len(self._ordinary) == 0:
            raise ValueError(f"{name}: special_ids must leave an ordinary id, got all {self._vocabulary.size}")

    def set_epoch(self, epoch: int) -> None:
        """Makes later calls draw anew, in running workers too. The epoch is at least 0.

        Raises:
            TypeError: if it is not an integer.
            ValueError: if it is negative.
        """
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        """Pads and masks the examples."""
        kind = self.return_tensors if return_tensors is None else self._checked_kind(return_tensors)
        check_examples(type(self).__name__, examples)
        generator, sample_ids = self._draws.next_call(examples)
        batch, special, words = self._padded(examples)
        if self.mlm:
            out = self._masked(batch, special, words, generator, sample_ids)
            batch["input_ids"], batch["labels"], masked, counts = out
            if self.return_masked_indices:
                batch["masked_indices"], batch["masked_counts"] = masked[masked >= 0], counts
        else:
            batch["labels"] = self._causal_labels(batch)
        self._leave_out(batch, examples)
        return batch if kind == "pt" else {key: value.numpy() for key, value in batch.items()}

    def _padded(self, examples: Sequence[Any]) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """The batch, what is never masked, and ``word_ids`` or ``offset_mapping`` where they are in the examples."""
        name = type(self).__name__
        batch = padded_batch(name, examples, self._vocabulary, self.pad_to_multiple_of, self._sample_id_key)
        special = batch.pop("special_tokens_mask", None)
        special = self._vocabulary.is_special(batch["input_ids"]) if special is None else special != 0
        special |= batch["attention_mask"] == 0
        words: dict[str, Tensor] = {}
        for key in ("word_ids", "offset_mapping"):
            if key in batch:
                words[key] = batch.pop(key)
        return batch, special, words

    def _masked(
        self,
        batch: dict[str, Tensor],
        special: Tensor,
        words: dict[str, Tensor],
        generator: int | None,
        sample_ids: Tensor | None,
    ) -> tuple[Tensor, ...]:
        assert self._vocabulary.mask_token_id is not None
        arguments: dict[str, Any] = {
            "mask_token_id": self._vocabulary.mask_token_id,
            "vocab_size": self._vocabulary.size,
            "special_tokens_mask": special,
            "mlm_probability": self.mlm_probability,
            "mask_replace_prob": self.mask_replace_prob,
            "random_replace_prob": self.random_replace_prob,
            "random_token_ids": self._ordinary,
            "min_masked": 1 if self.mode == "exact" else 0,
            "return_counts": True,
            "generator": generator,
            "sample_ids": sample_ids,
        }
        with errors_of(type(self).__name__):
            if not self.whole_word_mask:
                return mask_tokens(batch["input_ids"], mode=self.mode, **arguments)
            arguments.update(self._word_arguments(batch, special, words))
            return mask_words(batch["input_ids"], replace=self._replace, **arguments)

    def _word_arguments(self, batch: dict[str, Tensor], special: Tensor, words: dict[str, Tensor]) -> dict[str, Any]:
        """Where words begin and end."""
        sources = ["word_ids", "offset_mapping"]  # the numbers first: they say it exactly
        if self.mode == "compat" and self._compat_words_become_masks:
            sources.reverse()
        for key in sources:
            if key in words:
                return {key: words[key]}
        numbers = self._vocabulary.words(batch["input_ids"], special)
        if numbers is None:
            expected = "'word_ids' or 'offset_mapping', or the tokenizer tokens that begin with '##'"
            raise ValueError(f"{type(self).__name__}: for whole words the examples must have {expected}, got neither")
        return {"word_ids": numbers}

    def _causal_labels(self, batch: dict[str, Tensor]) -> Tensor:
        if self.mode == "exact":
            return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        pad = self._vocabulary.pad_token_id
        return (
            batch["input_ids"].clone()
            if pad is None
            else torch.where(batch["input_ids"] == pad, -100, batch["input_ids"])
        )

    def _leave_out(self, batch: dict[str, Tensor], examples: Sequence[Any]) -> None:
        """What the peer does not return."""
        if self.mode == "compat" and not isinstance(examples[0], Mapping):
            del batch["attention_mask"]

    def _checked_kind(self, return_tensors: Any) -> str:
        _check.one_of(type(self).__name__, "return_tensors", return_tensors, ("pt", "np"))
        return return_tensors
