"""transformers' whole-word collator of its versions before 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sslfast import _check
from sslfast.masking._examples import check_examples
from sslfast.masking._id_lists import id_tensor, sample_ids_of
from sslfast.masking.whole_word_collator import WholeWordCollator

__all__ = ["DataCollatorForWholeWordMask"]


class DataCollatorForWholeWordMask(WholeWordCollator):
    """``transformers.DataCollatorForWholeWordMask`` of version 4: its arguments, its keys, its distribution.

    :class:`sslfast.masking.WholeWordCollator` in compat mode: of a row of n tokens, special ones included,
    ``round(n * mlm_probability)`` may be masked, at least 1 and at most 512, and in a random order every word is masked
    that fits into what is left of them. **Long words are masked more rarely than short ones.** Words are told by the
    ``##`` of the tokenizer's tokens and by ``"chinese_ref"`` in the examples, the places of tokens that go on with a
    word; random words are uniform over the vocabulary, special ids included. As there, the batch has ``input_ids`` and
    ``labels`` alone and no attention mask.

    What differs from the peer: any tokenizer with a ``get_vocab()`` will do, and a special token within a text, such as
    ``[UNK]``, takes nothing of the row's tokens and parts words; there it takes one and is not masked.

    Args:
        tokenizer: a tokenizer of transformers whose tokens go on with a word by ``##``, such as BERT's.
        mlm: True. Default: True.
        mlm_probability: share of a row's tokens that is masked at most. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``[MASK]``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        pad_to_multiple_of: the padded length is a multiple of it. Default: None.
        return_tensors: "pt" or "np". Default: "pt".
        seed: an int, or None for torch's global generator. Default: None.

    Raises:
        KeyError, TypeError, ValueError: as :class:`sslfast.masking.WholeWordCollator`, or ``mlm`` is False, or an
            example's ``"chinese_ref"`` names a place that it has not.
    """

    def __init__(
        self,
        tokenizer: Any,
        mlm: bool = True,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
        seed: int | None = None,
    ) -> None:
        name = type(self).__name__
        if tokenizer is None:
            raise TypeError(f"{name}: tokenizer must be a tokenizer, got None")
        if not _check.boolean(name, "mlm", mlm):
            raise ValueError(f"{name}: mlm must be True, got False")
        super().__init__(
            tokenizer,
            mlm_probability,
            mask_replace_prob,
            random_replace_prob,
            "token",
            pad_to_multiple_of,
            return_tensors,
            seed,
            mode="compat",
        )

    def __call__(self, features: Sequence[Any], return_tensors: str | None = None) -> dict[str, Any]:
        """Pads and masks the features."""
        check_examples(type(self).__name__, features)
        name = type(self).__name__
        examples = [{"input_ids": sample_ids_of(name, feature, "input_ids")} for feature in features]
        places = [feature.get("chinese_ref") if isinstance(feature, Mapping) else None for feature in features]
        if any(of_row is not None for of_row in places):
            for example, of_row in zip(examples, places, strict=True):
                example["_goes_on"] = self._goes_on(example["input_ids"], of_row)
        batch = super().__call__(examples, return_tensors)
        return {key: batch[key] for key in ("input_ids", "labels")}

    def _goes_on(self, ids: Any, places: Any) -> list[int]:
        """Of each token, whether it goes on with a word by ``"chinese_ref"``: 0 or 1."""
        name = type(self).__name__
        try:
            length = len(ids)
        except TypeError:
            length = len(id_tensor(name, ids))  # says what is wrong with it
        goes_on = [0] * length
        if places is not None:
            places = id_tensor(name, places).tolist()
            if places and not 0 <= min(places) <= max(places) < length:
                raise ValueError(f"{name}: chinese_ref must have places in [0, {length - 1}], got {places}")
            for place in places:
                goes_on[place] = 1
        return goes_on

    def _word_arguments(self, batch: dict[str, Tensor], special: Tensor, words: dict[str, Tensor]) -> dict[str, Any]:
        goes_on = batch.pop("_goes_on", None)
        numbers = self._vocabulary.words(batch["input_ids"], special, None if goes_on is None else goes_on != 0)
        return super()._word_arguments(batch, special, {} if numbers is None else {"word_ids": numbers})
