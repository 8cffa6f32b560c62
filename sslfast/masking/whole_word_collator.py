"""Collator of masked language modelling over whole words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sslfast import _check
from sslfast.host.whole_word_mask import word_budget
from sslfast.masking.mlm_collator import MLMCollator


class WholeWordCollator(MLMCollator):
    """:class:`MLMCollator` with ``whole_word_mask=True``, and a choice of what shares a draw.

    Words come, in this order, from ``word_ids`` in the examples (a fast tokenizer's ``word_ids()``, None where a token
    is in no word), from ``offset_mapping``, whose tokens are one word where they touch in the text, or from the
    tokenizer, where its tokens go on with a word by ``##``, as BERT's do. Rows may have any lengths; transformers'
    collator takes ``offset_mapping`` of equally long rows alone.

    ``mode="exact"`` masks every word by itself, at least one in a row, and draws random words among the ordinary ids.
    ``mode="compat"`` has the distribution of transformers' ``DataCollatorForWholeWordMask``, which version 5 has no
    more, with its defects: words are masked within a budget of tokens, long ones more rarely (see :func:`mask_words`),
    and random words may be special ids. :class:`MLMCollator` in compat mode has that of version 5.

    Args:
        tokenizer: as of :class:`MLMCollator`. Default: None.
        mlm_probability: probability that a word is masked. Default: 0.15.
        mask_replace_prob: share of the masked tokens that become ``[MASK]``. Default: 0.8.
        random_replace_prob: share of the masked tokens that become a random id. Default: 0.1.
        replace: "token", every masked token draws what it becomes; "word", the tokens of a word share that draw.
            Default: "token".
        mode: "exact" or "compat", see above. Default: "exact".
        max_predictions: in compat mode, the most tokens of a row that are masked, in [1, 32767]. Default: 512.
        pad_to_multiple_of, return_tensors, seed, sample_id_key, return_masked_indices, mask_token_id, pad_token_id,
            vocab_size, special_ids: as of :class:`MLMCollator`.

    Returns:
        As :class:`MLMCollator`; ``word_ids`` and ``offset_mapping`` do not reach the batch.

    Raises:
        KeyError, TypeError, ValueError: as :class:`MLMCollator`, or ``replace`` is neither.

    Reference: the whole-word models of Devlin et al., https://github.com/google-research/bert.
    """

    _compat_words_become_masks = False

    def __init__(
        self,
        tokenizer: Any = None,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        replace: str = "token",
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
        seed: int | None = None,
        *,
        mode: str = "exact",
        max_predictions: int = 512,
        sample_id_key: str | None = None,
        return_masked_indices: bool = False,
        mask_token_id: int | None = None,
        pad_token_id: int | None = None,
        vocab_size: int | None = None,
        special_ids: Sequence[int] | None = None,
    ) -> None:
        _check.one_of(type(self).__name__, "replace", replace, ("token", "word"))
        word_budget(type(self).__name__, mode, False, max_predictions, 0)
        super().__init__(
            tokenizer,
            True,
            True,
            mlm_probability,
            mask_replace_prob,
            random_replace_prob,
            pad_to_multiple_of,
            return_tensors,
            seed,
            mode=mode,
            sample_id_key=sample_id_key,
            return_masked_indices=return_masked_indices,
            mask_token_id=mask_token_id,
            pad_token_id=pad_token_id,
            vocab_size=vocab_size,
            special_ids=special_ids,
        )
        self._replace, self._max_predictions = replace, max_predictions

    def _word_arguments(self, batch: dict[str, Tensor], special: Tensor, words: dict[str, Tensor]) -> dict[str, Any]:
        found = super()._word_arguments(batch, special, words)
        if self.mode == "compat":
            lengths = batch["attention_mask"].sum(1)
            found |= {"mode": "compat", "lengths": lengths, "max_predictions": self._max_predictions}
        return found
