"""What a collator has to know of a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sslfast import _check

_CONTINUES = "##"  # begins a WordPiece token that goes on with a word


class Vocabulary:
    """Ids of a tokenizer, or given one by one.

    Attributes:
        size: number of ids.
        mask_token_id, pad_token_id: an id, or None where there is none.
        pad_token_type_id: what stands in ``token_type_ids`` where a row is padded.
        padding_side: "right" or "left".
    """

    def __init__(
        self,
        size: int,
        mask_token_id: int | None,
        pad_token_id: int | None,
        special_ids: Iterable[int],
        padding_side: str = "right",
        pad_token_type_id: int = 0,
        continuations: Tensor | None = None,
    ) -> None:
        self.size, self.mask_token_id, self.pad_token_id = size, mask_token_id, pad_token_id
        self.padding_side, self.pad_token_type_id = padding_side, pad_token_type_id
        special = [*special_ids, *(() if pad_token_id is None else (pad_token_id,))]
        self._special = self._table(special)
        self._continuations = continuations

    @classmethod
    def of(cls, function: str, tokenizer: Any) -> Vocabulary:
        """That of a tokenizer of transformers, or of anything with the same attributes.

        Raises:
            TypeError: if it has no ``all_special_ids``, ``mask_token_id``, ``pad_token_id`` or length.
        """
        try:
            special = [int(i) for i in tokenizer.all_special_ids if i is not None]
            size, mask, pad = len(tokenizer), tokenizer.mask_token_id, tokenizer.pad_token_id
        except (AttributeError, TypeError):
            expected = "mask_token_id, pad_token_id, all_special_ids and len()"
            raise TypeError(f"{function}: tokenizer must have {expected}, got {type(tokenizer).__name__}") from None
        side = getattr(tokenizer, "padding_side", "right")
        return cls(size, mask, pad, special, side, getattr(tokenizer, "pad_token_type_id", 0) or 0)

    @classmethod
    def given(
        cls,
        function: str,
        mask_token_id: int | None,
        pad_token_id: int | None,
        vocab_size: int | None,
        special_ids: Iterable[int] | None,
    ) -> Vocabulary:
        """One from ids.

        Raises:
            TypeError: if one of them is not an int, or ``special_ids`` not a list of them.
            ValueError: if one is out of range.
        """
        if vocab_size is None:
            raise ValueError(f"{function}: tokenizer or vocab_size must be given, got neither")
        size = _check.integer(function, "vocab_size", vocab_size, 1, 2**31)
        if mask_token_id is not None:
            mask_token_id = _check.integer(function, "mask_token_id", mask_token_id, 0, size - 1)
        if pad_token_id is not None:
            pad_token_id = _check.integer(function, "pad_token_id", pad_token_id, 0, size - 1)
        if special_ids is not None and not isinstance(special_ids, Iterable):
            raise TypeError(f"{function}: special_ids must be a list of ints, got {type(special_ids).__name__}")
        special = [
            _check.integer(function, f"special_ids[{i}]", v, 0, size - 1) for i, v in enumerate(special_ids or ())
        ]
        if mask_token_id is not None:
            special.append(mask_token_id)
        return cls(size, mask_token_id, pad_token_id, special)

    def learn_continuations(self, tokenizer: Any) -> None:
        """Learns which tokens go on with a word, where a tokenizer marks them with ``##``, as BERT's do."""
        tokens = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        ids = [i for token, i in tokens.items() if token.startswith(_CONTINUES) and len(token) > len(_CONTINUES)]
        self._continuations = self._table(ids) if ids else None

    def is_special(self, ids: Tensor) -> Tensor:
        """bool, shape of ids. An id outside of the vocabulary is not special."""
        return self._lookup(self._special, ids)

    def words(self, ids: Tensor, special: Tensor, goes_on: Tensor | None = None) -> Tensor | None:
        """Numbers of the words of (N, L) ids, -1 where special, or None where nothing marks them: a token goes on with
        a word by its ``##``, or where ``goes_on``."""
        if self._continuations is None:
            return None
        inside = self._lookup(self._continuations, ids)
        if goes_on is not None:
            inside |= goes_on
        return (~inside).cumsum(1).masked_fill_(special, -1)

    def ordinary_ids(self) -> Tensor:
        """int64: all ids that are not special, and not ``[MASK]``."""
        ordinary = ~self._special[1 : self.size + 1]
        if self.mask_token_id is not None and self.mask_token_id < self.size:
            ordinary[self.mask_token_id] = False
        return ordinary.nonzero().flatten()

    def _table(self, ids: list[int]) -> Tensor:
        """Flags of the ids -1 (none of the vocabulary) to size and beyond."""
        table = torch.zeros(max([self.size, *(i + 1 for i in ids)]) + 2, dtype=torch.bool)
        table[torch.tensor(ids, dtype=torch.int64) + 1] = True
        return table

    @staticmethod
    def _lookup(table: Tensor, ids: Tensor) -> Tensor:
        return table.to(ids.device)[ids.to(torch.int64).clamp(-1, len(table) - 2) + 1]
