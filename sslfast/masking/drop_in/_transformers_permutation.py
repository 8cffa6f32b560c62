"""transformers' collator of permutation language modelling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sslfast.host.permutation_mask import check_numbers
from sslfast.masking._arguments import errors_of
from sslfast.masking._draws import CollatorDraws
from sslfast.masking._examples import check_examples
from sslfast.masking._id_lists import padded, sample_ids_of
from sslfast.masking.permutation_mask import permutation_mask

__all__ = ["DataCollatorForPermutationLanguageModeling"]


class DataCollatorForPermutationLanguageModeling:
    """``transformers.DataCollatorForPermutationLanguageModeling``: its arguments, its keys, its distribution.

    :func:`sslfast.masking.permutation_mask` in compat mode, whose docstring names the defects. ``target_mapping`` is
    one matrix, seen as a batch: clone it before changing it in place. ``return_tensors`` is ``"pt"``.

    Args:
        tokenizer: has ``mask_token``, ``mask_token_id``, ``pad_token_id``, ``padding_side`` and
            ``get_special_tokens_mask``.
        plm_probability: share of a context that its span takes. Default: 1/6.
        max_span_length: spans have 1 to this many tokens. Default: 5.
        return_tensors: ``"pt"``. Default: ``"pt"``.
        seed: seed of the run. Default: None, every batch draws from torch's global generator.
        sample_id_key: where an example has its number, on which its draws then depend, together with (seed, epoch),
            alone. Default: None, the place in the order of the batches.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        plm_probability: float = 1 / 6,
        max_span_length: int = 5,
        return_tensors: str = "pt",
        *,
        seed: int | None = None,
        sample_id_key: str | None = None,
    ) -> None:
        name = "DataCollatorForPermutationLanguageModeling"
        if return_tensors != "pt":
            raise ValueError(f"{name}: return_tensors must be 'pt', got {return_tensors!r}")
        for attribute in ("mask_token", "mask_token_id", "pad_token_id", "get_special_tokens_mask"):
            if not hasattr(tokenizer, attribute):
                raise TypeError(f"{name}: tokenizer must have {attribute}, got {type(tokenizer).__name__}")
        check_numbers(name, 0, 64, 0, plm_probability, max_span_length, "compat")
        self.tokenizer, self.return_tensors = tokenizer, return_tensors
        self.plm_probability, self.max_span_length = plm_probability, max_span_length
        self._name, self._draws = name, CollatorDraws(name, seed, sample_id_key)

    def set_epoch(self, epoch: int) -> None:
        """Makes later batches draw anew. The epoch is at least 0."""
        self._draws.set_epoch(epoch)

    def __call__(self, examples: Sequence[Any], return_tensors: str | None = None) -> dict[str, Tensor]:
        """The batch of a list of examples: mappings with ``"input_ids"``, or ids themselves.

        Raises:
            KeyError: an example has no ``"input_ids"``.
            TypeError: the examples are no list, or an example's ids are not integers.
            ValueError: there is no mask token, no example, ``return_tensors`` is not ``"pt"``, or the rows come out
                with an odd length.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f"{self._name}: return_tensors must be 'pt', got {return_tensors!r}")
        check_examples(self._name, examples)
        generator, sample_ids = self._draws.next_call(examples)
        rows = [sample_ids_of(self._name, example, "input_ids") for example in examples]
        pad = self.tokenizer.pad_token_id
        left = getattr(self.tokenizer, "padding_side", "right") == "left"
        ids, lengths = padded(self._name, rows, None, 0 if pad is None else pad, left=left)
        if pad is None and bool((lengths != ids.shape[1]).any()):
            raise ValueError(f"{self._name}: the tokenizer must have a padding token where lengths differ, got None")
        out = self._mask(ids, generator, sample_ids)
        return dict(zip(("input_ids", "perm_mask", "target_mapping", "labels"), out, strict=True))

    def torch_mask_tokens(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(inputs, perm_mask, target_mapping, labels)`` of ids (N, L). Unlike the peer's, it changes no input."""
        if not isinstance(inputs, Tensor):
            raise TypeError(f"{self._name}: inputs must be a tensor, got {type(inputs).__name__}")
        if inputs.dim() != 2:
            raise ValueError(f"{self._name}: inputs must have shape (N, L), got {tuple(inputs.shape)}")
        generator, _ = self._draws.next_call([])
        return self._mask(inputs, generator, None)

    def _mask(
        self, ids: Tensor, generator: int | None, sample_ids: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.tokenizer.mask_token is None:
            raise ValueError(f"{self._name}: the tokenizer must have a mask token, got None")
        special = [self.tokenizer.get_special_tokens_mask(r, already_has_special_tokens=True) for r in ids.tolist()]
        never = torch.tensor(special, dtype=torch.bool).view(ids.shape)
        if self.tokenizer.pad_token_id is not None:
            never |= ids == self.tokenizer.pad_token_id
        with errors_of(self._name, ids="inputs"):
            masked, labels, perm_mask, target_mapping, *_ = permutation_mask(
                ids,
                mask_token_id=self.tokenizer.mask_token_id,
                special_tokens_mask=never,
                plm_probability=self.plm_probability,
                max_span_length=self.max_span_length,
                mode="compat",
                generator=generator,
                sample_ids=sample_ids,
            )
        return masked, perm_mask, target_mapping, labels
